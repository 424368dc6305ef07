"""A site's dump to the CSV to train on: the write-up's route against ours, and the live database.

    python benchmarks/tags.py [SCALE] [--rounds 3] [--stills 50000] [--quick]

SCALE is a folder with site.sql, a row a line, and site_oneline.sql; without it a site is made up
here, of so many stills. Each run is a process of its own, from its start to its end; rounds
alternate between the contestants, the median time and the highest peak memory count. The write-up's
route is a line-by-line converter of the kind that everybody finds with a search engine, then
pandas. Corrections that the reference needs to reach the same table: it reads the row-a-line layout
of today's MariaDB at all; it knows that NULL is no text; it undoes the escape of a line break.
`--quick` shows that everything runs; its numbers say nothing.
"""

import argparse
import csv
import json
import re
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

RULES = {
    "merge": {
        "phone": ["telephone", "phones"],
        "airplane": ["plane", "aeroplane"],
        "redhead": ["red head", "redhaired", "red-head"],
        "b/w": ["black and white", "b&w"],
        "tv": ["television"],
        "gun": ["guns", "pistol"],
    },
    "exclude": ["awesome upload", "sotd", "couple", "feature film", "rejected once"],
    "min_count": 500,
}


# --- the write-up's route


def convert(dump, folder):
    "INSERT statements to CSV files, line by line and value by value."
    writers, files, table = {}, [], None
    with open(dump, encoding="utf-8", newline="") as lines:
        for line in lines:
            if line.startswith("INSERT INTO"):
                table, values = line.split("`")[1], line.partition("VALUES")[2].strip()
                if table not in writers:
                    files.append(open(folder / f"{table}.csv", "w", encoding="utf-8", newline=""))
                    writers[table] = csv.writer(files[-1])
            elif line.startswith("(") and table:
                values = line.strip()
            else:
                continue
            if values:
                write_rows(values, writers[table])
    for file in files:
        file.close()


def write_rows(values, writer):
    "What the well-known script does: a CSV reader over the line; parentheses tell rows apart."
    row = []
    line = values.rstrip(";").replace("\\n", "\n")
    dialect = dict(delimiter=",", doublequote=False, escapechar="\\", quotechar="'", strict=False)
    for cell in next(csv.reader([line], **dialect)):
        if not row and cell.startswith("("):
            cell = cell[1:]
        elif len(row) == 0 and not cell:
            continue
        if len(row) == 5 and cell.endswith(")"):
            writer.writerow([*row, cell[:-1]])
            row = []
        else:
            row.append("" if cell == "NULL" else cell)


def theirs(dump, out):
    import pandas as pd

    folder = out.parent
    convert(dump, folder)
    times = ["user_id", "created_at", "updated_at"]
    shots = pd.read_csv(folder / "shots.csv", names=["id", "shot_image_id", "movie_id", *times])
    tags = pd.read_csv(folder / "tags.csv", names=["id", "value", "ref_id", *times])
    merge = {raw: tag for tag, raws in RULES["merge"].items() for raw in raws}
    tags["value"] = tags["value"].str.lower().str.strip().replace(merge)
    unfit = tags["value"].isin(RULES["exclude"]) | tags["value"].str.contains(",", na=True)
    tags = tags[tags["value"].notna() & ~unfit].drop_duplicates(["ref_id", "value"])
    there = shots.dropna(subset="shot_image_id")[["id", "shot_image_id", "movie_id"]]
    tags = tags.merge(there, left_on="ref_id", right_on="id")
    many = tags["value"].value_counts()
    tags = tags[tags["value"].isin(many.index[many >= RULES["min_count"]])]
    table = (
        tags.sort_values(["ref_id", "value"])
        .groupby("ref_id")
        .agg(
            image=("shot_image_id", "first"), tags=("value", ", ".join), group=("movie_id", "first")
        )
    )
    table.rename_axis("id").reset_index().to_csv(out, index=False)


# --- ours


def ours(source, out):
    from movie_tagger import tags

    site = tags.read_site(source)
    clean, _ = tags.clean_tags(site.pop("tags"), tags.read_rules(RULES), site["shots"])
    tags.write_table(out, tags.tag_table(site["shots"], clean))


def select(url):
    "What the driver alone takes for the same columns."
    import pymysql
    from sqlalchemy import make_url

    from movie_tagger.tags import SITE

    at = make_url(url)
    connection = pymysql.connect(
        host=at.host,
        port=at.port,
        user=at.username,
        password=at.password,
        database=at.database,
        cursorclass=pymysql.cursors.SSCursor,
    )
    with connection, connection.cursor() as cursor:
        for table, columns in SITE.items():
            cursor.execute(f"SELECT {', '.join(columns)} FROM {table}")
            while cursor.fetchmany(20_000):
                pass


# --- the race


def peak():
    "The largest resident size of this process in MB. (Linux's ru_maxrss would count the parent's.)"
    if sys.platform != "linux":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


def run(route, *args):
    "Seconds on the clock, CPU seconds and peak MB of a route in a process of its own."
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, __file__, "--route", route, *map(str, args)],
        check=True,
        capture_output=True,
        text=True,
    )
    return time.perf_counter() - start, *json.loads(done.stdout)


