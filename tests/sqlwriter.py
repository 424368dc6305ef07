"Writes dumps at random, of statements that MariaDB accepts and lines that other tools leave."

import random
import re
from dataclasses import dataclass, field

CODECS = {
    "utf8mb4": "utf-8",
    "utf8": "utf-8",
    "latin1": "cp1252",
    "cp1251": "cp1251",
    "koi8r": "koi8-r",
}
COLLATIONS = {
    "utf8mb4": "utf8mb4_bin",
    "utf8": "utf8mb3_bin",
    "latin1": "latin1_bin",
    "cp1251": "cp1251_bin",
    "koi8r": "koi8r_bin",
}
LETTERS = "aZ09 éüÿ€ñ¤ночьЖ表ソ能ł😀\u00a0\u2028\ufeff\x7f"
TEXTS = [
    *("", "car", "sea side", "NULL", "null", "DEFAULT", "TRUE", "0x41", "12", "2020-01-02"),
    *("\\N", "a,b", "),(", "(", ");", ";", ";\n", "'", "''", '"', "`", "\\", "\\\\", "it's"),
    *("\n", "\r\n", "\t", "\0", "\x1a", "%", "_", "-- x\n", "--", "#", "/*", "*/", "/*!50000 "),
    *("\nEND;\n", "BEGIN", "\\.\n", "\nDELIMITER //\n", "\nSET NAMES latin1;\n"),
    *("');\nINSERT INTO `shots` VALUES (9,'", "\nINSERT INTO shots VALUES (1);\n"),
    *("\nSET sql_mode='NO_BACKSLASH_ESCAPES';\n", "\nCOPY shots (id) FROM stdin;\n"),
    *("\nmysqldump: Couldn't execute 'x'\n", "\nWarning: it's \n"),
]
NAMES = (
    "shots tags id ref_id movie Shots a1 _x $y n2 é order select values key primary check default "
    "insert index set value it's a`b q\"q 表 a.b x;y a,b (p c) #h /* */ 1st naïve period date like "
    "constraint comment"
).split() + ["my table", "-- c", "unique x"]
PLAIN = NAMES[:8]  # to begin with
RESERVED = set("order select values key primary check default insert index set value like".split())
BARE = re.compile(r"(?!constraint$)[a-z_$é]+[0-9]*")
TOOLS = """\
mysqldump: [Warning] Using a password on the command line interface can be insecure.
mysqldump: Couldn't execute 'SHOW FIELDS FROM `v_old`': View references invalid table(s) (1356)
mysqldump: Error: 'Access denied; you need the PROCESS privilege' when trying to dump tablespaces
mariadb-dump: Got error: 1449: "The user specified as a definer ('a'@'%') does not exist"
mysqldump: Deprecated program name. It will be removed, use '/usr/bin/mariadb-dump' instead
Warning: A partial dump from a server that has GTIDs will by default include the GTIDs of all.
Warning: Permanently added 'db' (ED25519) to the list of known hosts.
WARNING: option --ssl-verify-server-cert is disabled, because of an insecure passwordless login.
mysql: [Warning] mysql: Empty value for 'port' specified. Will throw an error in future.
[Warning] it's (not) safe; to do so
time="2024-01-01T00:00:00Z" level=warning msg="the attribute `version` is obsolete"
bash: warning: setlocale: LC_ALL: cannot change locale (C.UTF-8)
 1.21MiB 0:00:01 [1.20MiB/s] [=====>          ] 34%
-- Connecting to localhost...
-- Retrieving table structure for table it's...
stdin: is not a tty
the input device is not a TTY
Enter password:
Dumping database...
done.
Error: connect ETIMEDOUT""".splitlines()
TOOL = re.compile("\ue000(.*?)\ue001", re.S)  # what stands between these is not for the server

USES = {  # what a dump may make use of, and how often one does
    "odd names": 0.5,
    "tools": 0.35,
    "tools inside": 0.03,
    "versions": 0.3,
    "long": 0.05,
    "double quotes": 0.3,
    "adjacent": 0.3,
    "introducers": 0.3,
    "collations": 0.15,
    "hex": 0.3,
    "odd values": 0.3,
    "auto": 0.08,
    "duplicates": 0.08,
    "slash n": 0.1,
    "defaults": 0.5,
    "expressions": 0.05,
    "zero dates": 0.2,
    "verbs": 0.5,
    "on duplicate": 0.1,
    "left out": 0.4,
    "set": 0.1,
    "returning": 0.05,
}
OTHERS = {  # statements other than CREATE and INSERT: `Writer.say_...`
    "tool": 0.3,
    "charset": 0.15,
    "mode": 0.15,
    "locks": 0.5,
    "transaction": 0.3,
    "rollback": 0.03,
    "program": 0.3,
    "delimiter": 0.1,
    "short_program": 0.1,
    "view": 0.2,
    "comment": 0.6,
    "setting": 0.6,
    "emptying": 0.15,
    "drop": 0.15,
    "change": 0.04,
    "alter": 0.06,
    "copy": 0.04,
    "trigger": 0.02,
}
KINDS = dict(
    int=6,
    text=8,
    float=2,
    datetime=2,
    date=2,
    bytes=2,
    enum=1,
    set=1,
    year=1,
    time=1,
    bit=1,
    json=1,
)


