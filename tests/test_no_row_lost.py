"No row of a dump is lost in silence: what is odd is read as the database reads it, or refused."

import bz2
import gzip
import io
import lzma
import warnings
import zipfile

import pandas as pd
import pytest

from movie_tagger.core import MovieTaggerError
from movie_tagger.tags import read_site
from movie_tagger.tags.sql.dump import read_dump

SHOTS = """CREATE TABLE `shots` (
  `id` int NOT NULL AUTO_INCREMENT,
  `shot_image_id` varchar(255) DEFAULT NULL,
  `movie_id` int DEFAULT NULL,
  PRIMARY KEY (`id`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
INSERT INTO `shots` VALUES (1,'a.jpg',7),(2,'b.jpg',7),(3,'c.jpg',8);
"""
TAGS = """CREATE TABLE `tags` (
  `id` int NOT NULL,
  `value` varchar(255) DEFAULT NULL,
  `ref_id` int DEFAULT NULL,
  `created_at` datetime DEFAULT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
"""
HEAD = "SET NAMES utf8mb4;\n" + SHOTS + TAGS
FOUR = [(1, "car", 1), (2, "tree", 1), (3, "car", 2), (4, "sea", 3)]


def written(folder, text):
    file = folder / "dump.sql"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def typed(file, columns=("id", "value", "ref_id")):
    "The tags of a dump as tuples, and what was told."
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        tags = read_dump(file)["tags"][list(columns)]
    rows = [tuple(None if pd.isna(v) else v for v in row) for row in tags.itertuples(index=False)]
    return rows, [str(note.message) for note in told]


# --- values that are none

VALUES = {
    "@s": "@s",
    "a user's function": "f(1, ')')",
    "a sum": "1+1",
    "a product": "2 * 3",
    "a cast": "CAST('7' AS int)",
    "a time": "NOW() - INTERVAL 1 DAY",
    "a query": "(SELECT 1)",
    "an array": "ARRAY[1,2]",
    "another character set": "_latin1 0xE9",
}


@pytest.mark.parametrize("block", [7, 2 << 20])
@pytest.mark.parametrize("column", ["id", "value", "ref_id"])
@pytest.mark.parametrize("what", VALUES)
def test_a_value_that_is_none_is_named(what, column, block, tmp_path, monkeypatch):
    monkeypatch.setattr("movie_tagger.tags.sql.stream.BLOCK", block)
    row = {"id": "2", "value": "'tree'", "ref_id": "1"} | {column: VALUES[what]}
    file = written(
        tmp_path,
        f"{HEAD}INSERT INTO tags VALUES (1,'car',1,NULL),\n"
        f"({','.join(row.values())},NULL),\n(3,'car',2,NULL);\n",
    )
    with pytest.raises(MovieTaggerError, match="line 16, row 2 of table tags") as e:
        read_dump(file)
    first = VALUES[what].split(",")[0].split("(")[0]
    assert first in str(e.value) and "\n" not in str(e.value)


@pytest.mark.parametrize(
    "written_as, held",
    [
        ("'tree' COLLATE utf8mb4_bin", "tree"),
        ("_utf8mb4'tree' COLLATE utf8mb4_bin", "tree"),
        ("_binary 'tree'", "tree"),
        ("_latin1'tree'", "tree"),
        ("x'74726565'", "tree"),
        ("0x74726565", "tree"),
        ("_utf8mb4 0x74726565", "tree"),
        ("b'1000001'", "A"),
        ("'tr' /* it's */ 'ee'", "tree"),
        ("N'tree'", "tree"),
        (r"\N", None),
        ("Null", None),
        ("/*!50705 'tree'*/", "tree"),
        ("/*! 'tree' */", "tree"),
        ("/*M!100100 'tree' */", "tree"),
        ("/*!999999 'no',*/'tree'", "tree"),
        ("-5", "-5"),
    ],
)
def test_values_in_other_clothes(written_as, held, tmp_path):
    file = written(tmp_path, f"{HEAD}INSERT INTO tags VALUES (1,{written_as},1,NULL);")
    assert typed(file) == ([(1, held, 1)], [])


