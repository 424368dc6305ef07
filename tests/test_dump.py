"Dumps: the fast reader against the exact one, a server's own dumps against SELECT, the broken."

import bz2
import gzip
import os
import re
import signal
import ssl
import subprocess
import sys
from types import SimpleNamespace

import pandas as pd
import pyarrow as pa
import pytest
from conftest import need_database
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from movie_tagger.core import MovieTaggerError
from movie_tagger.sample import site
from movie_tagger.tags.sql import rows, values
from movie_tagger.tags.sql.database import read_database
from movie_tagger.tags.sql.dump import read_dump

nasty = st.text(st.sampled_from("ab '\"\\`,;()\n\r\t\0\x1a%_-#/*éß🎬NULnx0"), max_size=12)
words = st.one_of(
    st.none(),
    nasty,
    st.text(max_size=8),
    st.sampled_from(
        [
            "NULL",
            "",
            "0x41",
            "),(",
            "'",
            "\\",
            "INSERT INTO `t` VALUES (1,'x');",
            "-- no",
            "2008-01-01",
        ]
    ),
)
words = words.filter(lambda s: s is None or not any("\ud800" <= c <= "\udfff" for c in s))
numbers = st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1))


def mysql(text):
    return "".join(
        {
            "\0": "\\0",
            "\n": "\\n",
            "\r": "\\r",
            "\\": "\\\\",
            "'": "\\'",
            '"': '\\"',
            "\x1a": "\\Z",
        }.get(c, c)
        for c in text
    )


def doubled(text):
    return text.replace("\\", "\\\\").replace("'", "''")


def literal(value, escape):
    if value is None:
        return "NULL"
    return f"'{escape(value)}'" if isinstance(value, str) else str(value)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.tuples(numbers, words, words), min_size=1, max_size=8),
    st.sampled_from([mysql, doubled]),
    st.sampled_from([",", ", "]),
    st.sampled_from(
        [
            ",",
            ",\n",
            ", ",
            "\n,\n",
            ",\r\n\t",
            ";\nINSERT INTO `t` VALUES ",
            ";INSERT INTO `t` VALUES",
        ]
    ),
    st.integers(0, 30),
)
def test_fast_and_exact_rows_say_the_same(table, escape, comma, between, cut):
    "Also where the last row is cut off somewhere."
    whole = (
        between.join(
            "(" + comma.join(literal(v, escape) for v in row) + ")" for row in table
        ).encode()
        + b";"
    )
    block = whole[: max(0, len(whole) - cut)]
    header = b"INSERT INTO `t` VALUES"
    kinds = ["int", "text", "text"]
    exact, end = values.exact_rows(block, 0, None, header)
    assert [[v for v, _ in row] for row in exact] == [
        [None if v is None else str(v).encode() for v in row] for row in table[: len(exact)]
    ]
    if not cut:
        assert len(exact) == len(table)
    fast = rows.plain_rows(block, header)
    if fast is None:
        return
    text, n, size, *_ = fast
    assert (n, size) == (len(exact), end)
    try:
        columns = rows.fast_columns(text, kinds, [0, 1, 2])
    except pa.ArrowInvalid:
        return
    assert list(zip(*(c.to_pylist() for c in columns))) == table[:n]


def test_the_fast_way_is_taken_where_nothing_is_unusual():
    table = [
        (i, text, None)
        for i, text in enumerate(
            ['Rick\'s "Café"', "NULL", "a\nb\\", "),(;", "", "été 🎬", "'", "it''s"]
        )
    ]
    for escape in (mysql, doubled):
        for comma, between in (
            (",", ","),
            (",", ",\n"),
            (", ", ",\n"),
            (",", ";\nINSERT INTO `t` (`a`, `b`, `c`) VALUES "),
        ):
            block = (
                between.join(
                    "(" + comma.join(literal(v, escape) for v in row) + ")" for row in table
                ).encode()
                + b";"
            )
            text, n, *_ = rows.plain_rows(block, b"INSERT INTO `t` (`a`, `b`, `c`) VALUES")
            assert n == len(table)
            assert (
                list(
                    zip(
                        *(
                            c.to_pylist()
                            for c in rows.fast_columns(text, ["int", "text", "text"], [0, 1, 2])
                        )
                    )
                )
                == table
            )


# --- a real server's dumps

