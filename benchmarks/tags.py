"""A site's dump (470,000 stills, 930,000 tags, 111 MB) to the CSV to train on: the write-up's route against ours; and
the same from the live database.

    python benchmarks/tags.py SCALE [--rounds 3] [--live]

SCALE is the folder that site_at_scale.py wrote (site.sql, a row a line; site_oneline.sql). Each run is a process of
its own, from its start to its end; rounds alternate between the contestants, the median time and the highest peak
memory count. The write-up's route is a line-by-line converter of the kind that everybody finds with a search engine,
then pandas. Corrections that the reference needs to reach the same table: it reads the row-a-line layout of today's
MariaDB at all; it knows that NULL is no text; it undoes the escape of a line break.
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
    "What the well-known script does: a CSV reader over the line, with rows told apart by their parentheses."
    row = []
    cells = next(
        csv.reader(
            [values.rstrip(";").replace("\\n", "\n")],
            delimiter=",",
            doublequote=False,
            escapechar="\\",
            quotechar="'",
            strict=False,
        )
    )
    for cell in cells:
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
    tags["value"] = (
        tags["value"]
        .str.lower()
        .str.strip()
        .replace({raw: tag for tag, raws in RULES["merge"].items() for raw in raws})
    )
    tags = tags[
        tags["value"].notna()
        & ~tags["value"].isin(RULES["exclude"])
        & ~tags["value"].str.contains(",", na=True)
    ]
    tags = tags.drop_duplicates(["ref_id", "value"]).merge(
        shots.dropna(subset="shot_image_id")[["id", "shot_image_id", "movie_id"]],
        left_on="ref_id",
        right_on="id",
    )
    many = tags["value"].value_counts()
    tags = tags[tags["value"].isin(many.index[many >= RULES["min_count"]])].sort_values(
        ["ref_id", "value"]
    )
    table = tags.groupby("ref_id").agg(
        image=("shot_image_id", "first"), tags=("value", ", ".join), group=("movie_id", "first")
    )
    table.rename_axis("id").reset_index().to_csv(out, index=False)


# --- ours

COLUMNS = {"shots": ["id", "shot_image_id", "movie_id"], "tags": ["value", "ref_id"]}


def ours(source, out):
    from movie_tagger import tags

    live = "://" in str(source)
    site = (
        tags.read_database(source, list(COLUMNS), columns=COLUMNS)
        if live
        else tags.read_dump(source, columns=COLUMNS)
    )
    clean, report = tags.clean_tags(site.pop("tags"), tags.read_rules(RULES), site["shots"])
    tags.write_table(out, tags.tag_table(site["shots"], clean))


def select(url):
    "What the driver alone takes for the same columns."
    import pymysql

    user, password, host, port, name = re.match(
        r"[^:]+://([^:]+):([^@]+)@([^:]+):(\d+)/(\w+)", url
    ).groups()
    with (
        pymysql.connect(
            host=host,
            port=int(port),
            user=user,
            password=password,
            database=name,
            cursorclass=pymysql.cursors.SSCursor,
        ) as connection,
        connection.cursor() as cursor,
    ):
        for table, columns in COLUMNS.items():
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
    other = [median(column) for column in zip(*than)]
    return (
        f"| {source} | {name} | {median(clock):.2f} | {median(cpu):.2f} | {max(mb):.0f} | "
        f"{other[0] / median(clock):.2f} | {other[1] / median(cpu):.2f} | {note} |"
    )


def same(a, b):
    "Do two tables hold the same stills, tags and films?"
    import pandas as pd

    a, b = (pd.read_csv(p, dtype=str).sort_values("id", ignore_index=True) for p in (a, b))
    tags = [t["tags"].str.split(", ").map(sorted) for t in (a, b)]
    return (
        a[["id", "image"]].equals(b[["id", "image"]])
        and tags[0].equals(tags[1])
        and a["group"].astype(float).equals(b["group"].astype(float))
    )


def main():
    parse = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parse.add_argument("scale", nargs="?", type=Path)
    parse.add_argument("--rounds", type=int, default=3)
    parse.add_argument(
        "--live",
        action="store_true",
        help="also load the dump into a private MariaDB and read it from there",
    )
    parse.add_argument("--route", nargs="+", help=argparse.SUPPRESS)
    args = parse.parse_args()
    if args.route:
        name, source, *out = args.route
        {"theirs": theirs, "ours": ours, "select": select}[name](source, *map(Path, out))
        return print(json.dumps([time.process_time(), peak()]))
    import tempfile

    from common import report

    from movie_tagger.sample import site

    lines = [
        "| from | route | seconds | CPU seconds | peak MB | times faster | in CPU seconds | same table |",
        "|---|---|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as work:
        out = {name: Path(work, name, "tags.csv") for name in ("theirs", "ours", "live")}
        for path in out.values():
            path.parent.mkdir()
        for layout in ("site.sql", "site_oneline.sql"):
            runs = {name: [] for name in ("theirs", "ours")}
            for _ in range(args.rounds):
                for name in runs:
                    runs[name].append(run(name, args.scale / layout, out[name]))
            lines += [
                row(
                    layout,
                    name,
                    runs[name],
                    runs["theirs"],
                    "yes" if same(out["theirs"], out[name]) else "NO",
                )
                for name in runs
            ]
        if args.live:
            with site.database(args.scale / "site.sql") as url:
                runs = {"select": [], "ours": []}
                for _ in range(args.rounds):
                    runs["select"].append(run("select", url))
                    runs["ours"].append(run("ours", url, out["live"]))
            lines += [
                row(
                    "live MariaDB",
                    "SELECT of the same columns through the driver",
                    runs["select"],
                    runs["select"],
                    "",
                ),
                row(
                    "live MariaDB",
                    "ours, to the same CSV",
                    runs["ours"],
                    runs["select"],
                    "yes" if same(out["ours"], out["live"]) else "NO",
                ),
            ]
    report(
        "Tags: a site's dump to the table to train on",
        [f"{args.rounds} rounds; `theirs` is the write-up's route.", "", *lines],
    )


if __name__ == "__main__":
    main()