def test_version_comments_in_columns_rows_and_lists_of_names(tmp_path):
    file = written(
        tmp_path,
        "CREATE TABLE tags (id int, /*!50705 place point NOT NULL,*/ value varchar(9)"
        " /*!80023 INVISIBLE */, ref_id int);\n"
        "INSERT INTO tags (id, /*!50705 place,*/ value, ref_id) VALUES\n"
        "(1,/*!50705 0x0000000001010000003E0A325D63345CC0761FDB8D99D94840,*/'car',1),\n"
        "/*!50705 (2,0x00,'tree',1),*/(3,/*!50705 0x00,*/'car',2)/*!50705 ,(4,0x00,'sea',3) */;\n",
    )
    assert typed(file) == (FOUR, [])


# --- lines of other programs

LINES = [
    "mysqldump: Couldn't execute 'SHOW FIELDS FROM `v_old`': View references invalid (1356)",
    "mysqldump: [Warning] Using a password on the command line interface can be insecure.",
    "mariadb-dump: Error: 'Access denied; it's closed' when trying to dump tablespaces",
    "Warning: A partial dump from a server that has GTIDs is 'odd",
    "Enter password: ",
    "[Warning] it's (not) safe; to do so",
    " 1.21MiB 0:00:01 [1.20MiB/s] [=====>          ] 34%",
    "** (mydumper:12): WARNING **: can't",
    "bash: warning: setlocale: LC_ALL: cannot change locale",
]


@pytest.mark.parametrize("line", LINES)
def test_lines_of_other_programs_between_statements(line, tmp_path):
    statements = [f"INSERT INTO `tags` VALUES ({i},'{v}',{r},NULL);" for i, v, r in FOUR]
    for at in range(5):
        lines = [*statements[:at], line, *statements[at:]]
        file = written(tmp_path, HEAD + "\n".join(lines) + "\n")
        rows, told = typed(file)
        assert rows == FOUR
        assert len(told) == 1 and f"line {15 + at} is" in told[0] and line.strip()[:9] in told[0]
    file = written(tmp_path, line + "\n" + HEAD + "\n".join(statements))
    assert typed(file)[0] == FOUR


@pytest.mark.parametrize("block", [50, 2 << 20])
@pytest.mark.parametrize("line", LINES[:4])
def test_lines_of_dump_programs_within_statements(line, block, tmp_path, monkeypatch):
    monkeypatch.setattr("movie_tagger.tags.sql.stream.BLOCK", block)
    text = (
        HEAD
        + "INSERT INTO tags VALUES\n"
        + ",\n".join(f"({i},'{v}',{r},NULL)" for i, v, r in FOUR)
        + ";\n"
    )
    lines = text.splitlines(keepends=True)
    for at in range(len(lines)):
        file = written(tmp_path, "".join([*lines[:at], line + "\n", *lines[at:]]))
        rows, told = typed(file)
        assert rows == FOUR and len(told) == 1 and f"line {at + 1} is" in told[0]


@pytest.mark.parametrize(
    "broken, sentence",
    [
        (
            "(1,'car',1,NULL),mysqldump: Couldn't go on\n(2,'it''s',1,NULL);",
            "begins with .mysqldump",
        ),
        ("(1,'car',mysqldump: Couldn't\n1,NULL),(2,'it''s',1,NULL);", "cannot read the value"),
        ("(1,'car',1,NULL) (2,'tree',1,NULL);", "where a comma or a semicolon belongs"),
        ("(1,'car',1,NULL)\nINSERT INTO tags VALUES (2,'tree',1,NULL);", "where a comma or"),
        ("(1,'car',1\n(2,'tree',1,NULL),(3,'car',2,NULL);", "cannot read the value"),
        ("(1,,1,NULL);", "cannot read the value ''"),
        ("(1,'car',1,NULL),;", "which is no row"),
        (
            "(1,'car',1,NULL);\nmysqldump: xINSERT INTO tags VALUES (2,'a',1,NULL);",
            "no word of SQL",
        ),
        ("(1,'car',1,NULL);xINSERT INTO tags VALUES (2,'a',1,NULL);", "begins with no word of SQL"),
        ("(1,'a',1,NULL);SET @a='it's';\nINSERT INTO tags VALUES (2,'b',1,NULL);", "has no end"),
        ("(1,'a',1,NULL);DELIMITER ;;\nINSERT INTO tags VALUES (2,'b',1,NULL);;", "DELIMITER of"),
    ],
)
def test_what_would_swallow_rows_is_refused(broken, sentence, tmp_path):
    file = written(tmp_path, f"{HEAD}INSERT INTO tags VALUES {broken}\n-- the end\n")
    with pytest.raises(MovieTaggerError, match=sentence):
        read_dump(file)