TYPES = {
    "int": st.integers(-(2**31), 2**31 - 1),
    "tinyint(1)": st.integers(-128, 127),
    "smallint unsigned": st.integers(0, 65535),
    "bigint": st.integers(-(2**63), 2**63 - 1),
    "bigint unsigned": st.integers(0, 2**64 - 1),
    "decimal(20,6)": st.integers(-(10**12), 10**12).map(lambda i: f"{i / 10**6:.6f}"),
    "double": st.floats(-1e300, 1e300),
    "float": st.floats(-(2.0**90), 2.0**90, width=32),
    "date": st.dates().map(str),
    "year": st.integers(1901, 2155),
    "datetime": st.datetimes().map(lambda t: str(t.replace(microsecond=0))),
    "datetime(6)": st.datetimes().map(str),
    "timestamp NULL": st.datetimes(
        pd.Timestamp("1990-01-01").to_pydatetime(), pd.Timestamp("2030-01-01").to_pydatetime()
    ).map(lambda t: str(t.replace(microsecond=0))),
    "time": st.times().map(lambda t: str(t.replace(microsecond=0))),
    "varchar(60)": words,
    "char(12)": nasty,
    "text": words,
    "enum('a','it''s',',')": st.sampled_from(["a", "it's", ","]),
    "set('x','y(')": st.sampled_from(["", "x", "x,y("]),
    "varbinary(30)": st.binary(max_size=30),
    "binary(4)": st.binary(max_size=4),
    "blob": st.binary(max_size=40),
    "bit(11)": st.integers(0, 2047),
    "json": st.sampled_from(['{"a": "it\'s"}', "[1, null]"]),
}
LATIN = {
    "varchar(60)": st.text("ab'\"\\\n éßñü", max_size=20),
    "text": st.text("ab'(),; ÿÿ", max_size=20),
}


@st.composite
def tables(draw):
    "A table: its columns (name → type), rows, whether its names are odd, and its letters latin1."
    odd, latin = draw(st.booleans()), draw(st.integers(0, 3)) == 0
    types = draw(
        st.lists(st.sampled_from(sorted(LATIN if latin else TYPES)), min_size=1, max_size=6)
    )
    name = st.text("a `'\"(),;é-#", min_size=1, max_size=8).map(str.strip).filter(bool)
    names = (
        draw(st.lists(name, min_size=len(types), max_size=len(types), unique_by=str.casefold))
        if odd
        else [f"c{i}" for i in range(len(types))]
    )
    values = [(LATIN if latin else TYPES)[t] for t in types]
    return SimpleNamespace(
        columns=dict(zip(names, types)),
        values=draw(st.lists(st.tuples(*(st.one_of(st.none(), v) for v in values)), max_size=6)),
        odd=odd,
        latin=latin,
    )


def quoted(name):
    return "`" + name.replace("`", "``") + "`"


def make_tables(connection, count):
    "Fills the database with `count` tables."
    made = []

    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(tables())
    def fill(table):
        table.name = f"t{len(made)}"
        made.append(table)
        with connection.cursor() as cursor:
            cursor.execute(
                f"CREATE TABLE {table.name} "
                f"({', '.join(f'{quoted(n)} {t}' for n, t in table.columns.items())}) ENGINE=MyISAM"
            )
            if table.values:
                cursor.executemany(
                    f"INSERT INTO {table.name} VALUES ({', '.join(['%s'] * len(table.columns))})",
                    table.values,
                )

    fill()
    return made


def selected(connection, table):
    "What SELECT says: columns and their values."
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {table.name}")
        found = list(zip(*cursor.fetchall())) or [[] for _ in table.columns]
    return {
        name: [None if v is None else convert(type, v) for v in values]
        for (name, type), values in zip(table.columns.items(), found)
    }


def convert(type, value):
    held = rows.column_type(type)
    if held in ("int", "uint"):
        return int(value)
    if held == "float":
        return float(value)
    if held == "date":
        return None if "-00" in value or value < "0001" else pd.Timestamp(value)
    return value


def plain(frame):
    return {
        name: [
            None if v is None or v is pd.NA or v is pd.NaT or v != v else v for v in column.tolist()
        ]
        for name, column in frame.items()
    }


