"Dumps as other programs write them, read by us and loaded into a real server: the same tables."

import os
import re
import subprocess
import warnings
from types import SimpleNamespace

import pandas as pd
import pyarrow as pa
import pytest
from conftest import need_database

from movie_tagger.core import MovieTaggerError
from movie_tagger.sample import site
from movie_tagger.tags.sql.database import read_database
from movie_tagger.tags.sql.dump import read_dump

SHOTS = (
    "CREATE TABLE `shots` (\n  `id` int(11) NOT NULL,\n  `name` varchar(255) DEFAULT NULL,\n"
    "  `at` datetime DEFAULT NULL\n) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;\n"
)
DEFAULTS = SHOTS.replace(
    "`name` varchar(255) DEFAULT NULL",
    "`name` varchar(255) NOT NULL DEFAULT 'it''s none', `n` tinyint DEFAULT -1",
)
PROCEDURE = (
    "CREATE PROCEDURE p()\nBEGIN\n  INSERT INTO shots VALUES (9,'no',NULL);\n"
    "  INSERT INTO shots VALUES (8,'it''s',NULL);\nEND"
)
TRIGGER = (
    "CREATE TRIGGER tr BEFORE INSERT ON shots FOR EACH ROW BEGIN SET NEW.name = 'x';\n"
    "INSERT INTO logs VALUES (7,'no',NULL); END"
)
NAVICAT = (
    "/*\n Navicat Premium Data Transfer\n\n Source Server         : it's\n*/\n\n"
    "SET NAMES utf8mb4;\n"
    "SET FOREIGN_KEY_CHECKS = 0;\n\n-- ----------------------------\n"
    "-- Table structure for shots\n-- ----------------------------\nDROP TABLE IF EXISTS `shots`;\n"
    "CREATE TABLE `shots`  (\n  `id` int(11) NOT NULL AUTO_INCREMENT,\n"
    "  `name` varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci NULL DEFAULT NULL,\n"
    "  `at` datetime(0) NULL DEFAULT NULL,\n  `b` bit(1) NULL,\n"
    "  PRIMARY KEY (`id`) USING BTREE\n"
    ") ENGINE = InnoDB AUTO_INCREMENT = 3 CHARACTER SET = utf8mb4 COLLATE = "
    "utf8mb4_general_ci ROW_FORMAT = Dynamic;\n\n"
    "-- ----------------------------\n-- Records of shots\n-- ----------------------------\n"
    "BEGIN;\n"
    "INSERT INTO `shots` VALUES (1, 'it\\'s', '2020-01-01 00:00:00', b'1');\n"
    f"INSERT INTO `shots` VALUES (2, NULL, NULL, b'0');\nCOMMIT;\ndelimiter ;;\n{PROCEDURE}\n;;\n"
    f"delimiter ;\n"
    "\nSET FOREIGN_KEY_CHECKS = 1;\n"
)
LETTERS = {
    "cp1251": "ночь",
    "koi8r": "ночь",
    "sjis": "表ソ能",
    "cp932": "表ソ能①",
    "gbk": "誠夜乗",
    "big5": "許功蓋",
    "latin1": "café€",
    "ujis": "表ソ",
    "euckr": "한국",
    "utf8mb3": "é",
}
CODECS = {
    "koi8r": "koi8-r",
    "sjis": "shift_jis",
    "latin1": "cp1252",
    "ujis": "euc_jp",
    "euckr": "euc_kr",
    "utf8mb3": "utf-8",
}