def test_words_of_a_dump_program_within_a_line_are_told(tmp_path):
    rows = "(1,'car',1,NULL),(2,'trmysqldump: Got error: 1044\nee',1,NULL),(3,'car',2,NULL);"
    found, [told] = typed(written(tmp_path, f"{HEAD}INSERT INTO tags VALUES {rows}"))
    assert len(found) == 3 and "line 15: 'mysqldump: Got error' stands in the middle" in told


@pytest.mark.parametrize("block", [7, 50, 2 << 20])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("line", [LINES[1], LINES[4], "mysqldump: Couldn't execute 'x': (1)"])
def test_lines_like_a_programs_within_a_value_are_text(line, newline, block, tmp_path, monkeypatch):
    monkeypatch.setattr("movie_tagger.tags.sql.stream.BLOCK", block)
    quoted = line.replace("'", "''")
    text = f"{HEAD}INSERT INTO tags VALUES\n{line}\n(1,'a\n{quoted}\nb',1,NULL),(2,'c',1,NULL);\n"
    rows, told = typed(written(tmp_path, text.replace("\n", newline)))
    assert rows == [(1, f"a\n{line}\nb".replace("\n", newline), 1), (2, "c", 1)]
    assert sum("line 16 is" in note and "skipped" in note for note in told) == 1


@pytest.mark.parametrize("block", [50, 2 << 20])
@pytest.mark.parametrize("line", ["mysqldump: Couldn't execute 'x'", "pg_dump: error: 'x','y'"])
def test_a_value_that_a_programs_line_broke_is_refused(line, block, tmp_path, monkeypatch):
    monkeypatch.setattr("movie_tagger.tags.sql.stream.BLOCK", block)
    for end in ("", "INSERT INTO tags VALUES (3,'it''s',1,NULL);\n"):
        rows = f"(1,'car',1,NULL),(2,'a\n{line}\nb',1,NULL);\n{end}"
        with pytest.raises(MovieTaggerError, match=r"line 15, row 2 .*another program.*2>&1"):
            read_dump(written(tmp_path, f"{HEAD}INSERT INTO tags VALUES {rows}"))


def test_lines_of_programs_in_tables_that_nobody_asked_for(tmp_path):
    line = "mysqldump: Couldn't execute 'SHOW FIELDS FROM `v`': x (1356)"
    text = f"INSERT INTO `shots` VALUES (4,'d.jpg',8),\n{line}\n(5,'e.jpg',8);"
    rows = "INSERT INTO tags VALUES (1,'car',1,NULL);"
    file = written(tmp_path, f"{HEAD}{text}{rows}{text}\n{rows}\n")
    with pytest.warns(UserWarning, match="2 lines of .* are no SQL and skipped: line 16 is"):
        assert len(read_dump(file, ["tags"])["tags"]) == 2


def test_comments_between_the_words_of_create_or_replace(tmp_path):
    odd = TAGS.replace("CREATE TABLE", "CREATE /* ; */ OR # it's\n REPLACE -- x\n TABLE")
    file = written(tmp_path, f"{HEAD}{odd}INSERT INTO tags (id, value) VALUES (1,'car');")
    assert typed(file, ["id", "value"]) == ([(1, "car")], [])


def test_bytes_for_letters_are_in_no_known_character_set(tmp_path):
    rows = "INSERT INTO tags VALUES (1,0xD0BD,1,NULL);"
    assert typed(written(tmp_path, HEAD + rows)) == ([(1, "н", 1)], [])
    with pytest.raises(MovieTaggerError, match="column value: the character set of 0xd0bd"):
        read_dump(written(tmp_path, f"{HEAD}SET NAMES koi8r;{rows}"))


def test_a_column_called_period(tmp_path):
    odd = TAGS.replace("`value`", "period")
    file = written(tmp_path, f"{odd}INSERT INTO tags (id, period) VALUES (1,'car');")
    assert typed(file, ["id", "period"]) == ([(1, "car")], [])


@pytest.mark.parametrize("row", ["(1,NULL--  \n,2,NULL)", "( 1,NULL -- x\n,2,NULL )"])
def test_a_comment_directly_behind_a_value(row, tmp_path):
    file = written(tmp_path, f"{HEAD}INSERT INTO tags VALUES {row};")
    assert typed(file) == ([(1, None, 2)], [])


