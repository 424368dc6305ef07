"""Dumps at random, read by us and loaded into a real server, which alone says what they hold.

python tests/sqlfuzz.py 20000 --seed 1 --keep FOLDER
"""

import argparse
import collections
import contextlib
import os
import re
import signal
import subprocess
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pymysql
from sqlwriter import Case, write

from movie_tagger.core import MovieTaggerError
from movie_tagger.sample import site
from movie_tagger.tags.sql import stream
from movie_tagger.tags.sql.database import read_database
from movie_tagger.tags.sql.dump import read_dump

# --- what a server holds


class Rejected(Exception):
    "The server does not take it: no case."


class Server:
    "A running MariaDB, and what its database `other` holds of a dump."

    def __init__(self, url):
        self.password, port = re.search(r":([^:@]+)@[^:]+:(\d+)", url).groups()
        self.url = url.removesuffix("site") + "other"
        self.options = ["--no-defaults", "--host=127.0.0.1", f"--port={port}", "--user=site"]
        self.connection = pymysql.connect(
            host="127.0.0.1", port=int(port), user="site", password=self.password, autocommit=True,
            conv={}, charset="utf8mb4",
        )  # fmt: skip

    def ask(self, words):
        with self.connection.cursor() as cursor:
            cursor.execute(words)
            return cursor.fetchall()

    def load(self, dump):
        self.ask("CREATE OR REPLACE DATABASE other")
        client = ["mariadb", *self.options, "--binary-mode", "--default-character-set=utf8mb4"]
        done = subprocess.run(
            [*client, "other"], input=dump, capture_output=True, timeout=60,
            env=os.environ | {"MYSQL_PWD": self.password},
        )  # fmt: skip
        if done.returncode:
            raise Rejected(done.stderr.decode(errors="replace")[-600:])

    def tables(self):
        "Table → (column → type, rows of texts or bytes as the server writes them)."
        self.ask("USE other")
        found = {}
        for name, column, type, extra in self.ask(
            "SELECT c.table_name, column_name, data_type, extra FROM information_schema.columns c "
            "JOIN information_schema.tables t USING (table_schema, table_name) WHERE "
            "table_schema = 'other' AND table_type = 'BASE TABLE' ORDER BY ordinal_position"
        ):
            found.setdefault(name, {})[column] = (type, "GENERATED" in extra)
        quoted = {name: "`" + name.replace("`", "``") + "`" for name in found}
        return {name: (found[name], self.ask(f"SELECT * FROM {quoted[name]}")) for name in found}


KIND = {
    **dict.fromkeys("tinyint smallint mediumint int bigint year".split(), "int"),
    **dict.fromkeys("decimal double".split(), "number"),
    "float": "single",
    **dict.fromkeys("date datetime timestamp".split(), "date"),
    **dict.fromkeys("binary varbinary tinyblob blob mediumblob longblob bit".split(), "bytes"),
}


def held(value, type):
    "A value as the server writes it, in the form that `read` gives ours too."
    kind = KIND.get(type, "text")
    if value is None:
        return None
    if kind == "date":
        value = value if isinstance(value, str) else value.decode()
        return None if value.startswith("0000") or "-00" in value else _moment(value)
    if kind == "bytes":
        return (value.encode() if isinstance(value, str) else value).hex()
    value = value.decode() if isinstance(value, bytes) else value
    return _form(value, kind)


def read(value, type):
    kind = KIND.get(type, "text")
    if value is None or value is pd.NaT or value is pd.NA or value != value:
        return None
    if kind == "date":
        return _moment(str(value))
    if kind == "bytes":
        return value.hex() if isinstance(value, bytes) else value.lower()
    return _form(value, kind)


def _moment(text):
    day, _, at = text.partition(" ")
    at, _, part = (at or "00:00:00").partition(".")
    return f"{day} {at}.{part:0<6}"


def _form(value, kind):
    if kind == "int":
        return int(value)
    if kind == "number":
        return float(value)
    if kind == "single":
        return f"{float(value):.6g}"
    return str(value)


# --- how a case ends


@dataclass
class End:
    how: str  # "equal", "refused", "told", "rejected", or what is wrong
    why: str = ""

    @property
    def wrong(self):
        return self.how not in ("equal", "refused", "told", "rejected")