LAYOUTS = {
    "as it comes": [],
    "a statement a row": ["--skip-extended-insert"],
    "columns named": ["--complete-insert"],
    "hexadecimal": ["--hex-blob"],
    "ansi": ["--compatible=ansi", "--default-character-set=utf8mb4"],
    "ignore": ["--insert-ignore"],
    "replace": ["--replace"],
    "compact": ["--compact"],
    "no types": ["--no-create-info", "--complete-insert", "--hex-blob"],
    "everything odd": [
        "--skip-extended-insert",
        "--complete-insert",
        "--hex-blob",
        "--skip-comments",
        "--skip-add-locks",
    ],
    "latin1": ["--default-character-set=latin1"],
    "names without quotes": ["--skip-quote-names"],
    "oracle, undeclared latin1": ["--compatible=oracle"],
}


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    "A database of 500 tables: its address, a function that dumps it, and a connection to it."
    need_database()
    import pymysql

    with site.database() as url:
        password, port = re.search(r":([^:@]+)@[^:]+:(\d+)", url).groups()
        connection = pymysql.connect(
            host="127.0.0.1",
            port=int(port),
            user="site",
            password=password,
            database="site",
            conv={**pymysql.converters.encoders},
            autocommit=True,
            init_command="SET time_zone = '+00:00'",
        )
        with connection:
            made = make_tables(connection, 500)

            def dumped(*options, tables=()):
                command = [
                    "mariadb-dump",
                    "--no-defaults",
                    "--host=127.0.0.1",
                    f"--port={port}",
                    "--user=site",
                    *options,
                    "site",
                    *tables,
                ]
                return subprocess.run(
                    command,
                    env=os.environ | {"MYSQL_PWD": password},
                    capture_output=True,
                    check=True,
                ).stdout

            yield SimpleNamespace(
                url=url,
                port=int(port),
                password=password,
                made=made,
                dumped=dumped,
                connection=connection,
            )


def as_found(expected, found):
    "What can be asked of a dump without types: the same values, whatever their type was taken for."

    def like(value, other):
        if value is None or other is None or isinstance(value, type(other)):
            return value
        if isinstance(other, bytes):
            return (
                value
                if isinstance(value, bytes)
                else value.encode()
                if isinstance(value, str)
                else value
            )
        # a decimal in quotes
        if isinstance(other, str) and isinstance(value, float):
            return other if float(other) == value else value
        if isinstance(other, str) and isinstance(value, pd.Timestamp):
            return other if pd.Timestamp(other) == value else value
        if isinstance(other, str):
            return value.decode() if isinstance(value, bytes) else str(value)
        return type(other)(value)

    return {
        name: [like(v, o) for v, o in zip(values, found[name])] for name, values in expected.items()
    }


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_a_server_dumps_is_what_it_selects(server, layout, tmp_path):
    chosen = [
        t
        for t in server.made
        if (t.latin or "latin1" not in layout) and not (t.odd and layout == "names without quotes")
    ]
    file = tmp_path / "dump.sql"
    file.write_bytes(server.dumped(*LAYOUTS[layout], tables=[t.name for t in chosen]))
    found = read_dump(file)
    for table in chosen:
        expected = selected(server.connection, table)
        if layout == "no types":
            expected = (
                expected
                if table.name not in found
                else as_found(expected, plain(found[table.name]))
            )
        assert (
            table.name not in found
            and not any(expected.values())
            or plain(found[table.name]) == expected
        ), table
    assert layout == "no types" or len(found) == len(chosen)


def test_bytes_that_come_after_the_types_were_guessed(tmp_path):
    file = tmp_path / "dump.sql"
    file.write_text(
        "SET NAMES utf8mb4;\nINSERT INTO t (id,c) VALUES (1,'a'),(2,NULL);\n"
        "INSERT INTO t (id,c) VALUES (3,0xB2FE),(4,'é');\n"
    )
    assert read_dump(file)["t"]["c"].tolist() == [b"a", None, b"\xb2\xfe", "é".encode()]


def test_the_live_database_says_what_a_dump_says(server):
    found = read_database(server.url, [t.name for t in server.made])
    for table in server.made:
        assert plain(found[table.name]) == selected(server.connection, table), table


# --- dumps that other tools write