@dataclass
class Column:
    name: str
    kind: str  # which `Writer.value_...` writes its literals
    declared: str
    size: int = 0  # of texts in letters, of bytes, of fractions of a second
    words: tuple = ()  # of an enumeration; or the least and the largest number
    charset: str = "utf8mb4"
    nullable: bool = True
    default: bool = False
    auto: bool = False
    made: bool = False  # a generated column
    key: bool = False
    seen: int = 0  # how many values of a key were written


@dataclass
class Case:
    "A dump: statements, each with the codec that it is written in."

    seed: int = 0
    statements: list = field(default_factory=list)
    start: bytes = b""
    line: str = "\n"
    utf16: bool = False
    block: int = 0  # bytes that the reader takes at a time; 0: as it likes

    def found(self):
        "The bytes that we read."
        texts = [(TOOL.sub(r"\1", self._lines(text)), codec) for text, codec in self.statements]
        if self.utf16:
            return "".join(text for text, _ in texts).encode("utf-16")
        return self.start + _encoded(texts)

    def loaded(self):
        "The bytes that the server is fed: without the lines of tools."
        return _encoded([(TOOL.sub("", self._lines(text)), c) for text, c in self.statements])

    def _lines(self, text):
        return text.replace("\n", self.line)


def _encoded(texts):
    return b"".join(text.encode(codec, "surrogateescape") for text, codec in texts)


def write(seed: int) -> Case:
    "The dump of that number."
    return Writer(seed).write()