WRITERS = {
    "HeidiSQL": "/*!40101 SET NAMES utf8 */;\n/*!50503 SET NAMES utf8mb4 */;\n"
    "/*!40103 SET TIME_ZONE='+00:00' */;\n"
    "-- Dumping structure for table site.shots\n"
    + SHOTS.replace("TABLE", "TABLE IF NOT EXISTS")
    + "-- Dumping data for table site.shots: "
    "~2 rows (approximately)\nDELETE FROM `shots`;\n"
    "/*!40000 ALTER TABLE `shots` DISABLE KEYS */;\n"
    "INSERT INTO `shots` (`id`, `name`, `at`) VALUES\n"
    "\t(1, 'it\\'s; (a)', '2008-06-01 12:00:00'),\n\t(2, NULL, NULL);\n"
    f"/*!40000 ALTER TABLE `shots` ENABLE KEYS */;\n\nDELIMITER //\n{TRIGGER}//\nDELIMITER ;\n"
    f"DELIMITER //\n{PROCEDURE}//\nDELIMITER ;\n",
    "Navicat": NAVICAT,
    "Navicat, of old": f"DROP TABLE IF EXISTS `shots`;\n{SHOTS}BEGIN;\n"
    "INSERT INTO `shots` VALUES ('1', 'a', null), ('2', 'b', '0000-00-00 00:00:00');\nCOMMIT;\n",
    "one dump behind the other": NAVICAT
    + NAVICAT.replace("PROCEDURE p", "PROCEDURE q").replace("(1, 'it\\'s'", "(1, 'new'"),
    "Sequel Ace": "# ************************************************************\n"
    "# Sequel Ace SQL dump\n#\n"
    "# Database: it's\n\n\nSET NAMES utf8mb4;\n\n# Dump of table shots\n"
    f"# ------------------------------------------------------------\n\n{SHOTS}\n"
    "LOCK TABLES `shots` WRITE;\n/*!40000 ALTER TABLE `shots` DISABLE KEYS */;\n\n"
    "INSERT INTO `shots` (`id`, `name`, `at`)\nVALUES\n\t(1,'it\\'s',NULL),\n"
    "\t(2,NULL,'2020-01-01 00:00:00');\n\n/*!40000 ALTER TABLE `shots` ENABLE KEYS */;\n"
    "UNLOCK TABLES;\n",
    "Adminer": "-- Adminer 5.0.0 MariaDB 10.11 dump\n\nSET NAMES utf8;\n"
    "SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO';\n\n"
    "DROP TABLE IF EXISTS `shots`;\n"
    "CREATE TABLE `shots` (`id` int NOT NULL, `name` varchar(9), `b` bit(3), `raw` varbinary(9));\n"
    "\n"
    "TRUNCATE `shots`;\nINSERT INTO `shots` (`id`, `name`, `b`, `raw`) VALUES\n"
    "(1,\t'it\\'s',\tb'101',\tx'4142'),\n(2,\tNULL,\tNULL,\tNULL)\n"
    "ON DUPLICATE KEY UPDATE `id` = VALUES(`id`);\n",
    "DataGrip": "create table shots\n(\n    id   int auto_increment\n        primary key,\n"
    "    name varchar(255) null,\n    at   datetime     null,\n    constraint u\n"
    "        unique (name)\n);\n\n"
    "create index i on shots (at);\n\ninsert into shots (id, name, at) values (1, 'it''s', "
    "'2020-01-01 00:00:00'), (2, null, null);\n"
    "insert into other.shots (id, name, at)\nvalues  (3, 'a\\\\b', '2020-01-01 00:00:00'),\n"
    "        (4, null, null);\n",
    "MySQL Workbench": "CREATE SCHEMA IF NOT EXISTS `other` DEFAULT CHARACTER SET utf8 ;\n"
    "USE `other` ;\n"
    "CREATE TABLE IF NOT EXISTS `other`.`shots` (\n  `id` INT NOT NULL,\n"
    "  `name` VARCHAR(45) NULL DEFAULT 'a',\n  PRIMARY KEY (`id`))\nENGINE = InnoDB;\n\n"
    "START TRANSACTION;\nUSE `other`;\n"
    "INSERT INTO `other`.`shots` (`id`, `name`) VALUES (1, DEFAULT);\n"
    "INSERT INTO `other`.`shots` (`id`, `name`) VALUES (2, 'b');\n\nCOMMIT;\n",
    "phpMyAdmin, a view": SHOTS
    + "INSERT INTO shots VALUES (1,'a',NULL);\n-- Stand-in structure for view `v`\n"
    "CREATE TABLE `v` (\n`id` int(11)\n,`name` varchar(255)\n);\n"
    "DROP TABLE IF EXISTS `v`;\n\nCREATE ALGORITHM=UNDEFINED SQL SECURITY DEFINER VIEW `v` AS "
    "SELECT `shots`.`id` AS `id` FROM `shots` ;\n"
    "DELIMITER $$\nCREATE EVENT `e` ON SCHEDULE EVERY 1 DAY DO BEGIN INSERT INTO shots VALUES "
    "(9,'x',NULL); END$$\n\nDELIMITER ;\n"
    "ALTER TABLE `shots`\n  ADD PRIMARY KEY (`id`);\nINSERT INTO shots VALUES (2,'b',NULL);\n",
    "every kind of value": "CREATE TABLE shots (id int, name varchar(50), f double, raw "
    "varbinary(20), t time, "
    "y year, e enum('a','b'), s set('x','y'), u bigint unsigned, d date, j json,\n"
    "z int(5) unsigned zerofill, n int);\nINSERT INTO shots VALUES "
    "(+1,_utf8mb4'a',-1.5e3,0x4142,'-838:59:59',2020,'b','x,y',18446744073709551615,'0000-00-00',\n"
    "'{\"a\": 1}',00042,TRUE),"
    "(2,N'é',.5,x'4142','30:00:00',1901,'a','',0,'2008-00-00','[]','00007',false),\n"
    "(-3,'a' 'b',1.,_binary'\\0\\Z','00:00:00',0,NULL,NULL,NULL,NULL,NULL,NULL,0x10),(4,'a'\n"
    "'b' /* and */ 'c''d',1,b'101000001',NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,b'11');",
    "words without quotes": "CREATE TABLE shots (id int, name varchar(50));INSERT INTO shots "
    "VALUES "
    "(1,TRUE),(2,false),(3,'TRUE'),(4,'DEFAULT'),(5,NULL),(6,NuLL),(7,'null'),(8,'a,true,b');",
    "defaults": DEFAULTS
    + "INSERT INTO shots VALUES (1,DEFAULT,2,NULL),(2,'DEFAULT',default,NULL);INSERT INTO shots "
    "(id) VALUES (3),(4);",
    "emptied": SHOTS + "INSERT INTO shots VALUES (1,'a',NULL);\nDELETE FROM `shots`;\n"
    "INSERT INTO shots VALUES (2,'b',NULL);\nTRUNCATE TABLE shots;\n"
    "truncate `shots`;INSERT INTO shots VALUES (3,'b',NULL);",
    "no backslash escapes": "SET SQL_MODE='NO_BACKSLASH_ESCAPES,NO_AUTO_VALUE_ON_ZERO';\n"
    f"{SHOTS}INSERT INTO shots VALUES (1,'c:\\',NULL),(2,'\\n''x\\',NULL);\n"
    "SET sql_mode = 'ANSI';INSERT INTO shots VALUES (3,'c:\\\\',NULL),(4,'\\n\\'x',NULL);\n",
    "ANSI quotes": 'SET SESSION sql_mode=\'ANSI_QUOTES\';\nCREATE TABLE "shots" ("id" int, '
    '"na""me" varchar(9));\nINSERT INTO "shots" ("id","na""me") VALUES (1,\'a\');\n',
    "double quotes": SHOTS + 'INSERT INTO shots VALUES (1,"it\'s ""x"" \\"y\\"",NULL);',
    "blocks with others between": SHOTS
    + SHOTS.replace("shots", "logs")
    + "INSERT INTO shots VALUES "
    "(1,'a',NULL);INSERT INTO logs VALUES "
    "(1,'a',NULL);INSERT INTO shots VALUES "
    "(2,'b',NULL);"
    "INSERT INTO logs (id) VALUES (3);INSERT INTO shots (at,id) VALUES (NULL,3);",
    "bytes as they lie in the table": b"SET NAMES binary;\n"
    + "CREATE TABLE shots (id int, name varchar(9)) DEFAULT "
    "CHARSET=cp1251;\nINSERT INTO shots VALUES "
    "(1,'ночь');".encode("cp1251"),
    "bytes as they lie in the column": b"SET NAMES binary;\nCREATE TABLE shots (id int, "
    b"a varchar(9) CHARACTER SET latin1, b varchar(9)) CHARSET=utf8mb4;\n"
    b"INSERT INTO shots VALUES (1,'caf\xe9','caf\xc3\xa9');",
    "one set after the other": b"SET NAMES utf8mb4;\n"
    + SHOTS.encode()
    + b"INSERT INTO shots VALUES "
    b"(1,'\xc3\xa9',NULL);\n"
    b"SET CHARACTER SET latin1;INSERT INTO shots VALUES (2,'\xe9',NULL);",
    **{
        f"SET NAMES {name}": f"SET NAMES {name};\n{SHOTS}INSERT INTO shots VALUES "
        f"(1,'{text}',NULL),(2,'{text}\\'x',NULL);".encode(CODECS.get(name, name))
        for name, text in LETTERS.items()
    },
}