SHOTS = pd.DataFrame(
    {
        "id": [1, 2, 3],
        "name": ["it's; (a)", None, "NULL"],
        "at": pd.to_datetime(["2008-06-01 12:00:00", None, "2010-01-01 00:00:00"]),
    }
)
CREATE = (
    "CREATE TABLE `shots` (\n  `id` int(11) NOT NULL COMMENT 'the key; (really), it''s',\n"
    "  `name` varchar(255) DEFAULT NULL, -- a comment, with `ticks`\n"
    "  `at` datetime DEFAULT NULL,\n  PRIMARY KEY (`id`),\n  KEY `k` (`name`(10),`at`)\n"
    ") ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;\n"
)
OTHERS = {
    "phpMyAdmin": "-- phpMyAdmin SQL Dump\n-- version 5.2.1\n"
    'SET SQL_MODE = "NO_AUTO_VALUE_ON_ZERO";\n'
    "START TRANSACTION;\n"
    'SET time_zone = "+00:00";\n/*!40101 SET NAMES utf8mb4 */;\n\n--\n-- Database: `site`\n--\n'
    + CREATE
    + "INSERT INTO `shots` (`id`, `name`, `at`) VALUES\n"
    "(1, 'it\\'s; (a)', '2008-06-01 12:00:00'),\n(2, NULL, NULL),\n"
    "(3, 'NULL', '2010-01-01 00:00:00');\n\n"
    "ALTER TABLE `shots`\n  ADD PRIMARY KEY (`id`);\nCOMMIT;\n",
    "HeidiSQL": "/*!40101 SET NAMES utf8 */;\n/*!50503 SET NAMES utf8mb4 */;\n"
    "CREATE DATABASE IF NOT EXISTS `site`;\n"
    "USE `site`;\n\n" + CREATE + "-- Dumping data for table site.shots: ~3 rows (approximately)\n"
    "INSERT INTO `shots` (`id`, `name`, `at`) VALUES\n"
    "\t(1, 'it\\'s; (a)', '2008-06-01 12:00:00'),\n"
    "\t(2, NULL, NULL),\n"
    "\t(3, 'NULL', '2010-01-01 00:00:00');\n/*!40101 SET SQL_MODE=IFNULL(@OLD_SQL_MODE, '') */;\n",
    "DBeaver": CREATE
    + "INSERT INTO site.shots (id,name,`at`) VALUES\n\t (1,'it''s; (a)','2008-06-01 12:00:00'),\n"
    "\t (2,NULL,NULL),\n\t (3,'NULL','2010-01-01 00:00:00.0');\n",
    "Adminer": "-- Adminer 4.8.1 MySQL dump\n\nSET NAMES utf8;\nSET foreign_key_checks = 0;\n"
    "DROP TABLE IF EXISTS `shots`;\n" + CREATE + "INSERT INTO `shots` (`id`, `name`, `at`) VALUES\n"
    "(1,\t'it\\'s; (a)',\t'2008-06-01 12:00:00'),\n"
    "(2,\tNULL,\tNULL),\n(3,\t'NULL',\t'2010-01-01 00:00:00')\n"
    "ON DUPLICATE KEY UPDATE `id` = VALUES(`id`), `name` = VALUES(`name`);\n-- 2026-01-01\n",
    "a statement a row, columns in another order": CREATE
    + "INSERT INTO shots(at,id,name)VALUES('2008-06-01 "
    "12:00:00',1,'it''s; (a)');\nreplace into shots (id, "
    "name) values (2, null);\n"
    "INSERT  IGNORE INTO `shots` VALUES (3,\"NULL\",'2010-01-01');\n",
    "blank lines, comments and tabs": CREATE + "INSERT INTO `shots` VALUES /* three; rows */\n\n"
    "\t(1,'it\\'s; (a)','2008-06-01 12:00:00')\n\n,\n"
    " -- it's one\n(2,NULL,NULL) , # two (\n\n(3,\n\t'NULL', '2010-01-01')\n\n;\n",
    "triggers": CREATE + "DELIMITER ;;\n"
    "/*!50003 CREATE TRIGGER t BEFORE INSERT ON shots FOR EACH ROW BEGIN INSERT INTO shots VALUES "
    "(9,'no',NULL); INSERT INTO shots VALUES (8,'no',NULL); END */;;\nDELIMITER ;\n"
    "INSERT INTO `shots` VALUES (1,'it\\'s; (a)','2008-06-01 12:00:00'),(2,NULL,'0000-00-00 "
    "00:00:00'),(3,'NULL','2010-01-01');\n",
    "an unwanted table first": "CREATE TABLE `logs` (`a` text);\nINSERT INTO `logs` VALUES ('; "
    "INSERT INTO `shots` VALUES (7,\\'x\\',NULL);\\\\'),(\"it's;\");\n"
    + CREATE
    + "INSERT INTO `shots` VALUES (1,'it\\'s; "
    "(a)','2008-06-01 12:00:00'),(2,NULL,NULL),(3,_utf8'NULL','2010-01-01');\n",
}


@pytest.mark.parametrize("tool", OTHERS)
def test_dumps_of_other_tools(tool, tmp_path):
    (tmp_path / "dump.sql").write_text(OTHERS[tool])
    found = read_dump(tmp_path / "dump.sql", ["shots"])
    assert list(found) == ["shots"]
    assert plain(found["shots"][["id", "name", "at"]]) == plain(SHOTS)
    (tmp_path / "windows.sql").write_text(OTHERS[tool], newline="\r\n")
    assert plain(
        read_dump(tmp_path / "windows.sql", ["shots"])["shots"][["id", "name", "at"]]
    ) == plain(SHOTS)


@pytest.mark.parametrize("block", [7, 64, 1000])
@pytest.mark.parametrize("tool", OTHERS)
def test_where_the_blocks_end_does_not_matter(tool, block, tmp_path, monkeypatch):
    monkeypatch.setattr("movie_tagger.tags.sql.stream.BLOCK", block)
    monkeypatch.setattr(
        "movie_tagger.tags.sql.stream.AHEAD", 400
    )  # a statement's first words must fit
    (tmp_path / "dump.sql").write_text(OTHERS[tool])
    assert plain(
        read_dump(tmp_path / "dump.sql", ["shots"])["shots"][["id", "name", "at"]]
    ) == plain(SHOTS)