def test_a_rollback_is_refused_where_it_takes_rows_back(tmp_path):
    rows = "INSERT INTO tags VALUES (1,'car',1,NULL);\n"
    file = written(tmp_path, f"{HEAD}{rows}ROLLBACK;\n")
    assert typed(file) == ([(1, "car", 1)], [])
    with pytest.raises(MovieTaggerError, match="line 17, changes table .* with ROLLBACK"):
        read_dump(written(tmp_path, f"{HEAD}BEGIN;\n{rows}ROLLBACK;\n"))


# --- other databases

POSTGRES = r"""--
-- PostgreSQL database dump
--
\restrict abc
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
CREATE FUNCTION public.f() RETURNS integer
    LANGUAGE plpgsql
    AS $$
BEGIN
  INSERT INTO public.tags VALUES (9, 'it''s no row', 1);
END;
$$;
CREATE TABLE public.tags (
    id integer NOT NULL,
    value character varying(255) DEFAULT 'a'::character varying,
    ref_id bigint,
    created_at timestamp with time zone,
    seen boolean,
    raw bytea
);
ALTER TABLE public.tags OWNER TO site;
"""
HELD = [
    (1, "c:\\pics\\", 1, pd.Timestamp("2020-01-01 10:00:00"), 1, b"\x01\xff"),
    (2, "it's\ta\nline", 2, None, 0, None),
]


def test_postgresql_with_inserts(tmp_path):
    file = written(
        tmp_path,
        POSTGRES
        + r"""INSERT INTO public.tags
VALUES (1, 'c:\pics\', 1, '2020-01-01 12:00:00+02', true, '\x01ff');
INSERT INTO public.tags OVERRIDING SYSTEM VALUE VALUES (2, E'it\'s\ta\nline'::text, 2, NULL, false,
    NULL::bytea);
""",
    )
    assert typed(file, ["id", "value", "ref_id", "created_at", "seen", "raw"]) == (HELD, [])


@pytest.mark.parametrize("block", [40, 2 << 20])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_postgresql_with_copy(newline, block, tmp_path, monkeypatch):
    monkeypatch.setattr("movie_tagger.tags.sql.dialects.BLOCK", block)
    monkeypatch.setattr("movie_tagger.tags.sql.stream.BLOCK", block)
    text = POSTGRES + (
        "COPY public.tags (id, value, ref_id, created_at, seen, raw) FROM stdin;\n"
        "1\tc:\\\\pics\\\\\t1\t2020-01-01 12:00:00+02\tt\t\\\\x01ff\n"
        "2\tit's\\ta\\nline\t2\t\\N\tf\t\\N\n\\.\n\n"
        "COPY public.empty (id) FROM stdin;\n\\.\n\n"
        "ALTER TABLE ONLY public.tags ADD CONSTRAINT k PRIMARY KEY (id);\n"
    )
    file = written(tmp_path, text.replace("\n", newline))
    assert typed(file, ["id", "value", "ref_id", "created_at", "seen", "raw"]) == (HELD, [])
    file = written(tmp_path, text[: text.index("\\.\n")])
    with pytest.raises(MovieTaggerError, match="ends after row 2 of table tags"):
        read_dump(file)


def test_postgresql_whose_backslashes_count(tmp_path):
    text = POSTGRES.replace("strings = on", "strings = off")
    file = written(tmp_path, text + r"INSERT INTO public.tags (id, value) VALUES (1, 'it\'s\\');")
    assert typed(file, ["id", "value"])[0] == [(1, "it's\\")]


def test_sqlite(tmp_path):
    file = written(
        tmp_path,
        r"""PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE IF NOT EXISTS "tags" (id INTEGER PRIMARY KEY AUTOINCREMENT, value TEXT,
  ref_id INTEGER);
INSERT INTO tags VALUES(1,'c:\pics\',1);
INSERT INTO tags VALUES(2,replace(replace('it''s\r\na line','\r',char(13)),'\n',char(10)),2);
INSERT INTO tags VALUES(3,unistr('a\u000ab\\'),3);
CREATE TRIGGER t AFTER INSERT ON tags BEGIN SELECT CASE WHEN 1 THEN 2 END;
INSERT INTO tags VALUES(9,'no',1); END;
DELETE FROM sqlite_sequence;
INSERT INTO sqlite_sequence VALUES('tags',3);
COMMIT;
""",
    )
    held = [(1, "c:\\pics\\", 1), (2, "it's\r\na line", 2), (3, "a\nb\\", 3)]
    assert typed(file) == (held, [])
    written(tmp_path, file.read_text().replace("COMMIT;\n", ""))
    assert "begins in line 2 is not committed" in typed(file)[1][0]