@pytest.fixture(scope="module")
def server():
    "A server whose database `other` can be loaded with a dump, read, and dumped."
    need_database()
    with site.database() as url:
        password, port = re.search(r":([^:@]+)@[^:]+:(\d+)", url).groups()
        options = ["--no-defaults", "--host=127.0.0.1", f"--port={port}", "--user=site"]

        def run(command, *more, **kwargs):
            return subprocess.run(
                [command, *options, *more],
                env=os.environ | {"MYSQL_PWD": password},
                capture_output=True,
                check=True,
                **kwargs,
            )

        def load(dump, charset="utf8mb4"):
            run("mariadb", "-e", "SET GLOBAL sql_mode = ''; CREATE OR REPLACE DATABASE other")
            run(
                "mariadb",
                f"--default-character-set={charset}",
                "other",
                input=dump if isinstance(dump, bytes) else dump.encode(),
            )
            return read_database(url.removesuffix("site") + "other", ["shots"])["shots"]

        yield SimpleNamespace(load=load, run=run)


@pytest.mark.parametrize("program", WRITERS)
def test_what_a_program_writes_is_what_a_server_holds(server, program, tmp_path, monkeypatch):
    dump = WRITERS[program]
    held = server.load(
        dump, program.removeprefix("SET NAMES ") if program.startswith("SET") else "utf8mb4"
    )
    (tmp_path / "dump.sql").write_bytes(dump if isinstance(dump, bytes) else dump.encode())
    with warnings.catch_warnings(action="error"):
        warnings.filterwarnings("ignore", ".* in no calendar, such as 0000-00-00")
        found = read_dump(tmp_path / "dump.sql")
    pd.testing.assert_frame_equal(found["shots"], held)
    assert set(found) <= {"shots", "logs"} and len(held)
    with monkeypatch.context() as small:
        small.setattr("movie_tagger.tags.sql.stream.BLOCK", 64)
        small.setattr("movie_tagger.tags.sql.stream.AHEAD", 400)
        pd.testing.assert_frame_equal(read_dump(tmp_path / "dump.sql")["shots"], held)
    if isinstance(dump, bytes):
        return
    for name, text in (("windows.sql", "\ufeff" + dump), ("powershell.sql", dump)):
        (tmp_path / name).write_text(
            text, encoding="utf-16" if "power" in name else "utf-8", newline="\r\n"
        )
        assert len(read_dump(tmp_path / name, ["shots"])["shots"]) == len(held)