DUMP = (
    CREATE + "INSERT INTO `shots` VALUES (1,'it\\'s; "
    "(a)','2008-06-01 12:00:00'),(2,NULL,NULL),(3,'NULL','2010-01-01');\n"
)


def test_packed_files_and_standard_input(tmp_path):
    packed = {
        "gz": gzip.compress(DUMP.encode()),
        "bz2": bz2.compress(DUMP.encode()),
        "zst": pa.Codec("zstd").compress(DUMP.encode(), asbytes=True),
        "sql": DUMP.encode(),
    }
    code = "from movie_tagger.tags import read_dump; print(read_dump('-')['shots'].to_csv())"
    for ending, content in packed.items():
        (tmp_path / f"dump.{ending}").write_bytes(content)
        assert plain(read_dump(tmp_path / f"dump.{ending}")["shots"]) == plain(SHOTS)
        piped = subprocess.run([sys.executable, "-c", code], input=content, capture_output=True)
        assert (piped.stdout.decode(), piped.stderr) == (
            read_dump(tmp_path / f"dump.{ending}")["shots"].to_csv() + "\n",
            b"",
        )


def test_character_sets(tmp_path):
    for name, codec, text in (
        ("cp1251", "cp1251", "ночь"),
        ("latin2", "iso8859-2", "żółw"),
        ("sjis", "shift_jis", "表\\ソ'"),
        ("gbk", "gbk", "誠\\'夜"),
        ("latin1", "cp1252", "café “€”"),
        ("utf8mb4", "utf-8", "🎬"),
    ):
        said = DUMP.replace("it\\'s; (a)", text.replace("\\", "\\\\").replace("'", "\\'"))
        (tmp_path / "dump.sql").write_bytes(f"/*!40101 SET NAMES {name} */;\n{said}".encode(codec))
        assert read_dump(tmp_path / "dump.sql")["shots"]["name"].iloc[0] == text, name
    (tmp_path / "dump.sql").write_text(
        DUMP.replace("it", "été"), encoding="utf-16"
    )  # what PowerShell makes of a dump
    assert read_dump(tmp_path / "dump.sql")["shots"]["name"].iloc[0] == "été's; (a)"
    (tmp_path / "dump.sql").write_bytes(DUMP.replace("it", "ночь").encode("koi8-r"))
    assert (
        read_dump(tmp_path / "dump.sql", encoding="koi8-r")["shots"]["name"].iloc[0]
        == "ночь's; (a)"
    )


def test_without_create_table(tmp_path):
    (tmp_path / "dump.sql").write_text(
        "INSERT INTO shots VALUES (1,'1917','2008-06-01 12:00:00',0x4142,1.5),(2,NULL,NULL,NULL,2);"
    )
    with pytest.warns(
        UserWarning,
        match="does not say what the columns of table shots are called: they are numbered",
    ):
        found = read_dump(tmp_path / "dump.sql")["shots"]
    assert list(found) == [f"column {i}" for i in range(1, 6)]
    named = read_dump(
        tmp_path / "dump.sql", columns={"shots": ["id", "name", "at", "raw", "rate"]}
    )["shots"]
    assert plain(named) == {
        "id": [1, 2],
        "name": ["1917", None],
        "at": [pd.Timestamp("2008-06-01 12:00:00"), None],
        "raw": [b"AB", None],
        "rate": [1.5, 2.0],
    }
    with pytest.raises(
        MovieTaggerError, match=r"row 1 of table shots: it has 5 values for 2 columns \(id, name\)"
    ):
        read_dump(tmp_path / "dump.sql", columns={"shots": ["id", "name"]})


def test_columns_are_chosen_in_the_order_asked(tmp_path):
    (tmp_path / "dump.sql").write_text(DUMP)
    assert list(read_dump(tmp_path / "dump.sql", columns={"shots": ["name", "id"]})["shots"]) == [
        "name",
        "id",
    ]


def test_csv_exports(tmp_path):
    folder = tmp_path / "export"
    folder.mkdir()
    for text in (
        '"id","name","at"\n"1","it\'s; (a)","2008-06-01 12:00:00"\n"2",NULL,NULL\n'
        '"3","NULL","2010-01-01 00:00:00"\n',
        '"id";"name";"at"\r\n"1";"it\'s; (a)";"2008-06-01 12:00:00"\r\n"2";NULL;NULL\r\n'
        '"3";"NULL";"2010-01-01 00:00:00"\r\n',
    ):
        (folder / "shots.csv").write_text(text)
        assert plain(read_dump(folder)["shots"]) == plain(SHOTS)
        assert plain(read_dump(folder / "shots.csv")["shots"]) == plain(SHOTS)
    (folder / "shots.csv").write_text('id,name\n1,"a ""b"" c"\n2,"line\nbreak"\n')
    assert read_dump(folder)["shots"]["name"].tolist() == ['a "b" c', "line\nbreak"]
    (folder / "shots.csv").write_text('id,name\n1,"a \\"b\\" c"\n')
    assert read_dump(folder)["shots"]["name"].tolist() == ['a "b" c']


