"""The ledger at a tenth of the real site's size, or at all of it: import, labels, one decision,
undo of a batch, an earlier version.

    python benchmarks/ledger.py [--site | --quick] [--items N] [--said N] [--tags N] [--folder DIR]

There is no peer that keeps who said what; beside each time stands the plainest way that keeps
nothing but the present: the same table as a CSV through pandas. Each part runs in a process of its
own, so that its peak memory is its own; the peak of importing the libraries alone is printed too.
"""

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from movie_tagger.ledger.ledger import Ledger


def site(items, said, tags, seed=0):
    "Items and tags as a site would hold them: a tag's frequency falls as 1/rank."
    rng = np.random.default_rng(seed)
    names = pd.Index(
        [f"{i}_{x:x}.jpg" for i, x in enumerate(rng.integers(1 << 40, size=items))], name="item"
    )
    frame = pd.DataFrame(
        {
            "path": "/pictures/" + names,
            "sha256": [f"{x:064x}" for x in range(items)],
            "group": rng.integers(1, 30001, items).astype(str),
            "source": "site.sql",
            "error": None,
        },
        index=names,
    )
    share = 1 / np.arange(1, tags + 1) ** 0.85
    still = rng.integers(items, size=2 * said)
    tag = rng.choice(tags, 2 * said, p=share / share.sum())
    pairs = np.unique(still * tags + tag)
    pairs = np.sort(rng.permutation(pairs)[:said])
    return frame, pd.DataFrame(
        {
            "item": names[pairs // tags],
            "tag": np.array([f"tag {t}" for t in range(tags)], object)[pairs % tags],
            "state": True,
        }
    )


def seconds(f, *args, **kwargs):
    "Seconds on the clock, what came back; the processor's seconds add up in CPU."
    start, cpu = time.perf_counter(), time.process_time()
    done = f(*args, **kwargs)
    CPU.append(time.process_time() - cpu)
    return time.perf_counter() - start, done


CPU = []


def part_nothing(folder, args):
    return {}


def part_write(folder, args):
    items, said = site(args.items, args.said, args.tags)
    with Ledger(folder / "ledger.db") as ledger:
        took, events = seconds(ledger.sync, items, said, "import:site.sql", "first")
    return {"seconds": took, "events": events, "MB": (folder / "ledger.db").stat().st_size / 1e6}


def part_again(folder, args):
    items, said = site(args.items, args.said, args.tags)
    with Ledger(folder / "ledger.db") as ledger:
        took, events = seconds(ledger.sync, items, said, "import:site.sql", "second")
    return {"seconds": took, "events": events}


def part_labels(folder, args):
    with Ledger(folder / "ledger.db") as ledger:
        took, labels = seconds(ledger.labels)
    assert labels.shape == (args.items, args.tags) and int(labels.sum().sum()) == args.said
    return {"seconds": took}


def part_decisions(folder, args):
    with Ledger(folder / "ledger.db") as ledger:
        names = ledger.items().index[:: max(1, args.items // 500)]
        times = [
            seconds(ledger.set, name, "tag 1", k % 2 == 0, "curator:anna")[0]
            for k, name in enumerate(names)
        ]
    return {"median": statistics.median(times), "p95": float(np.quantile(times, 0.95))}


def part_undos(folder, args):
    "Decisions taken back one by one, with a thousand undone batches behind them."
    with Ledger(folder / "ledger.db") as ledger:
        names = ledger.items().index[:1000]
        for k, name in enumerate(names):
            cell = pd.DataFrame({"item": [name], "tag": "tag 2", "state": False})
            ledger.decide(cell, "api:site", batch=f"feedback {k}")
            ledger.undo("api:site", batch=f"feedback {k}")
        times = [seconds(ledger.undo, "curator:anna")[0] for _ in range(100)]
    return {"median": statistics.median(times), "p95": float(np.quantile(times, 0.95))}


def part_undo(folder, args):
    with Ledger(folder / "ledger.db") as ledger:
        names = ledger.items().index[:10_000]
        batch = pd.DataFrame({"item": names, "tag": "tag 3", "state": False})
        wrote, _ = seconds(ledger.decide, batch, "curator:anna", batch="a slip")
        took, back = seconds(ledger.undo, "curator:anna", batch="a slip")
        redone = ledger.undo("curator:anna", event=ledger.version)
    assert back == redone == len(names)
    return {"wrote": wrote, "seconds": took}


def part_version(folder, args):
    with Ledger(folder / "ledger.db") as ledger:
        took, labels = seconds(ledger.labels, ledger.version)
    return {"seconds": took}


def part_rules(folder, args):
    merge = "\n".join(f'"tag {k}" = ["tag {k + 100}"]' for k in range(50))
    with Ledger(folder / "ledger.db") as ledger:
        took, labels = seconds(ledger.labels, rules=f"min_count = 500\n[merge]\n{merge}\n")
    return {"seconds": took, "tags": labels.shape[1]}


def part_backup(folder, args):
    with Ledger(folder / "ledger.db") as ledger:
        return {"seconds": seconds(ledger.backup, folder / "backup.db")[0]}


def part_csv(folder, args):
    "The plainest way: one row a still, tags joined; read back and split into columns."
    items, said = site(args.items, args.said, args.tags)

    def write():
        table = items.assign(tags=said.groupby("item")["tag"].agg(", ".join)).fillna({"tags": ""})
        table.to_csv(folder / "tags.csv")

    def read():
        return pd.read_csv(folder / "tags.csv", keep_default_na=False)["tags"].str.get_dummies(", ")

    return {"write": seconds(write)[0], "read": seconds(read)[0]}


PARTS = [
    "nothing",
    "write",
    "again",
    "labels",
    "decisions",
    "undos",
    "undo",
    "version",
    "rules",
    "backup",
    "csv",
]


def run(part, folder, args):
    done = subprocess.run(
        [
            sys.executable,
            __file__,
            "--part",
            part,
            "--folder",
            str(folder),
            "--items",
            str(args.items),
            "--said",
            str(args.said),
            "--tags",
            str(args.tags),
        ],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    result = json.loads(done.stdout.splitlines()[-1])
    print(part, {k: round(v, 4) for k, v in result.items()}, flush=True)
    return result


def main():
    parse = argparse.ArgumentParser(description=__doc__)
    parse.add_argument("--site", action="store_true", help="470,000 items and 930,000 tags")
    parse.add_argument("--quick", action="store_true", help="5,000 items and 10,000 tags")
    parse.add_argument("--items", type=int, default=47_000)
    parse.add_argument("--said", type=int, default=93_000)
    parse.add_argument("--tags", type=int, default=400)
    parse.add_argument(
        "--folder", type=Path, help="where the ledger is written; a temporary folder by default"
    )
    parse.add_argument("--part", choices=PARTS, help="only for the script's own processes")
    parse.add_argument("--only", nargs="*", choices=PARTS)
    args = parse.parse_args()
    if args.quick:
        args.items, args.said = 5_000, 10_000
    if args.site:
        args.items, args.said = 470_000, 930_000
    if args.part:
        result = globals()[f"part_{args.part}"](args.folder, args)
        result["cpu"] = sum(CPU)
        result["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(result))
        return
    folder = args.folder or Path(tempfile.mkdtemp())
    folder.mkdir(exist_ok=True)
    try:
        r = {part: run(part, folder, args) for part in args.only or PARTS}
    finally:
        if not args.folder:
            shutil.rmtree(folder)
    if not args.only:
        tell(args, r)


def tell(args, r):
    "Prints what was measured, `r`, a part's name to its numbers."
    from common import report  # it loads torch

    def row(what, took, goal, part, cpu=True):
        busy = f"{r[part]['cpu']:.1f} s" if cpu else "–"
        return f"| {what} | {took} | {busy} | {goal} | {r[part]['peak']:.0f} MB |"

    report(
        "Ledger",
        [
            f"{args.items:,} items, {args.said:,} uses of {args.tags} tags; "
            f"{r['write']['events']:,} events, a file of {r['write']['MB']:.0f} MB; "
            "`synchronous = FULL`. The goals are those of the site's size, 470,000 items. "
            "Peak memory is the whole process's, of which Python and the libraries are "
            f"{r['nothing']['peak']:.0f} MB; where items and tags are made up first, "
            "that is in it.",
            "",
            "| what | took | of that processor | goal | peak |",
            "|---|---|---|---|---|",
            row("import: items and tags", f"{r['write']['seconds']:.1f} s", "≤ 30 s", "write"),
            row(
                f"the same import again ({r['again']['events']} events)",
                f"{r['again']['seconds']:.1f} s",
                "–",
                "again",
            ),
            row(
                f"`labels()`, {args.tags} tags",
                f"{r['labels']['seconds']:.1f} s",
                "≤ 10 s, ≤ 1 GB",
                "labels",
            ),
            row(
                "`labels()` with rules: 50 merges, min_count 500",
                f"{r['rules']['seconds']:.1f} s",
                "–",
                "rules",
            ),
            row(
                "`labels(version)`, all events replayed",
                f"{r['version']['seconds']:.1f} s",
                "–",
                "version",
            ),
            row(
                "one decision, median (95 % of them)",
                f"{r['decisions']['median'] * 1e3:.1f} ms ({r['decisions']['p95'] * 1e3:.1f} ms)",
                "≤ 5 ms",
                "decisions",
                False,
            ),
            row(
                "undo of one decision, median (95 % of them)",
                f"{r['undos']['median'] * 1e3:.1f} ms ({r['undos']['p95'] * 1e3:.1f} ms)",
                "≤ 50 ms",
                "undos",
                False,
            ),
            row("a batch of 10,000 decisions", f"{r['undo']['wrote']:.2f} s", "–", "undo", False),
            row("undo of that batch", f"{r['undo']['seconds']:.2f} s", "≤ 1 s", "undo", False),
            row("backup", f"{r['backup']['seconds']:.1f} s", "–", "backup"),
            row(
                "for comparison: present only, a CSV written with pandas",
                f"{r['csv']['write']:.1f} s",
                "–",
                "csv",
                False,
            ),
            row(
                "… and read with `str.get_dummies`", f"{r['csv']['read']:.1f} s", "–", "csv", False
            ),
        ],
    )


if __name__ == "__main__":
    main()