@pytest.mark.parametrize(
    "text, name",
    [
        (
            "SET IDENTITY_INSERT [dbo].[tags] ON\nGO\nINSERT [dbo].[tags] VALUES (1, N'a')",
            "SQL Server",
        ),
        ("REM INSERTING into TAGS\nSET DEFINE OFF;\nInsert into TAGS (ID) values (1);", "Oracle"),
    ],
)
def test_other_dialects_are_refused_by_name(text, name, tmp_path):
    with pytest.raises(MovieTaggerError, match=f"is a script of {name}"):
        read_dump(written(tmp_path, text))


# --- dates, ids, character sets


@pytest.mark.parametrize(
    "text, day",
    [
        ("1962/2/18", "1962-02-18"),
        ("1962-02-18", "1962-02-18"),
        ("1962.2.18 1:2:3", "1962-02-18 01:02:03"),
        ("1962-02-18T01:02", "1962-02-18 01:02:00"),
        ("19620218", "1962-02-18"),
        ("620218", "2062-02-18"),
        ("99-2-18", "1999-02-18"),
        ("19620218010203", "1962-02-18 01:02:03"),
        ("2024-02-29 00:00:00.25", "2024-02-29 00:00:00.25"),
        ("2020-01-01 02:00:00+02:00", "2020-01-01"),
    ],
)
def test_dates_as_mysql_takes_them(text, day, tmp_path):
    file = written(tmp_path, f"{HEAD}INSERT INTO tags VALUES (1,'car',1,'{text}');")
    assert typed(file, ["created_at"]) == ([(pd.Timestamp(day),)], [])


@pytest.mark.parametrize(
    "text", ["0000-00-00 00:00:00", "2024-02-31", "2023-02-29", "2020-00-10", "2020/13/01", "0"]
)
def test_days_of_no_calendar_are_missing_and_counted(text, tmp_path):
    rows = ",".join(f"({i},'car',1,'{text}')" for i in range(3))
    file = written(tmp_path, f"{HEAD}INSERT INTO tags VALUES {rows},(4,'car',1,'2020-01-01');")
    found, [told] = typed(file, ["created_at"])
    assert found == [(None,)] * 3 + [(pd.Timestamp("2020-01-01"),)]
    assert told.startswith("3 dates of table tags") and "column created_at" in told


def test_ids_of_bytes_are_the_same_on_both_sides(tmp_path):
    text = (SHOTS.split("INSERT")[0] + TAGS).replace(
        "`id` int NOT NULL", "`id` binary(16) NOT NULL"
    )
    text = text.replace("`ref_id` int", "`ref_id` binary(16)")
    one, two = "5B0E3D3C9B1F4E0C8F6E0123456789AB", "41424344454647484142434445464748"
    file = written(
        tmp_path,
        f"{text}INSERT INTO shots VALUES (0x{one},'a.jpg',7),"
        "(_binary 'ABCDEFGHABCDEFGH','b.jpg',7);"
        f"INSERT INTO tags VALUES (0x{one},'car',0x{one},NULL),(0x{one},'car',x'{two}',NULL);",
    )
    tables = read_site(file)
    assert tables["shots"]["id"].tolist() == [one.lower(), two]
    assert tables["tags"]["ref_id"].tolist() == [one.lower(), two]


def test_a_character_set_holds_from_there_on(tmp_path):
    def row(i, text, codec):
        return f"INSERT INTO tags VALUES ({i},'{text}',1,NULL);\n".encode(codec)

    text = (
        b"SET NAMES gbk;\n"
        + TAGS.encode()
        + row(1, "誠", "gbk")
        + b"/*!40101 SET @saved_cs_client = @@character_set_client */;\n"
        + b"/*!50503 SET character_set_client = utf8mb4 */;\n"
        + row(2, "誠 é", "utf-8")
        + b"SET character_set_client = @saved_cs_client;\n"
        + row(3, "表", "gbk")
        + b"SET NAMES latin1;\n"
        + row(4, "café", "latin-1")
        + b"SET NAMES 'utf8mb4';\n"
        + row(5, "été", "utf-8")
    )
    found, told = typed(written(tmp_path, text), ["value"])
    assert ([value for (value,) in found], told) == (["誠", "誠 é", "表", "café", "été"], [])