# --- what is broken: one sentence

BROKEN = {
    "cut in a text": (
        DUMP[: DUMP.rindex("NULL'") + 2],
        "ends in the middle of row 3 of table shots: it was cut off",
    ),
    "cut between rows": (
        DUMP[: DUMP.rindex(",(3")],
        "ends after row 2 of table shots, in the middle of a statement: it was cut off",
    ),
    "cut in a value": (
        DUMP[: DUMP.rindex(",NULL),(3") + 3],
        "ends in the middle of row 2 of table shots",
    ),
    "cut in the next statement": (
        DUMP + "INSERT INTO `sh",
        "ends in the middle of a statement: it was cut off",
    ),
    "a value that is none": (
        DUMP.replace("(2,NULL", "(2,NOW()"),
        r"row 2 of table shots, column name: NOW\(\) is not a value",
    ),
    "a number that is none": (
        DUMP.replace("(2,NULL", "('two',NULL"),
        "row 2 of table shots, column id: 'two' is no whole number",
    ),
    "a date that is none": (
        DUMP.replace("2010-01-01", "soon"),
        "row 3 of table shots, column at: 'soon' is no date",
    ),
    "too few values": (
        DUMP.replace("(2,NULL,NULL)", "(2,NULL)"),
        r"row 2 of table shots: it has 2 values for 3 columns \(id, name, at\)",
    ),
    "another statement": (
        CREATE + "INSERT INTO shots SELECT * FROM old;",
        "only INSERT ... VALUES is understood",
    ),
    "mixed encodings": (
        b"SET NAMES utf8mb4;\n" + DUMP.encode().replace(b"'NULL'", b"'caf\xe9'"),
        r"row 3 of table shots, column name: 'caf\\\\xe9' is not utf-8 text",
    ),
    "an unknown character set": (
        "SET NAMES klingon;\n" + DUMP,
        "the character set 'klingon' is not known",
    ),
    "an INSERT that a stray quote made a text": (
        "CREATE TABLE shots (id int, name\n[Warning] it's not safe; go on\nvarchar(9), at int);"
        "INSERT shots(id,name,at)VALUES(1,'a',2);\nINSERT INTO shots VALUES (2,'b',3);\n",
        "a statement has no end before the INSERT into shots",
    ),
    "an INSERT IGNORE behind a comment with a quote": (
        CREATE.replace("`id` int", "`id` int PRIMARY KEY", 1)
        + "INSERT INTO shots VALUES (1,'a',NULL);\nINSERT/*`*/IGNORE shots VALUES (1,'b',NULL);\n",
        "two rows of table shots have the same key",
    ),
    "an INSERT into something that is no name": (
        CREATE + "INSERT\n[Warning] it's not safe; go on\nshots VALUES (1,'a',NULL);\n",
        "only INSERT ... VALUES is understood, not .INSERT",
    ),
    "an INSERT in a line that is no SQL": (
        CREATE
        + "go on; REPLACE shots VALUES (1,'a',NULL);\nINSERT INTO shots VALUES (2,'b',NULL);",
        "begins with no word of SQL: .go on",
    ),
    "two databases": (DUMP + DUMP, "more than one table shots"),
    "no dump": ("Dear Sir, it is not a dump.\n", "has no tables: is it an SQL dump"),
    "nothing": ("", "has no tables"),
    "a binary file": (b"\x7fELF\0\0\0\1" * 9, "is a binary file"),
    "a picture": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" * 9, "is a picture, not an SQL dump"),
    "a zip archive": (b"PK\x03\x04" + b"x" * 99, "is a zip archive that cannot be read"),
    "a cut archive": (gzip.compress(DUMP.encode() * 99)[:-30], "was it cut off"),
    "no such table": (DUMP.replace("shots", "pictures"), "has no table 'shots'; it has 'pictures'"),
    "no such column": (
        DUMP.replace("`name`", "`title`"),
        "has no column 'name'; it has 'id', 'title', 'at'",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_broken_dumps_say_what_is_wrong(what, tmp_path):
    content, sentence = BROKEN[what]
    (tmp_path / "dump.sql").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(MovieTaggerError, match=sentence) as e:
        read_dump(
            tmp_path / "dump.sql",
            ["shots"],
            {"shots": ["id", "name", "at"]} if "column" in what else None,
        )
    assert "\n" not in str(e.value) and str(e.value).endswith((".", "?"))


def test_a_dump_without_its_last_line(tmp_path):
    "Cut off between two statements: the SQL does not show it, but mysqldump says when it is done."
    (tmp_path / "dump.sql").write_text("-- MySQL dump 10.13  Distrib 5.7\n" + DUMP)
    with pytest.warns(UserWarning, match="does not end with the line `-- Dump completed`"):
        read_dump(tmp_path / "dump.sql")
    (tmp_path / "dump.sql").write_text(
        "-- MySQL dump 10.13  Distrib 5.7\n" + DUMP + "-- Dump completed on 2026-01-01\n"
    )
    read_dump(tmp_path / "dump.sql")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(MovieTaggerError, match="Cannot open .*: No such file"):
        read_dump(tmp_path / "no.sql")
    with pytest.raises(MovieTaggerError, match="holds no CSV exports"):
        read_dump(tmp_path)


def peak(code, file):
    "Peak MB of a process that runs `code` on standard input from a file, and what it said."
    if sys.platform != "linux":
        pytest.skip("the peak of a process is read from Linux's /proc")
    code = (
        "from movie_tagger.core import MovieTaggerError\n"
        f"from movie_tagger.tags.sql.dump import read_dump\n{code}\n"
        "print(int(next(line for line in open('/proc/self/status') if "
        "line.startswith('VmHWM')).split()[1]) / 1024)"
    )
    writer, done = subprocess.Popen([sys.executable, "-c", file], stdout=subprocess.PIPE), None
    with writer:
        done = subprocess.run(
            [sys.executable, "-c", code], stdin=writer.stdout, capture_output=True, text=True
        )
    assert done.returncode == 0, done.stderr
    *said, mb = done.stdout.strip().splitlines()
    return float(mb), said


def test_a_line_of_hundreds_of_megabytes():
    "Of rows: it is skipped or read within bounds. Of anything else: it is refused, not kept."
    row = "b\"(1,'it\\\\'s a text of some length, of which there are many')\""
    line = (
        f"import sys; w = sys.stdout.buffer.write\nw(b'INSERT INTO logs VALUES ')\n"
        f"part = b','.join([{row}] * 17000) + b','\nfor _ in range(80): w(part)\n"
        f"w({row} + b';\\nINSERT INTO shots (id) VALUES (1);')"
    )
    mb, said = peak("print(len(read_dump('-', ['shots'])['shots']))", line)
    assert said == ["1"] and mb < 300
    junk = "import sys\nfor _ in range(60): sys.stdout.buffer.write(b'(a ' * 350_000)"
    mb, said = peak("try: read_dump('-')\nexcept MovieTaggerError as e: print(e)", junk)
    assert "no tables" in said[0] and mb < 300
    text = (
        'import sys\ntry:\n  sys.stdout.buffer.write(b"INSERT INTO shots (id) VALUES (\'")\n'
        "  for _ in range(30): sys.stdout.buffer.write(b'x' * 1_000_000)\n"
        "except BrokenPipeError: sys.stdout = None"
    )
    mb, said = peak(
        "from movie_tagger.tags.sql import stream; stream.LONGEST = 8 << 20\ntry: read_dump('-')\n"
        "except MovieTaggerError as e: print(e)",
        text,
    )
    assert "more than 8 MB" in said[0] and mb < 250


# --- the live database


def test_only_what_is_newer(server):
    with server.connection.cursor() as cursor:
        cursor.execute("CREATE OR REPLACE TABLE `news 100%` (id int, updated_at datetime)")
        cursor.execute(
            "INSERT INTO `news 100%` VALUES (1, '2020-01-01'), (2, '2020-01-02'), (3, NULL), (4, "
            "'2020-01-02 00:00:01')"
        )
    assert read_database(server.url, "news 100%", since="2020-01-01 12:00")["news 100%"][
        "id"
    ].tolist() == [2, 4]
    assert read_database(
        server.url.replace("+pymysql", ""), ["news 100%"], columns={"news 100%": ["id"]}
    )["news 100%"]["id"].tolist() == [1, 2, 3, 4]
    with pytest.raises(
        MovieTaggerError, match="Table news 100% has no column 'changed'; it has 'id', 'updated_at'"
    ):
        read_database(server.url, "news 100%", since="2020-01-01", updated="changed")
    with pytest.raises(
        MovieTaggerError,
        match=r"The database has no table 'shots'; it has 'news 100%', 't0', .* and \d+ more\.",
    ):
        read_database(server.url, ["shots"])


def test_all_tables_are_of_one_moment(server, monkeypatch):
    "Rows that arrive between the first table and the second are not seen."
    with server.connection.cursor() as cursor:
        for name in ("first", "second"):
            cursor.execute(f"CREATE OR REPLACE TABLE {name} (id int) ENGINE=InnoDB")
            cursor.execute(f"INSERT INTO {name} VALUES (1)")
        from movie_tagger.tags.sql import database

        one = database._table

        def meanwhile(connection, table, *args):
            found = one(connection, table, *args)
            cursor.execute("INSERT INTO second VALUES (2)")
            with pytest.raises(Exception, match="READ ONLY transaction"):
                connection.exec_driver_sql("INSERT INTO first VALUES (9)")
            return found

        monkeypatch.setattr(database, "_table", meanwhile)
        assert len(read_database(server.url, ["first", "second"])["second"]) == 1
        monkeypatch.undo()
        assert len(read_database(server.url, ["second"])["second"]) == 3


def test_what_can_be_wrong_with_the_address(server):
    for url, why in (
        (
            server.url.replace(server.password, "secret"),
            "Access denied .*; check the user and the password",
        ),
        (
            server.url.removesuffix("site") + "nothing",
            "Unknown database 'nothing'; check the database's name",
        ),
        ("mysql://root:secret@127.0.0.1:1/site", "check the host and the port"),
        ("mysql+nothing://root:secret@127.0.0.1/site", "There is no driver for"),
        ("nonsense", "should look like mysql://user:password@host/database"),
    ):
        with pytest.raises(MovieTaggerError, match=why) as e:
            read_database(url, ["shots"])
        assert "secret" not in str(e.value) and "\n" not in str(e.value)


def test_a_server_that_goes_away_in_mid_read(tmp_path):
    need_database()
    import sqlalchemy

    with site.database() as url:
        engine = sqlalchemy.create_engine(url)
        with engine.begin() as connection:
            connection.exec_driver_sql(
                "CREATE TABLE shots AS SELECT seq AS id, REPEAT('x', "
                "200) AS name FROM seq_1_to_300000"
            )
            pid = connection.exec_driver_sql("SELECT @@pid_file").scalar()
        from movie_tagger.tags.sql import database

        original, number = database._array, int(open(pid).read())

        def slow(values, kind):
            os.kill(number, signal.SIGKILL)
            return original(values, kind)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(database, "_array", slow)
            with pytest.raises(
                MovieTaggerError, match=r"table shots, after [\d,]+ rows: Lost connection"
            ) as e:
                read_database(url, ["shots"])
        assert "\n" not in str(e.value)


def test_encrypted_connections(tmp_path):
    "With the options in the address, and with an SSL context of one's own."
    need_database()
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    with site.database(
        None,
        f"--ssl-cert={tmp_path / 'cert.pem'}",
        f"--ssl-key={tmp_path / 'key.pem'}",
        f"--ssl-ca={tmp_path / 'ca.pem'}",
        "--require-secure-transport",
    ) as url:
        assert read_database(f"{url}?ssl_ca={tmp_path / 'ca.pem'}", []) == {}
        assert (
            read_database(
                url,
                [],
                connect_args={"ssl": ssl.create_default_context(cafile=tmp_path / "ca.pem")},
            )
            == {}
        )
        with pytest.raises(MovieTaggerError, match="(?i)certificate"):
            read_database(url, [], connect_args={"ssl": ssl.create_default_context()})


def test_a_broken_connection_says_one_sentence(tmp_path):
    "Nothing else comes to standard error, also when the driver's objects are cleared away."
    need_database()
    program = """
import os, signal, sys
from movie_tagger.tags.sql import database
from movie_tagger.core import MovieTaggerError
convert, number = database._array, int(sys.argv[2])
def killed(values, kind):
    os.kill(number, signal.SIGKILL)
    return convert(values, kind)
database._array = killed
try: database.read_database(sys.argv[1], ["shots"])
except MovieTaggerError as e: print(e, file=sys.stderr)
"""
    import sqlalchemy

    with site.database() as url:
        with sqlalchemy.create_engine(url).begin() as connection:
            connection.exec_driver_sql(
                "CREATE TABLE shots AS SELECT seq AS id, REPEAT('x', "
                "200) AS name FROM seq_1_to_300000"
            )
            pid = open(connection.exec_driver_sql("SELECT @@pid_file").scalar()).read().strip()
        done = subprocess.run(
            [sys.executable, "-c", program, url, pid], capture_output=True, text=True
        )
    assert re.fullmatch(
        r"Cannot read the database .*, table shots, after [\d,]+ rows: "
        r"Lost connection .*; try again\.\n",
        done.stderr,
    ), done.stderr