FILLED = (
    SHOTS + "CREATE TABLE logs (id int, n int GENERATED ALWAYS AS (id + 1) "
    "VIRTUAL);\n" + f"DELIMITER //\n{PROCEDURE}//\nDELIMITER ;\n"
    "INSERT INTO shots VALUES (1,'it''s a tab\\t, a line\\nbreak and a \\\\','2008-06-01 "
    "12:00:00'),(2,NULL,NULL),(3,'NULL',NULL),(4,'','2010-01-01');"
    "INSERT INTO logs (id) VALUES (1);"
    f"CREATE VIEW v AS SELECT id FROM shots;\nDELIMITER //\n{TRIGGER}//\n"
    "CREATE EVENT e ON SCHEDULE EVERY 1 DAY DO BEGIN INSERT INTO shots VALUES (9,'x',NULL); END//\n"
    "DELIMITER ;\n"
)


def test_programs_of_the_server(server, tmp_path):
    "Its triggers, procedures, events and views are no rows; and its rows in text with tabs."
    held = server.load(FILLED)
    for options in (
        (),
        ("--skip-extended-insert", "--compact"),
        ("--default-character-set=binary",),
        ("--skip-quote-names", "--no-create-db"),
    ):
        (tmp_path / "dump.sql").write_bytes(
            server.run(
                "mariadb-dump",
                "--routines",
                "--events",
                "--triggers",
                *options,
                "--databases",
                "other",
            ).stdout
        )
        found = read_dump(tmp_path / "dump.sql")
        pd.testing.assert_frame_equal(found["shots"], held)
        assert set(found) == {"shots", "logs"} and found["logs"]["id"].tolist() == [1]
    (tmp_path / "powershell.sql").write_text(
        server.run("mariadb-dump", "other").stdout.decode(), encoding="utf-16", newline="\r\n"
    )
    with warnings.catch_warnings(action="error"):
        assert len(read_dump(tmp_path / "powershell.sql")["shots"]) == len(held)
    (tmp_path / "shots.tsv").write_bytes(
        server.run("mariadb", "--batch", "-e", "SELECT * FROM shots WHERE id <> 3", "other").stdout
    )
    pd.testing.assert_frame_equal(
        read_dump(tmp_path / "shots.tsv")["shots"],
        held[held["id"] != 3].reset_index(drop=True),
        check_dtype=False,
    )
    (tmp_path / "dump.xml").write_bytes(server.run("mariadb-dump", "--xml", "other").stdout)
    with pytest.raises(MovieTaggerError, match="is XML: make the dump without --xml"):
        read_dump(tmp_path / "dump.xml")