# --- what it is packed in, and what it is not


def zipped(**members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "."), content)
    return file.getvalue()


WHOLE = (HEAD + "INSERT INTO tags VALUES (1,'car',1,NULL);\n").encode()


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zipped])
def test_packed_dumps_are_known_by_what_is_in_them(pack, tmp_path):
    packed = zipped(site__sql=WHOLE) if pack is zipped else pack(WHOLE)
    assert typed(written(tmp_path, packed))[0] == [(1, "car", 1)]
    large = WHOLE + b"-- " + bytes(range(32, 127)) * 20_000
    packed = zipped(site__sql=large) if pack is zipped else pack(large)
    with pytest.raises(MovieTaggerError, match="cut off|cannot be read"):
        read_dump(written(tmp_path, packed[: len(packed) // 2]))


def test_a_zip_archive_holds_one_dump(tmp_path):
    with pytest.raises(MovieTaggerError, match=r"archive of 2 files \('a.sql', 'b.sql'\)"):
        read_dump(written(tmp_path, zipped(a__sql=WHOLE, b__sql=WHOLE)))
    twice = zipped(site__sql=gzip.compress(WHOLE))
    assert typed(written(tmp_path, twice))[0] == [(1, "car", 1)]
    with pytest.raises(MovieTaggerError, match="archive of 0 files"):
        read_dump(written(tmp_path, zipped()))


@pytest.mark.parametrize(
    "content, sentence",
    [
        (b"", "is empty"),
        (b"\xff\xd8\xff\xe0" + b"JFIF" * 9, "is a picture, .* `movie-tagger tag MODEL"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "is a picture"),
        (b"SQLite format 3\0" + bytes(99), "sqlite3 FILE .dump"),
        (b"PGDMP\1\2", "pg_restore"),
        (b"\x7fELF\0\0", "is a binary file"),
        (b"%PDF-1.7", "is a PDF"),
        (b"id,value,ref_id\n1,car,1\n", "has no tables"),
    ],
)
def test_what_is_no_dump_is_said_in_one_sentence(content, sentence, tmp_path):
    with pytest.raises(MovieTaggerError, match=sentence) as e:
        read_site(written(tmp_path, content))
    assert "\n" not in str(e.value)


def test_a_dump_with_another_ending_and_a_folder_of_pictures(tmp_path):
    (tmp_path / "site.csv").write_bytes(WHOLE)
    assert len(read_dump(tmp_path / "site.csv")["shots"]) == 3
    (tmp_path / "pictures" / "car").mkdir(parents=True)
    (tmp_path / "pictures" / "car" / "1.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(MovieTaggerError, match="is a folder of pictures: .*movie-tagger t"):
        read_site(tmp_path / "pictures")


# --- what is no plain INSERT of plain values


def told_and_frames(file, tables=None):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        frames = read_dump(file, tables)
    return [str(note.message) for note in told], frames


@pytest.mark.parametrize(
    "row, sentence",
    [
        ("(1,'car',x'31',NULL)", "column ref_id: x'31' is another number to MySQL than to MariaDB"),
        ("(1,1e2,1,NULL)", "column value: the text that the number 1e2 becomes is not known"),
    ],
)
def test_values_that_servers_read_otherwise_are_refused(row, sentence, tmp_path):
    rows = f"INSERT INTO tags VALUES (7,'tree',1,NULL),{row};\n"
    with pytest.raises(MovieTaggerError, match="line 15, row 2 of table tags, " + sentence):
        typed(written(tmp_path, HEAD + rows))


@pytest.mark.parametrize(
    "number, text", [("7", "7"), ("+5", "5"), ("-1.50", "-1.50"), ("+007.5", "7.5"), ("-0", "0")]
)
def test_numbers_in_a_column_of_texts(number, text, tmp_path):
    rows = f"INSERT INTO tags VALUES (7,'tree',1,NULL),(1, {number},+1,NULL);\n"
    assert typed(written(tmp_path, HEAD + rows))[0] == [(7, "tree", 1), (1, text, 1)]


@pytest.mark.parametrize("nothing", [" NULL", "NULL ", "\tNULL", "\n  NULL\n"])
def test_blanks_around_nothing_are_no_text(nothing, tmp_path):
    rows = f"INSERT INTO tags VALUES (1,'car',1,NULL),(2,{nothing},2,{nothing});\n"
    assert typed(written(tmp_path, HEAD + rows))[0] == [(1, "car", 1), (2, None, 2)]


def test_more_bytes_than_a_column_holds_are_refused(tmp_path):
    text = "CREATE TABLE tags (id binary(2), value text, ref_id int);\nINSERT INTO tags VALUES "
    assert typed(written(tmp_path, text + "(0x41,'car',1);"))[0] == [(b"A\0", "car", 1)]
    with pytest.raises(MovieTaggerError, match="row 1 of table tags, column id: what 'ABC' means"):
        typed(written(tmp_path, text + "('ABC','car',1);"))


def test_sqlite_fills_nothing_up(tmp_path):
    text = """PRAGMA foreign_keys=OFF;
CREATE TABLE tags (id BINARY(2), value CHAR(9), ref_id INTEGER);
INSERT INTO tags VALUES(X'41','car  ',1);
"""
    assert typed(written(tmp_path, text))[0] == [(b"A", "car  ", 1)]


def test_names_and_defaults_in_the_character_set_of_their_create(tmp_path):
    text = (
        "SET NAMES latin1;\nCREATE TABLE tags (id int, value varchar(9) DEFAULT 'été', "
        "ref_id int, `Höhe` int);\nINSERT INTO tags (id,`Höhe`) VALUES (1,2);\n"
    ).encode("latin-1")
    more = b"SET NAMES utf8mb4;\nINSERT INTO tags VALUES (2,DEFAULT,1,3),(3,'\xc3\xa9',1,4);\n"
    columns = ("id", "value", "Höhe")
    held = [(1, "été", 2), (2, "été", 3), (3, "é", 4)]
    assert typed(written(tmp_path, text + more), columns)[0] == held
    other = b"SET NAMES cp1251;\nINSERT INTO tags VALUES (2,DEFAULT,1,3);\n"
    with pytest.raises(MovieTaggerError, match="column value: its default is no cp1251 text"):
        typed(written(tmp_path, text + other))


STAMPED = "CREATE TABLE tags (id int, value text, ref_id int, at timestamp NULL);\n"
ROW = "INSERT INTO tags VALUES (1,'car',1,'2020-01-01 00:00:00');\n"


def test_the_time_zone_of_timestamps_is_told(tmp_path):
    utc = "/*!40103 SET TIME_ZONE='+00:00' */;\n"
    back = "/*!40103 SET TIME_ZONE=@OLD_TIME_ZONE */;\n"
    assert typed(written(tmp_path, STAMPED + utc + ROW + ROW + back))[1] == []
    [note] = typed(written(tmp_path, STAMPED + "SET time_zone = '+02:00';\n" + ROW))[1]
    assert "line 3: the times of table tags, column at, are in the time zone +02:00" in note
    with pytest.raises(MovieTaggerError, match="line 4: from here on the times of table tags"):
        typed(written(tmp_path, STAMPED + ROW + "SET time_zone = '+02:00';\n" + ROW))
    plain = STAMPED.replace("timestamp", "datetime")
    text = plain + ROW + "SET time_zone = '+02:00';\n" + ROW
    assert typed(written(tmp_path, text))[1] == []


def test_rows_that_go_through_a_view_are_refused(tmp_path):
    view = "CREATE ALGORITHM=MERGE VIEW `v` AS select * from `tags`;\n"
    rows = "INSERT INTO tags VALUES (1,'car',1,NULL);\nINSERT INTO v VALUES (2,'car',1,NULL);\n"
    file = written(tmp_path, HEAD + view + rows)
    for tables in (None, ["tags"]):
        with pytest.raises(MovieTaggerError, match="line 17: v is a view, and rows"):
            read_dump(file, tables)
    assert len(read_dump(file, ["shots"])["shots"]) == 3
    untouched = written(tmp_path, HEAD + view + rows.splitlines()[0])
    assert typed(untouched)[0] == [(1, "car", 1)]


@pytest.mark.parametrize("how", ["{} END;", "DELIMITER ;;\n{} END;;\nDELIMITER ;"])
def test_a_trigger_of_another_table_is_told(how, tmp_path):
    said = "CREATE TRIGGER t AFTER INSERT ON users FOR EACH ROW BEGIN INSERT INTO {} VALUES (1);"
    text = HEAD + "CREATE TABLE users (id int);\n" + how.format(said) + "\n"
    text += "INSERT INTO users VALUES (1);\nINSERT INTO tags VALUES (1,'car',1,NULL);\n"
    [note] = told_and_frames(written(tmp_path, text.format("tags")), ["tags"])[0]
    assert "changes table users with a trigger, which is not applied" in note
    assert told_and_frames(written(tmp_path, text.format("log")), ["tags"])[0] == []


PARTS = {
    "attached": "CREATE TABLE public.tags_1 (ref_id integer, value text, id integer);\n"
    "ALTER TABLE ONLY public.tags ATTACH PARTITION public.tags_1 FOR VALUES FROM (1) TO (2);\n",
    "part of": "CREATE TABLE public.tags_1 PARTITION OF public.tags FOR VALUES IN (1);\n",
    "inherits": "CREATE TABLE public.tags_1 (more text) INHERITS (public.tags);\n",
}


@pytest.mark.parametrize("how", PARTS)
def test_the_rows_of_a_part_are_those_of_the_table(how, tmp_path):
    text = (
        "-- PostgreSQL database dump\nCREATE TABLE public.tags (id integer, value text, "
        "ref_id integer) PARTITION BY RANGE (id);\n" + PARTS[how]
    )
    copied = "COPY public.tags_1 (ref_id, value, id) FROM stdin;\n5\tcar\t1\n6\tsea\t2\n\\.\n"
    file = written(tmp_path, text + copied)
    assert typed(file)[0] == [(1, "car", 5), (2, "sea", 6)]
    assert list(read_dump(file)) == ["tags"]
    if how == "attached":
        file = written(tmp_path, text + "INSERT INTO public.tags_1 VALUES (5,'car',1);\n")
        assert typed(file)[0] == [(1, "car", 5)]
        late = "".join(text.splitlines(keepends=True)[:3]) + copied + text.splitlines()[3]
        with pytest.raises(MovieTaggerError, match="changes table tags with ATTACH PARTITION"):
            typed(written(tmp_path, late))
    assert len(read_dump(written(tmp_path, text + copied), ["tags_1"])["tags_1"]) == 2


@pytest.mark.parametrize("order", [1, -1])
def test_the_rows_of_parts_of_parts(order, tmp_path):
    create = "CREATE TABLE public.{} (id integer, value text, ref_id integer);\n"
    attach = "ALTER TABLE ONLY public.{} ATTACH PARTITION public.{} DEFAULT;\n"
    text = "-- PostgreSQL database dump\n" + "".join(
        [create.format(name) for name in ("tags", "tags_1", "tags_1_a")]
        + [attach.format(*pair) for pair in (("tags", "tags_1"), ("tags_1", "tags_1_a"))][::order]
    )
    rows = "COPY public.tags_1_a (id, value, ref_id) FROM stdin;\n1\tcar\t5\n\\.\n"
    assert typed(written(tmp_path, text + rows))[0] == [(1, "car", 5)]


def test_a_create_table_that_is_not_understood(tmp_path):
    odd = "CREATE FOREIGN TABLE tags SERVER s;\n"
    rows = "INSERT INTO tags (id, value, ref_id) VALUES (1,'car',1);\n"
    assert typed(written(tmp_path, odd + rows))[0] == [(1, "car", 1)]
    without = written(tmp_path, odd + "INSERT INTO tags VALUES (1,'car',1);\n")
    with pytest.raises(MovieTaggerError, match="line 1: this form of CREATE TABLE is not"):
        read_dump(without, columns={"tags": ["id", "value", "ref_id"]})


def test_a_database_is_not_known_by_what_stands_in_texts(tmp_path):
    create = "CREATE TABLE tags (id int, value text DEFAULT '\nCOPY tags (id) FROM stdin;\n');\n"
    rows = r"INSERT INTO tags VALUES (1,'a\nb');"
    assert typed(written(tmp_path, create + rows), ("id", "value"))[0] == [(1, "a\nb")]


def test_a_row_as_long_as_many_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("movie_tagger.tags.sql.stream.BLOCK", 500)
    row = f"INSERT INTO tags VALUES (1,'{'a;),( ' * 100_000}',1,NULL);\n"
    assert len(typed(written(tmp_path, HEAD + row))[0][0][1]) == 600_000