@contextlib.contextmanager
def within(seconds):
    def late(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def read_case(case, folder):
    "The frames, and what was said."
    path = Path(folder, "dump.sql")
    path.write_bytes(case.found())
    before = stream.BLOCK, stream.AHEAD
    if case.block:
        stream.BLOCK, stream.AHEAD = case.block, max(400, 3 * case.block)
    try:
        with warnings.catch_warnings(record=True) as told, within(20):
            warnings.simplefilter("always")
            return read_dump(path), [str(w.message) for w in told]
    finally:
        stream.BLOCK, stream.AHEAD = before


def judge(case, server, folder, live=False):
    "Loads a dump, reads it, and says how the two compare."
    try:
        server.load(case.loaded())
    except Rejected as e:
        return End("rejected", str(e))
    tables = server.tables()
    try:
        frames, told = read_case(case, folder)
    except MovieTaggerError as e:
        clear = "\n" not in str(e) and "dump.sql" in str(e)
        return End("refused" if clear else "unclear refusal", str(e))
    except TimeoutError:
        return End("hangs")
    except Exception as e:
        return End(f"raises {type(e).__name__}", str(e))
    end = compare(frames, tables)
    if end.wrong and any("not applied" in line for line in told):
        return End("told", " ".join(told))
    if not end.wrong and live and tables:
        return compare_live(read_database(server.url, list(tables)), tables)
    return end


def compare_live(frames, tables):
    end = compare(frames, tables)
    return End("live: " + end.how, end.why) if end.wrong else end


def compare(frames, tables):
    if set(frames) != set(tables):
        return End("other tables", f"{sorted(frames)} for {sorted(tables)}")
    for name, (types, rows) in tables.items():
        frame = frames[name]
        columns = [c for c in types if c in frame]
        for column in set(types) - set(columns):
            at = list(types).index(column)
            if not types[column][1] and any(row[at] is not None for row in rows):
                return End("a column is missing", f"{name}: {column}")
        if unknown := set(frame) - set(columns):
            return End("a column too many", f"{name}: {unknown}")
        if len(frame) != len(rows):
            return End("other number of rows", f"{name}: {len(frame)} for {len(rows)}")
        places = [list(types).index(c) for c in columns]
        there = [tuple(held(row[i], types[c][0]) for i, c in zip(places, columns)) for row in rows]
        ours = zip(*([read(v, types[c][0]) for v in frame[c].tolist()] for c in columns))
        more, less = collections.Counter(ours), collections.Counter(there)
        if more != less:
            return End("other rows", f"{name}: {list(more - less)[:2]} for {list(less - more)[:2]}")
    return End("equal")


# --- smaller cases


def smaller(case, server, folder, wanted, seconds=60):
    "The same case with as little as keeps its end."
    end = time.monotonic() + seconds

    def still(statements):
        trial = Case(case.seed, statements, case.start, case.line, case.utf16, case.block)
        try:
            return judge(trial, server, folder).how == wanted
        except Exception:
            return False

    for attribute, plain in (("block", 0), ("start", b""), ("line", "\n"), ("utf16", False)):
        kept = getattr(case, attribute)
        setattr(case, attribute, plain)
        if not still(case.statements):
            setattr(case, attribute, kept)
    statements = _fewer(list(case.statements), still, end)
    for i in range(len(statements)):
        text, codec = statements[i]
        pieces = re.findall("\ue000.*?\ue001|'.*?'|\\w+|\\s+|.", text, re.S)

        def with_pieces(pieces, i=i, codec=codec):
            return still([*statements[:i], ("".join(pieces), codec), *statements[i + 1 :]])

        statements[i] = ("".join(_fewer(pieces, with_pieces, end)), codec)
    case.statements = statements
    return case


def _fewer(items, still, end):
    size = max(1, len(items) // 2)
    while size:
        at = 0
        while at < len(items) and time.monotonic() < end:
            trial = items[:at] + items[at + size :]
            if still(trial):
                items = trial
            else:
                at += size
        size //= 2
    return items


# --- many cases


@dataclass
class Done:
    "How cases ended, why they were refused, and the ends of those that ended badly."

    ends: collections.Counter
    reasons: collections.Counter
    bad: dict  # seed → end


class Fuzz:
    "Runs cases on a server; those that end badly are written down, made smaller, where asked."

    def __init__(self, url, folder, keep=None):
        self.server = Server(url)
        self.folder = folder
        self.keep = keep and Path(keep)

    def run(self, seeds):
        done = Done(collections.Counter(), collections.Counter(), {})
        for n, seed in enumerate(seeds):
            case = write(seed)
            end = judge(case, self.server, self.folder, live=n % 10 == 0)
            done.ends[end.how] += 1
            if end.wrong:
                done.bad[seed] = end
                print(f"seed {seed}: {end.how}: {end.why[:300]!r}", flush=True)
                if self.keep:
                    self.write_down(smaller(case, self.server, self.folder, end.how), end)
            elif end.why:
                done.reasons[f"{end.how}: {_kind(end.why)}"] += 1
        return done

    def write_down(self, case, end):
        self.keep.mkdir(parents=True, exist_ok=True)
        (self.keep / f"{case.seed}.sql").write_bytes(case.found())
        self.server.load(case.loaded())
        lines = [f"{end.how}: {end.why}", f"block {case.block}, line {case.line!r}"]
        lines += [f"{name}: {held}" for name, held in self.server.tables().items()]
        (self.keep / f"{case.seed}.txt").write_text("\n".join(lines), errors="replace")


def _kind(why):
    "A reason without names and numbers."
    why = re.sub(r"(?s).*ERROR (\d+) .*?: ", r"\1 ", why)
    why = re.sub(r"of table .*?([,:])", r"of table _\1", why)
    return re.sub(r"'.*?'|`.*?`|\"[^\"]*\"|[\d,]+|/\S+", "_", " ".join(why.split()))[:110]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, nargs="?", default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", help="a folder for cases that end badly, made smaller")
    parser.add_argument("--show", action="store_true", help="print the dump of the seed")
    asked = parser.parse_args()
    if asked.show:
        print(write(asked.seed).found().decode(errors="replace"))
        return
    start = time.monotonic()
    with site.database() as url, tempfile.TemporaryDirectory() as folder:
        done = Fuzz(url, folder, asked.keep).run(range(asked.seed, asked.seed + asked.count))
    for counted in (done.ends, done.reasons):
        for what, n in counted.most_common(40):
            print(f"{n:>7,}  {what}")
    print(f"{time.monotonic() - start:.0f} s; badly: {[*done.bad][:50]}")


if __name__ == "__main__":
    main()