def test_a_file_a_table(server, tmp_path):
    "As mydumper and `mysqldump --tab` write them."
    held = server.load(FILLED)
    folder = tmp_path / "mydumper"
    folder.mkdir()
    header = "/*!40101 SET NAMES binary*/;\n"
    rows = (
        header
        + 'INSERT INTO `shots` VALUES(1,"it\'s a tab\t, a line\\nbreak and a \\\\","2008-06-01 '
        '12:00:00")\n,(2,NULL,NULL)\n;\n'
    )
    for name, text in (
        ("metadata", "[config]\n"),
        ("other-schema-create.sql", "CREATE DATABASE `other`;"),
        ("other.shots-schema.sql", header + SHOTS),
        ("other.shots-schema-triggers.sql", TRIGGER + ";"),
        ("other.shots.00000.sql", rows),
        (
            "other.shots.00001.sql",
            header + 'INSERT INTO `shots` VALUES(3,"NULL",NULL)\n'
            ',(4,"","2010-01-01 00:00:00")\n;\n',
        ),
    ):
        packed = (
            pa.Codec("zstd").compress(text.encode(), asbytes=True)
            if ".0000" in name
            else text.encode()
        )
        (folder / (name + ".zst" * (".0000" in name))).write_bytes(packed)
    pd.testing.assert_frame_equal(read_dump(folder)["shots"], held)
    folder = tmp_path / "tab"
    folder.mkdir()
    (folder / "shots.sql").write_text(SHOTS)
    (folder / "shots.txt").write_bytes(
        b"1\tit's a tab\\\t, a line\\\nbreak and a \\\\\t2008-06-01 12:00:00\n"
        b"2\t\\N\t\\N\n3\tNULL\t\\N\n4\t\t2010-01-01 00:00:00\n"
    )
    pd.testing.assert_frame_equal(read_dump(folder)["shots"], held)
    assert list(read_dump(folder, columns={"shots": ["name", "id"]})["shots"]) == ["name", "id"]
    (folder / "shots.sql").unlink()
    with pytest.warns(UserWarning, match="no line of names: its columns were taken for id, name"):
        shots = read_dump(folder, columns={"shots": ["id", "name", "at"]})["shots"]
    assert shots.to_csv() == held.to_csv()
    (tmp_path / "shell").mkdir()
    (tmp_path / "shell" / "@.json").write_text("{}")
    with pytest.raises(
        MovieTaggerError,
        match="is a dump of MySQL Shell: load it into a database with util.loadDump",
    ):
        read_dump(tmp_path / "shell")