def row(source, name, runs, than, note):
    "A line of the table: medians of a route, and of the route it is compared with."
    clock, cpu, mb = zip(*runs)
    other_clock, other_cpu, _ = (median(column) for column in zip(*than))
    return (
        f"| {source} | {name} | {median(clock):.2f} | {median(cpu):.2f} | {max(mb):.0f} | "
        f"{other_clock / median(clock):.2f} | {other_cpu / median(cpu):.2f} | {note} |"
    )


def same(a, b):
    "Do two tables hold the same stills, tags and films?"
    import pandas as pd

    a, b = (pd.read_csv(p, dtype=str).sort_values("id", ignore_index=True) for p in (a, b))
    tags, others = (t["tags"].str.split(", ").map(sorted) for t in (a, b))
    alike = a[["id", "image"]].equals(b[["id", "image"]]) and tags.equals(others)
    return "yes" if alike and a["group"].astype(float).equals(b["group"].astype(float)) else "NO"


def race(contestants, rounds):
    "Name → the runs of each contestant, in turn; a contestant is a route and its arguments."
    runs = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, route in contestants.items():
            runs[name].append(run(*route))
    return runs


def from_dumps(scale, work, rounds):
    "Lines of the table for both layouts of the dump."
    for layout in ("site.sql", "site_oneline.sql"):
        out = {name: work / name / "tags.csv" for name in ("theirs", "ours")}
        routes = {name: (name, scale / layout, path) for name, path in out.items()}
        runs = race(routes, rounds)
        for name in runs:
            yield row(layout, name, runs[name], runs["theirs"], same(out["theirs"], out[name]))


def from_database(scale, work, rounds):
    "Lines of the table for the same site in a live database."
    from movie_tagger.sample import site

    out = work / "live" / "tags.csv"
    bare, whole = "SELECT of the same columns through the driver", "ours, to the same CSV"
    with site.database(scale / "site.sql") as url:
        runs = race({bare: ("select", url), whole: ("ours", url, out)}, rounds)
    yield row("live MariaDB", bare, runs[bare], runs[bare], "")
    yield row("live MariaDB", whole, runs[whole], runs[bare], same(work / "ours/tags.csv", out))


def make_up(folder, stills):
    "Both layouts of a dump of a site whose tags are drawn by lot; it has no pictures."
    import numpy as np
    import pandas as pd

    from movie_tagger.sample.make import lazy_tags, sql_dump
    from movie_tagger.sample.scenes import TAGS

    r = np.random.default_rng(0)
    names = [f"{i:06}.jpg" for i in range(stills)]
    chance = np.linspace(0.05, 0.4, len(TAGS))
    yes = r.random((stills, len(TAGS))) < chance
    seen = [", ".join(tag for tag, there in zip(TAGS, still) if there) for still in yes]
    typed, _ = lazy_tags(pd.DataFrame({"id": names, "tags": seen}))
    shots = pd.DataFrame({"shot_image_id": names, "movie_id": np.arange(stills) // 15 + 1})
    (folder / "export").mkdir(parents=True)
    for name, table in {"shots": shots, "tags": typed}.items():
        table.insert(0, "id", range(1, len(table) + 1))
        table = table.assign(user_id=1, created_at="2020-01-01", updated_at="2020-01-01")
        table.to_csv(folder / "export" / f"{name}.csv", index=False)
    text = sql_dump(folder).read_text(encoding="utf-8")
    oneline = text.replace("VALUES\n(", "VALUES (").replace("),\n(", "),(")
    (folder / "site_oneline.sql").write_text(oneline, encoding="utf-8")
    return folder


def arguments():
    parse = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parse.add_argument("scale", nargs="?", type=Path)
    parse.add_argument("--rounds", type=int, default=3)
    parse.add_argument("--stills", type=int, default=50_000, help="of a site that is made up")
    parse.add_argument("--quick", action="store_true", help="one round of a small site")
    parse.add_argument("--route", nargs="+", help=argparse.SUPPRESS)
    return parse.parse_args()


def main():
    args = arguments()
    if args.route:
        name, source, *out = args.route
        {"theirs": theirs, "ours": ours, "select": select}[name](source, *map(Path, out))
        return print(json.dumps([time.process_time(), peak()]))
    import tempfile

    from common import report

    from movie_tagger.sample import site

    rounds, stills = (1, 5_000) if args.quick else (args.rounds, args.stills)
    scale, said = args.scale, "the site"
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        for name in ("theirs", "ours", "live"):
            (work / name).mkdir()
        if scale is None:
            scale, said = make_up(work / "site", stills), f"a site of {stills:,} stills, made up"
        size = (scale / "site.sql").stat().st_size / 1e6
        lines = list(from_dumps(scale, work, rounds))
        if site.has_database():
            lines += from_database(scale, work, rounds)
        else:
            print("No MariaDB server is installed here: the live database is left out.")
    head = (
        "| from | route | seconds | CPU seconds | peak MB "
        "| times faster | in CPU seconds | same table |"
    )
    report(
        "Tags: a site's dump to the table to train on",
        [
            f"{said[0].upper()}{said[1:]}, {size:.0f} MB, {rounds} rounds; "
            "`theirs` is the write-up's route.",
            "",
            head,
            "|---|---|---|---|---|---|---|---|",
            *lines,
        ],
    )


if __name__ == "__main__":
    main()