class Writer:
    "Writes one dump; what it may use at all is drawn first, so that dumps differ in kind."

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.case = Case(seed)
        self.case.line = self.pick(["\r\n", *["\n"] * 9])
        self.charset = "utf8mb4"
        self.ansi = False  # are names in double quotes?
        self.literal = False  # is a backslash a letter?
        self.tables = {}  # name → columns
        self.end = ";"
        self.odd = self.pick([0, 0, 0.01, 0.05, 0.2])  # comments in odd places
        self.layout = self.pick(["", "", " ", "\n", "\n  "])
        self.uses = {use for use, p in USES.items() if self.chance(p)}
        self.others = [other for other, p in OTHERS.items() if self.chance(p)]

    def pick(self, what):
        "One of a list, or of words with bars between."
        return self.rng.choice(what.split("|") if isinstance(what, str) else what)

    def chance(self, p):
        return self.rng.random() < p

    def may(self, use, p=1.0):
        return use in self.uses and self.chance(p)

    def emit(self, text, end=True):
        "Writes a statement, in a character set that has its letters."
        try:
            text.encode(CODECS[self.charset], "surrogateescape")
        except UnicodeEncodeError:
            self.charset = "utf8mb4"
            self._put(f"SET NAMES utf8mb4{self.end}\n")
        self._put(f"{text}{self.end}\n" if end else text)

    def _put(self, text):
        self.case.statements.append((text, CODECS[self.charset]))

    def write(self):
        if self.chance(0.5):
            self.emit("-- MariaDB dump 10.19  Distrib 10.11.6-MariaDB, for Linux\n--\n", end=False)
        if self.may("tools"):
            self.say_tool()
        if "zero dates" in self.uses:
            self.emit("/*!40101 SET @OLD_SQL_MODE=@@SQL_MODE, SQL_MODE='NO_AUTO_VALUE_ON_ZERO' */")
        if self.chance(0.5):
            self.emit("/*!40101 SET NAMES utf8mb4 */")
        self.create()
        for _ in range(self.rng.randrange(2, 12)):
            what = self.rng.choices(["create", "insert", "other"], [1, 4, 3])[0]
            getattr(self, what)()
        self.finish()
        return self.case

    def other(self):
        if self.others:
            getattr(self, "say_" + self.pick(self.others))()

    def finish(self):
        "How it ends, and how it lies in the file."
        case, last = self.case, self.case.statements[-1]
        if last[0].endswith(";\n") and self.chance(0.05):
            case.statements[-1] = (last[0].removesuffix(";\n"), last[1])
        if self.may("tools", 0.5):
            self.emit("\n\ue000mysqldump: Got error: 2013: Lost connection\n\ue001", end=False)
        text = "".join(text for text, _ in case.statements)
        if "delimiter" in text.lower():
            case.line = "\n"
        if {codec for _, codec in case.statements} == {"utf-8"} and self.chance(0.1):
            case.start = b"\xef\xbb\xbf"
            if not re.search("[\udc80-\udcff]", text) and self.chance(0.3):
                case.utf16, case.start = True, b""
        case.block = self.pick([0, 0, 50, 64, 200, 1000])

    # --- words, what stands between them, and names

    def gap(self, must=False):
        "What may stand between two tokens; something, where it must."
        if not self.chance(self.odd):
            return " " if must else self.pick(["", "", " "])
        return self.pick(
            [
                self.pick([" ", "\n", "\t", "  ", "\n\n", " \n\t", "\r\n"]),
                f"/*{self.said()}*/",
                f" -- {self.said()}\n",
                f" #{self.said()}\n",
                self.pick("/*!40000 */|/*!*/|/*!999999 'x' (*/") if self.may("versions") else " ",
                f"\n\ue000{self.pick(TOOLS)}\n\ue001" if self.may("tools inside") else "\n",
            ]
        )

    def said(self):
        "The inside of a comment."
        words = "it's|`a`|\"|;|(|)|),(|--|#|INSERT INTO shots VALUES (1,'x');|\\|\\'|é|/x"
        text = " ".join(self.pick(words) for _ in range(self.rng.randrange(5)))
        return " " + self.writable(text) + " "

    def word(self, text):
        return self.pick([text, text.lower(), text.title()]) if self.chance(0.2) else text

    def words(self, text):
        return self.gap(True).join(map(self.word, text.split()))

    def name(self, name):
        if BARE.fullmatch(name) and name not in RESERVED and self.chance(0.3):
            return name
        quote = '"' if self.ansi and self.chance(0.5) else "`"
        return quote + name.replace(quote, quote * 2) + quote

    def table_name(self, name=None):
        name = self.name(name or self.pick([*self.tables]))
        return name if self.chance(0.93) else f"{self.name('other')}{self.pick('.| . ')}{name}"

    def new_name(self, taken):
        taken = {name.lower() for name in taken}
        names = NAMES if "odd names" in self.uses else PLAIN
        names = [n for n in names if n.lower() not in taken and self.writable(n) == n]
        return self.pick(names or [f"n{len(taken)}"])

    def writable(self, text, *charsets):
        "What of a text there is in the character sets."
        for charset in (self.charset, *charsets):
            if charset == "utf8":
                text = re.sub("[^\0-\uffff]", "", text)
            text = text.encode(CODECS[charset], "ignore").decode(CODECS[charset])
        return text

    # --- literals

    def text(self, column):
        "A text that fits into a column."
        pieces = []
        for _ in range(self.pick([1, 1, 1, 2, 3, 6])):
            some = self.rng.choices(LETTERS, k=self.rng.randrange(1, 6))
            pieces.append(self.pick([self.pick(TEXTS), "".join(some)]))
        if self.may("long", 0.1) and column.size > 1000:
            pieces *= self.rng.randrange(1, 20_000)
        text = self.writable("".join(pieces), column.charset)[: column.size]
        text = text[: len(text) - text.count("%") - text.count("_")]  # they may keep a backslash
        return text.rstrip(" ") if column.declared.lower().startswith("char") else text

    def quoted(self, text):
        "A text between quotes, with what must be escaped and some that need not be."
        quote = '"' if not self.ansi and self.may("double quotes", 0.3) else "'"
        return quote + "".join(self.letter(c, quote) for c in text) + quote

    def letter(self, c, quote):
        if c == quote and (self.literal or self.chance(0.5)):
            return c * 2
        if self.literal:
            return c.replace("\0", "")
        if c in "\\\0" or c == quote:
            return "\\" + c.replace("\0", "0")
        escaped = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\x1a": "\\Z"}.get(c, "\\" + c)
        return self.pick([c, escaped]) if c in "\n\r\t\x1a'\"" or c in "%_q" else c

    def string(self, text):
        "A literal of a text, in one of its spellings."
        if self.may("adjacent", 0.1) and text:
            at = self.rng.randrange(len(text) + 1)
            gap = self.pick([" ", "  "]) + self.gap()
            return self.quoted(text[:at]) + gap + self.quoted(text[at:])
        said = self.quoted(text)
        if self.may("introducers", 0.15) and (self.charset.startswith("utf8") or text.isascii()):
            forms = "_utf8mb4|_utf8mb4 |_UTF8MB4 |_utf8mb4\n"
            if said[0] == "'" and max(text, default="") <= "\uffff":
                forms += "|N|n"
            return self.pick(forms) + said
        if self.may("collations", 0.15):
            return f"{said} {self.word('COLLATE')} {COLLATIONS[self.charset]}"
        return said

    def value(self, column, again=False):
        "A literal for a column, or what else may stand there; `again`: perhaps a known key."
        if column.key:
            return self.key(column, again and self.may("duplicates", 0.2))
        if column.made:
            return self.word("DEFAULT")
        if column.nullable and self.chance(0.15):
            plain = self.literal or not self.may("slash n", 0.3)
            return self.word("NULL") if plain else "\\N"
        if column.default and self.may("defaults", 0.15):
            return self.word("DEFAULT")
        said = getattr(self, "value_" + column.kind)(column)
        if "/*" not in said and self.may("versions", 0.05):
            forms = "/*!40000 @*/|/*!@ */|/*M!100100 @*/|/*!999999 'no',*/@"
            said = self.pick(forms).replace("@", said)
        if self.may("expressions", 0.03):
            said = self.pick("(@)|COALESCE(@)|((@))|IF(1,@,'(')").replace("@", said)
        return said

    def key(self, column, again):
        column.seen += 1
        if column.auto and self.may("auto", 0.3):
            return self.pick("NULL|0|DEFAULT")
        n = self.rng.randrange(column.seen + 1) if again else column.seen
        if column.kind == "text":
            return self.string(f"k{n}")
        if column.kind == "bytes":
            return self.pick([f"0x{n:032X}", f"x'{n:032x}'"])
        return f"'{n}'" if self.may("odd values", 0.2) else str(n)

    def value_int(self, column):
        low, high = column.words
        n = self.pick([0, 1, low, high, self.rng.randint(low, high), self.rng.randint(0, 99)])
        n = min(n, high)
        if not self.may("odd values", 0.3):
            return str(n)
        if n in (0, 1) and self.chance(0.3):
            return self.word(("FALSE", "TRUE")[n])
        forms = ["'{0}'", "{0}."]
        if n >= 0:
            forms += ["+{0}", "0{0}", "b'{0:b}'", "0b{0:b}", "0x{0:016x}"]
        return self.pick(forms).format(n)

    def value_year(self, column):
        return self.pick("0|1901|2020|2155|'0000'|'2020'")

    def value_float(self, column):
        if self.may("odd values", 0.3):
            return self.pick(".5|1.|-.5|+.25|+3|05.50|1e1|5E0|'1.5'|'-2'|TRUE|0x10")
        if column.declared.lower().startswith("decimal"):
            return self.pick("0|1.50|-0.25|123.5|-99.99|7")
        return self.pick("0|1|1.5|-0.25|123.5|0.001|-1024|1e3|-1.5E-2")

    def value_text(self, column):
        text = self.text(column)
        if column.charset == "utf8mb4" and self.may("hex", 0.1):
            digits = text.encode().hex()
            return f"x'{digits}'" if self.chance(0.5) or not digits else f"0x{digits.upper()}"
        return self.string(text)

    def value_enum(self, column):
        return self.string(self.pick(column.words))

    def value_set(self, column):
        return self.string(",".join(w for w in column.words if self.chance(0.5)))

    def value_bytes(self, column):
        size = column.size if self.chance(0.8) else self.rng.randrange(column.size)
        some = b"\0\n\r\x1a'\\\"A;(),\x80\xc3\xa9\xff"
        data = bytes(self.pick(some) for _ in range(size))
        form = self.pick("0x|x|X|_binary |_binary")
        if form == "0x" and data:
            return "0x" + data.hex().upper()
        if form in "xX":
            return f"{form}'{data.hex()}'"
        text = data.decode("ascii", "surrogateescape")
        return "_binary " + self.quoted(text.replace("\0", "") if self.literal else text)

    def value_bit(self, column):
        n = self.rng.randrange(1 << column.size)
        if self.may("odd values", 0.3):
            return self.pick([str(n), f"0b{n:b}", f"x'{n:04x}'" if n > 255 else f"x'{n:02x}'"])
        return f"{self.pick('b|B')}'{n:0{self.pick([1, column.size])}b}'"

    def value_date(self, column):
        form = "'{y}-{m:02}-{d:02}'"
        if self.may("odd values", 0.2):
            form = self.pick(
                "{y}{m:02}{d:02}|'{y}/{m}/{d}'|'{y}.{m:02}.{d:02}'|DATE '{y}-{m:02}-{d:02}'|"
                "date'{y}-{m:02}-{d:02}'|'{y}{m:02}{d:02}'|'{y}-{m}-{d}'|{{d '{y}-{m:02}-{d:02}'}}"
            )
        elif self.may("zero dates", 0.2):
            form = self.pick("'0000-00-00'|'2008-00-00'")
        y = self.pick([1000, 1970, 2008, 2020, 9999])
        return form.format(y=y, m=self.rng.randint(1, 12), d=self.rng.randint(1, 28))

    def value_datetime(self, column):
        y = self.pick([1971, 2008, 2037])
        m, d = self.rng.randint(1, 12), self.rng.randint(1, 28)
        day, at = f"{y}-{m:02}-{d:02}", self.pick("00:00:00|12:34:56|23:59:59")
        if column.size:
            at += "." + "123456"[: self.rng.randint(1, column.size)]
        if self.may("odd values", 0.2):
            number = re.sub(r"\D", "", day + at[:8])
            form = self.pick(
                "'{day}T{at}'|TIMESTAMP '{day} {at}'|timestamp'{day} {at}'|'{day}'|{number}|"
                "'{y}/{m}/{d} {at}'|'{day} 1:2:3'|'{day} 12:34'|{{ts '{day} {at}'}}"
            )
            return form.format(day=day, at=at, y=y, m=m, d=d, number=number)
        if self.may("zero dates", 0.2):
            return "'0000-00-00 00:00:00'"
        return self.string(f"{day} {at}")

    def value_time(self, column):
        if self.may("odd values", 0.2):
            return self.pick("TIME '01:02:03'|'1:2:3'|'12:34'|123456")
        return self.pick("'00:00:00'|'12:34:56'|'-838:59:59'|'100:00:01'")

    def value_json(self, column):
        forms = ['{"a": 1}', "[]", "null", '"it\'s"', '{"a": "\\"b\\" \\\\ (;"}', "[1, 2]"]
        return self.string(self.pick(forms))

    # --- tables

    def create(self):
        name = self.new_name(self.tables)
        columns = [self.key_column()] if self.chance(0.8) else []
        for _ in range(self.rng.randrange(1, 7)):
            columns.append(self.new_column([column.name for column in columns] + ["k", "g"]))
        if self.chance(0.1):
            columns.append(Column("g", "int", self.made(), made=True))
        parts = [f"{self.name(c.name)}{self.gap(True)}{c.declared}" for c in columns]
        parts += self.keys(columns)
        body = self.pick([",", ",\n  ", " , ", "\n,"]).join(part + self.gap() for part in parts)
        if self.chance(0.4):
            self.emit(f"DROP TABLE IF EXISTS {self.table_name(name)}")
        how = self.words(self.pick(["CREATE TABLE"] * 4 + ["CREATE TABLE IF NOT EXISTS"]))
        if self.may("verbs", 0.1):
            how = self.words("CREATE OR REPLACE TABLE")
        head = f"{how}{self.gap(True)}{self.table_name(name)}{self.gap()}"
        first, last = self.pick(["", "\n  "]), self.pick(["", "\n"])
        self.emit(f"{head}({first}{body}{last}){self.options(columns[0].key)}")
        self.tables[name] = columns

    def key_column(self):
        kind = self.pick("int|auto|bytes|text")
        declared = dict(
            int="int NOT NULL",
            auto="int(11) NOT NULL AUTO_INCREMENT",
            bytes="binary(16) NOT NULL",
            text="varchar(30) NOT NULL",
        )[kind] + self.pick("| PRIMARY KEY")
        auto = kind == "auto"
        return Column("k", "int" if auto else kind, declared, auto=auto, key=True, nullable=False)

    def keys(self, columns):
        "Declarations of keys and checks."
        first, last = columns[0], self.pick(columns)
        if first.key and "PRIMARY" not in first.declared:
            yield f"{self.words('PRIMARY KEY')}{self.gap()}({self.name('k')})"
        if last.kind in ("int", "date", "enum") and self.chance(0.4):
            yield f"{self.word('KEY')} {self.name('k;(1')} ({self.name(last.name)})"
            if not last.auto:
                yield f"CONSTRAINT c1 CHECK ({self.name(last.name)} is null or 'it''s)' <> '(')"

    def made(self):
        forms = ["int GENERATED ALWAYS AS (1 + 2) VIRTUAL", "int AS (length('it''s;')) PERSISTENT"]
        return self.pick(forms)

    def options(self, key):
        "What stands behind the columns."
        engine = self.pick("| ENGINE=InnoDB| ENGINE = MyISAM|\nengine=Aria")
        charset = self.pick(
            "| DEFAULT CHARSET=utf8mb4| DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci|"
            " CHARACTER SET = utf8mb4"
        )
        comment = f"\nCOMMENT={self.quoted(chr(39) + 's; (x')}" if self.chance(0.2) else ""
        if not key or self.chance(0.9):
            return self.gap() + engine + charset + comment
        parts = self.pick(
            " /*!50100 PARTITION BY KEY (`k`) PARTITIONS 3 */|"
            " PARTITION BY KEY (`k`)\n(PARTITION `p0` COMMENT = 'it''s', PARTITION `p1`)"
        )
        return charset + comment + parts

    def new_column(self, taken):
        kind = self.rng.choices([*KINDS], [*KINDS.values()])[0]
        column = Column(self.new_name(taken), kind, "")
        getattr(self, "declare_" + kind)(column)
        column.nullable = self.chance(0.7)
        said = "" if column.nullable and self.chance(0.7) else "NULL"
        column.declared += " " + self.words(said if column.nullable else "NOT NULL")
        if self.chance(0.4):
            self.give_default(column)
        if self.chance(0.15):
            comment = self.pick("it's; (a, b)|x DEFAULT 3|CHARSET=latin1||a -- b")
            column.declared += f" {self.word('COMMENT')} {self.quoted(comment)}"
        return column

    def give_default(self, column):
        if column.nullable and self.chance(0.4):
            said = "NULL"
        elif column.kind == "bytes":
            said = self.pick("0x41|x'4142'|'a'")
        else:
            uses, self.uses = self.uses, self.uses & {"double quotes"}
            said = getattr(self, "value_" + column.kind)(column)
            self.uses = uses
        if len(said) < 100 and (said == "NULL" or "blob" not in column.declared):
            column.declared += f" {self.word('DEFAULT')}{self.gap(True)}{said}"
            column.default = True

    def declare_int(self, column):
        word, bits = self.pick(
            [("tinyint", 8), ("smallint", 16), ("mediumint", 24), ("int", 32), ("bigint", 64)]
        )
        column.declared, half = self.word(word) + self.pick("|(11)|(4)"), 1 << bits - 1
        column.words = (-half, half - 1)
        if self.chance(0.3):
            column.declared += self.gap(True) + self.words(self.pick("UNSIGNED|UNSIGNED ZEROFILL"))
            column.words = (0, 2 * half - 1)
        elif self.chance(0.1):
            column.declared, column.words = self.pick("bool|BOOLEAN|tinyint(1)"), (0, 1)

    def declare_year(self, column):
        column.declared = self.pick("year|YEAR(4)")

    def declare_float(self, column):
        column.declared = self.pick("double|float|decimal(10,2)|DECIMAL(6, 2)|real")

    def declare_text(self, column):
        sizes = {"varchar(9)": 9, "varchar(255)": 255, "char(20)": 20, "text": 20_000}
        column.declared = self.pick([*sizes, "longtext", "tinytext"])
        column.size = sizes.get(column.declared, 60)
        if column.declared == "longtext":
            column.size = 1 << 20
        if self.case.line == "\r\n":  # every letter may become two
            column.size //= 2
        column.declared = self.word(column.declared)
        if self.chance(0.3):
            column.charset = self.pick("utf8mb4|latin1|cp1251|koi8r")
            column.declared += self.pick(" CHARACTER SET | CHARSET | character set ")
            column.declared += column.charset
            if self.chance(0.5):
                column.declared += f" {self.word('COLLATE')} {COLLATIONS[column.charset]}"

    def declare_enum(self, column):
        column.words = self.pick(
            [("a", "b", "c"), ("it's", "a,b", ""), ("(x)", "y)", "z;"), ("1", "2", "10")]
        )
        said = ",".join(map(self.quoted, column.words))
        column.declared = f"{self.word('enum')}({self.gap()}{said}{self.gap()})"

    def declare_set(self, column):
        column.words = self.pick([("a", "b", "c"), ("x y", "it's", "z)")])
        column.declared = f"{self.word('set')}({','.join(map(self.quoted, column.words))})"

    def declare_date(self, column):
        column.declared = self.word("date")

    def declare_datetime(self, column):
        column.size = self.pick([0, 0, 3, 6])
        size = f"({column.size})" if column.size else ""
        column.declared = self.pick("datetime|timestamp") + size

    def declare_time(self, column):
        column.declared = "time"

    def declare_bytes(self, column):
        column.declared = self.pick("binary(16)|varbinary(20)|blob|longblob")
        column.size = 16

    def declare_bit(self, column):
        column.size = self.pick([1, 3, 9])
        column.declared = f"bit({column.size})"

    def declare_json(self, column):
        column.declared = self.word("json")

    # --- rows

    def insert(self, name=None):
        name = name or self.pick([*self.tables])
        verb = self.pick("INSERT INTO|INSERT INTO|REPLACE INTO")
        if "verbs" in self.uses:
            verb = self.pick(
                "INSERT INTO|INSERT|INSERT IGNORE INTO|INSERT IGNORE|INSERT LOW_PRIORITY INTO|"
                "INSERT HIGH_PRIORITY|REPLACE INTO|REPLACE|REPLACE LOW_PRIORITY INTO"
            )
        update = "INSERT" in verb and self.may("on duplicate", 0.2)
        again = update or "IGNORE" in verb or "REPLACE" in verb
        columns = self.tables[name]
        into = f"{self.words(verb)}{self.gap(True)}{self.table_name(name)}"
        if self.chance(0.4) or any(c.made for c in columns) and self.chance(0.7):
            columns = self.some_columns(columns)
            names = ",".join(self.gap() + self.name(c.name) + self.gap() for c in columns)
            if columns and self.may("set", 0.2):
                return self.insert_set(into, columns, again)
            into += f"{self.gap()}({names})"
        count = self.pick([1, 1, 2, 3, 5, self.rng.randrange(1, 60)])
        said = into + self.gap(True) + self.word(self.pick("VALUES|VALUES|VALUES|VALUE"))
        said += self.pick(["", " ", "\n", self.gap()]) + self.rows(columns, count, again)
        if update:
            key = self.name(self.tables[name][0].name)
            said += f"{self.gap(True)}{self.words('ON DUPLICATE KEY UPDATE')} {key} = VALUES({key})"
        elif self.may("returning", 0.1):
            said += " RETURNING 1"
        if "/*" not in said and "*/" not in said and self.may("versions", 0.1):
            forms = ["/*!40000 \1 */", "/*! \1*/", "/*M!100100 \1*/"]
            said = self.pick(forms + ["/*!999999 \1*/"] * (";" not in said)).replace("\1", said)
        after = self.pick(["\n", "\n", "\n", "", " ", "\n\n", "\n-- x\n"])
        self.emit(f"{said}{self.gap()}{self.end}{after}", end=False)

    def some_columns(self, columns):
        "The columns that are named: in another order, or without some."
        columns = [c for c in columns if not c.made or self.chance(0.1)]
        if self.may("left out", 0.5):
            columns = [c for c in columns if not self.can_miss(c) or self.chance(0.6)]
        return self.rng.sample(columns, len(columns)) if self.chance(0.3) else columns

    def can_miss(self, column):
        return (column.auto and "auto" in self.uses) or column.nullable or column.default

    def insert_set(self, into, columns, again):
        pairs = [
            f"{self.name(c.name)}{self.gap()}={self.gap()}{self.value(c, again)}" for c in columns
        ]
        self.emit(f"{into} {self.word('SET')} {','.join(pairs)}")

    def rows(self, columns, count, again):
        rows = []
        for _ in range(count):
            values = [self.gap() + self.value(column, again) + self.gap() for column in columns]
            between = self.layout if self.chance(0.9) else self.gap()
            rows.append(f"({','.join(values)}){self.gap()},{between}")
        rows[-1] = rows[-1][: rows[-1].rindex(",")]
        return "".join(rows)

    # --- what else stands in dumps

    def say_tool(self):
        self.emit(f"\n\ue000{self.pick(TOOLS)}\n\ue001", end=False)

    def say_charset(self):
        charset = self.pick([*CODECS])
        form = self.pick(
            "SET NAMES {}|/*!40101 SET NAMES {} */|SET NAMES '{}'|set names {}|"
            "/*!50503 SET NAMES {} */|SET NAMES {} COLLATE " + COLLATIONS[charset]
        )
        self.emit(form.format(charset))
        self.charset = charset

    def say_mode(self):
        self.ansi, self.literal = self.chance(0.4), self.chance(0.4)
        modes = ["ANSI_QUOTES"] * self.ansi + ["NO_BACKSLASH_ESCAPES"] * self.literal
        modes += ["NO_AUTO_VALUE_ON_ZERO"] * self.chance(0.5)
        form = self.pick(
            "SET sql_mode='{}'|SET SQL_MODE = '{}'|SET SESSION sql_mode = '{}'|SET @@sql_mode='{}'|"
            "/*!40101 SET @OLD_SQL_MODE=@@SQL_MODE, SQL_MODE='{}' */|"
            "SET @@SESSION.sql_mode := '{}'|"
            "SET @@session.sql_mode='{}', @a = 1"
        )
        self.emit(form.format(",".join(modes)))

    def say_locks(self):
        name = self.pick([*self.tables])
        self.emit(f"LOCK TABLES {self.name(name)} WRITE")
        self.emit(f"/*!40000 ALTER TABLE {self.name(name)} DISABLE KEYS */")
        self.insert(name)
        self.emit(f"/*!40000 ALTER TABLE {self.name(name)} ENABLE KEYS */")
        self.emit("UNLOCK TABLES")

    def say_transaction(self):
        self.emit(
            self.pick("BEGIN|START TRANSACTION|START TRANSACTION READ WRITE|SET autocommit=0")
        )
        self.insert()
        self.emit("COMMIT")
        self.emit("SET autocommit=1")

    def say_rollback(self):
        self.emit("START TRANSACTION")
        self.insert()
        self.emit("ROLLBACK")

    def say_program(self):
        body = "INSERT INTO shots VALUES (9,'no;');\n  DELETE FROM shots;"
        said = self.pick(
            [
                f"CREATE PROCEDURE p@()\nBEGIN\n  {body}\nEND",
                "CREATE DEFINER=`site`@`%` FUNCTION f@() RETURNS int DETERMINISTIC\nBEGIN\n"
                "  IF 1 THEN SET @a = 'it''s; END;'; END IF;\n  RETURN 1; -- it\nEND",
                f"CREATE EVENT e@ ON SCHEDULE EVERY 1 DAY DISABLE DO BEGIN {body} END",
                "/*!50003 CREATE*/ /*!50020 DEFINER=`site`@`%`*/ /*!50003 PROCEDURE `q@`()\n"
                f"BEGIN\n  {body}\nEND */",
            ]
        ).replace("@(", f"{len(self.case.statements)}(")
        said = said.replace("e@ ", f"e{len(self.case.statements)} ")
        said = said.replace("q@`", f"q{len(self.case.statements)}`")
        self.within_delimiter(lambda: self.emit(said))

    def say_delimiter(self):
        self.within_delimiter(self.insert)

    def within_delimiter(self, write):
        if self.end == ";":
            self.emit(f"\n{self.word('DELIMITER')} {(end := self.pick('//|$$|;;'))}\n", end=False)
            self.end = end
            write()
            self.end = ";"
            self.emit(f"\n{self.word('DELIMITER')} ;\n", end=False)

    def say_short_program(self):
        form = self.pick("CREATE PROCEDURE s@() SELECT 1|CREATE FUNCTION t@() RETURNS int RETURN 1")
        self.emit(form.replace("@", str(len(self.case.statements))))

    def say_trigger(self):
        name = self.pick([*self.tables])
        number = len(self.case.statements)
        column = self.name(self.tables[name][0].name)
        change = self.pick([f"NEW.{column} = NEW.{column}", "@a = 1", f"NEW.{column} = 3"])
        when = self.pick("INSERT|INSERT|UPDATE") if "NEW" in change else "DELETE"
        self.emit(
            f"CREATE TRIGGER t{number} BEFORE {when} ON {self.name(name)} FOR EACH ROW SET {change}"
        )

    def say_view(self):
        self.emit(f"CREATE OR REPLACE VIEW `v; v` AS SELECT 'it''s' AS a FROM {self.table_name()}")

    def say_comment(self):
        forms = [
            f"-- {self.said()}\n",
            f"#{self.said()}\n",
            f"/* {self.said()}*/\n",
            "--\n",
            "\n\n",
        ]
        forms += ["/**/", f"/*!40000 */{self.end}\n", f"/*!999999 SELECT 'it''s' */{self.end}\n"]
        self.emit(self.pick(forms), end=False)

    def say_setting(self):
        self.emit(
            self.pick(
                "SET @v = 'x;y'|/*!40103 SET TIME_ZONE='+00:00' */|SET FOREIGN_KEY_CHECKS=0|"
                "/*!40014 SET @OLD_UNIQUE_CHECKS=@@UNIQUE_CHECKS, UNIQUE_CHECKS=0 */|USE `other`|"
                "SELECT 'it''s; (1' FROM dual|DO 1|SET @s = 'INSERT INTO shots VALUES (1)'|"
                "FLUSH TABLES|/*!50001 SET @x = 1 */|use other"
            )
        )

    def say_emptying(self):
        form = self.pick("DELETE FROM @|TRUNCATE TABLE @|truncate @|delete from @")
        self.emit(form.replace("@", self.table_name()))

    def say_drop(self):
        if len(self.tables) > 1:
            name = self.pick([*self.tables])
            form = self.pick(
                "DROP TABLE @|drop table if exists @|DROP TABLE IF EXISTS nowhere, @|"
                "/*!40000 DROP TABLE IF EXISTS @*/|DROP TABLES @"
            )
            self.emit(form.replace("@", self.name(name.replace("@", ""))))
            del self.tables[name]

    def say_change(self):
        name = self.pick([*self.tables])
        column = self.name(self.tables[name][0].name)
        form = self.pick(
            "DELETE FROM @ LIMIT 1|DELETE FROM @ WHERE # IS NOT NULL|DELETE LOW_PRIORITY FROM @|"
            "UPDATE IGNORE @ SET #=#|UPDATE @ SET # = #"
        )
        self.emit(re.sub("[@#]", lambda m: self.name(name) if m[0] == "@" else column, form))

    def say_alter(self):
        name, number = self.pick([*self.tables]), len(self.case.statements)
        table, columns = self.table_name(name), self.tables[name]
        what = self.pick("add|drop|rename|comment|auto")
        if what == "add":
            self.emit(f"ALTER TABLE {table} ADD COLUMN added{number} int DEFAULT 7")
            columns.append(Column(f"added{number}", "int", "int", words=(0, 9), default=True))
        elif what == "drop" and len(columns) > 2:
            self.emit(f"ALTER TABLE {table} DROP COLUMN {self.name(columns.pop().name)}")
        elif what == "rename":
            form = self.pick("RENAME TABLE {} TO {}|ALTER TABLE {} RENAME TO {}")
            self.emit(form.format(table, f"renamed{number}"))
            self.tables[f"renamed{number}"] = self.tables.pop(name)
        elif what == "comment":
            self.emit(f"ALTER TABLE {table} COMMENT='it''s; x', ENGINE=InnoDB")
        else:
            self.emit(f"ALTER TABLE {table} AUTO_INCREMENT=70")

    def say_copy(self):
        form = self.pick(
            "CREATE TABLE @ LIKE #|CREATE TABLE @ AS SELECT * FROM #|CREATE TABLE @ SELECT 1 AS b"
        )
        new = f"copy{len(self.case.statements)}"
        self.emit(form.replace("@", new).replace("#", self.table_name()))