ROW = "INSERT INTO shots VALUES (1,'a',NULL);"
SENTENCES = {
    "a function": (
        ROW + "INSERT INTO shots VALUES (2,CONCAT('a,)',\"b(\"),NULL);",
        r"row 2 of table shots, column name: CONCAT\('a,\)',\"b\(\"\) is not a value: load the "
        r"dump into a database",
    ),
    "the time": (
        ROW + "INSERT INTO shots VALUES (2,'b',current_timestamp);",
        "row 2 of table shots, column at: current_timestamp is not a value",
    ),
    "a number of the server's": (
        ROW.replace("1", "DEFAULT"),
        "row 1 of table shots, column id: DEFAULT is not a value",
    ),
    "INSERT ... SET": (
        ROW + "INSERT INTO shots SET id=1;",
        "only INSERT ... VALUES is understood, not 'INSERT INTO shots SET id=1;'",
    ),
    "INSERT ... SELECT": (
        ROW + "REPLACE INTO shots SELECT 1, 2, 3;",
        "only INSERT ... VALUES is understood",
    ),
    "two databases": (
        f"{ROW}USE `b`;\nDROP TABLE IF EXISTS shots;\n"
        f"{SHOTS}INSERT INTO shots VALUES (2,'b',NULL);",
        "a table shots in two databases, a and b: make a dump of one of them",
    ),
    "PostgreSQL": (
        "COPY public.shots (id) FROM stdin;\n1\n\\.\n",
        "a COPY of PostgreSQL in a dump that begins as one of another database",
    ),
}


@pytest.mark.parametrize("what", SENTENCES)
def test_what_only_a_database_can_work_out(what, tmp_path):
    text, sentence = SENTENCES[what]
    (tmp_path / "dump.sql").write_text(f"USE a;\n{SHOTS}{text}")
    with pytest.raises(MovieTaggerError, match=sentence) as e:
        read_dump(tmp_path / "dump.sql", ["shots"])
    assert "\n" not in str(e.value)
    if "column name" in sentence:
        assert read_dump(tmp_path / "dump.sql", columns={"shots": ["id"]})["shots"][
            "id"
        ].tolist() == [1, 2]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE shots SET name='b'",
        "DELETE FROM shots WHERE id=1",
        "DELETE s FROM nothing JOIN shots s WHERE id=1",
        "UPDATE nothing n, `shots` SET name='b'",
        "RENAME TABLE nothing TO gone, shots TO more",
        "ALTER TABLE shots CHANGE name called text",
        "LOAD DATA LOCAL INFILE 'x' REPLACE INTO TABLE `shots` (id)",
    ],
)
def test_changes_that_are_not_applied_are_refused_or_told(change, tmp_path):
    other = "CREATE TABLE other (id int);INSERT INTO other VALUES (1);"
    (tmp_path / "dump.sql").write_text(f"{SHOTS}{ROW}{other}\n{change};{change};")
    what = f"line [0-9]+, changes table shots with {change.split()[0]}, which is not applied"
    for asked in (None, ["shots"]):
        with pytest.raises(MovieTaggerError, match=f"{what}: load the dump into a database"):
            read_dump(tmp_path / "dump.sql", asked)
    with pytest.warns(UserWarning, match=what) as told:
        found = read_dump(tmp_path / "dump.sql", ["other"])
    assert len(told) == 1 and len(found["other"]) == 1


def test_a_table_without_a_name_and_a_program_without_a_delimiter(tmp_path):
    "MySQL Workbench's result grid, and DataGrip's triggers."
    (tmp_path / "shots.sql").write_text(
        "/*\n-- Query: SELECT * FROM site.shots\n-- Date: 2020-01-01 10:00\n*/\n"
        "INSERT INTO `` (`id`,`name`) VALUES (1,'x');\n"
        "INSERT INTO `` (`id`,`name`) VALUES (2,NULL);\n"
    )
    assert read_dump(tmp_path / "shots.sql")["shots"]["name"].tolist()[0] == "x"
    (tmp_path / "dump.sql").write_text(
        f"{SHOTS}{ROW}\ncreate definer = root@localhost {TRIGGER.removeprefix('CREATE ')};\n{ROW}"
    )
    assert list(found := read_dump(tmp_path / "dump.sql")) == ["shots"] and found["shots"][
        "id"
    ].tolist() == [1, 1]
