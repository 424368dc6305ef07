"""A monthly run at the size of the real site: 470,000 stills, 10,000 of them new, champion there,
embeddings of the old ones cached.

    python benchmarks/retrain.py [SITE_SQL] [--quick] [--new 10000] [--folder DIR] [--stills FOLDER]

SITE_SQL is a dump with the site's tables; without it a site of 2,000 stills is drawn, 200 of them
new, and `--quick` draws 500. The stills of the dump do not exist, so the old ones are made up where
they would not be looked at: each is a file of a few bytes, and its embedding in the cache a random
vector with the mean and deviation of real ones. Everything else is real: the new pictures are files
of their own that are read, decoded and embedded; both months are read from dumps, imported,
trained, judged, decided and reported by `retrain`. There is no peer. The month runs in a process of
its own, whose peak memory is told.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from movie_tagger import features
from movie_tagger.core import sha256
from movie_tagger.features import embeddings
from movie_tagger.images import find_images
from movie_tagger.ledger.ledger import Ledger
from movie_tagger.sample.make import draw_stills
from movie_tagger.tags import read_dump

PLAN = """
ledger = "ledger.db"
models = "models"
rules = "rules.toml"
sensitive = ["blood", "nudity"]
[source]
dump = "export"
[pictures]
folder = "pictures"
[train]
most = {most}
[promises]
blood = 0.95
"""


def month(folder, tables, until):
    "Writes the site as it is when `until` stills are there."
    (folder / "export").mkdir(exist_ok=True)
    shots, tags = tables["shots"], tables["tags"]
    shots[shots["id"] <= until].to_csv(folder / "export" / "shots.csv", index=False, na_rep="NULL")
    tags[tags["ref_id"] <= until].to_csv(folder / "export" / "tags.csv", index=False, na_rep="NULL")


def make_up(folder, shots, stills, new):
    "Pictures, fingerprints and embeddings of a site: the last `new` stills are real files."
    real, pictures = find_images(stills), folder / "pictures"
    pictures.mkdir()
    names = shots["shot_image_id"].dropna().tolist()
    old, fresh = names[:-new], names[-new:]
    for name in old:
        (pictures / name).write_text(name)
    # a JPEG ends before that
    for i, name in enumerate(fresh):
        (pictures / name).write_bytes(real[i % len(real)].read_bytes() + f"still {i}".encode())
    films = shots.dropna(subset="shot_image_id").set_index("shot_image_id")["movie_id"]
    columns = {
        "path": [str(pictures / n) for n in old],
        "sha256": [sha256(name.encode()) for name in old],
        "source": "import:site",
        "group": films.reindex(old).astype(str).to_numpy(),
    }
    items = pd.DataFrame(columns, index=pd.Index(old, name="item"))
    with Ledger(folder / "ledger.db") as ledger:
        ledger.add(items, "import:site", "made up")
    x, _ = features.embed([str(p) for p in real[:500]])
    rng = np.random.default_rng(0)
    cache = embeddings.Cache(features.export("lite0"))
    for start in range(0, len(old), 20_000):
        keys = items["sha256"].iloc[start : start + 20_000].tolist()
        rows = rng.normal(x.mean(0), x.std(0), (len(keys), x.shape[1]))
        cache.keep(keys, rows.astype(np.float32))


RUN = """
import json, resource, sys, time
from datetime import datetime
from movie_tagger import retrain

took, once = {}, retrain.Marks.once


def timed(marks, step, work):
    start = time.perf_counter(), time.process_time()
    found = once(marks, step, work)
    clock, cpu = time.perf_counter() - start[0], time.process_time() - start[1]
    took[step] = [round(clock, 1), round(cpu, 1)]
    return found


retrain.Marks.once, start = timed, time.perf_counter()
run = retrain.retrain(retrain.read_plan(sys.argv[1]), datetime.fromisoformat(sys.argv[2]))
told = {
    "outcome": run.outcome,
    "says": run.says,
    "seconds": time.perf_counter() - start,
    "cpu": time.process_time(),
    "steps": took,
    "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    "failed": [v["says"] for v in run.verdicts if not v["passed"]],
}
print(json.dumps(told))
"""
FIRST, SECOND = "2026-01-01T04:00:00+00:00", "2026-02-01T04:00:00+00:00"


def run(folder, when, most):
    "A month in a process of its own, which learns from at most `most` stills; what it tells."
    (folder / "retrain.toml").write_text(PLAN.format(most=most))
    command = [sys.executable, "-c", RUN, str(folder / "retrain.toml"), when]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"The month of {when[:7]} ended with {done.returncode}.")
    result = json.loads(done.stdout.splitlines()[-1])
    print(json.dumps(result), flush=True)
    if result["outcome"] == "refused":
        sys.exit(f"The month of {when[:7]} was refused: {result['says']}")
    return result


def two_months(folder, dump, stills, args):
    "Last month, in a hurry, and this one: what it tells, how many stills there are, the manifest."
    columns = {
        "shots": ["id", "shot_image_id", "movie_id"],
        "tags": ["id", "value", "ref_id", "user_id"],
    }
    tables = read_dump(dump, columns=columns)
    start, count = time.perf_counter(), len(tables["shots"])
    make_up(folder, tables["shots"], stills, args.new)
    print(f"made up in {time.perf_counter() - start:.0f} s", flush=True)
    exclude = '["awesome upload", "sotd", "couple", "rejected once"]'
    (folder / "rules.toml").write_text(f"min_count = {args.min_count}\nexclude = {exclude}\n")
    month(folder, tables, count - args.new)
    run(folder, FIRST, 10_000)
    month(folder, tables, count)
    told = run(folder, SECOND, args.most)
    manifest = folder / "models" / "2026-02-01T0400Z" / "manifest.json"
    return told, count, json.loads(manifest.read_text())


NAMES = {
    "data": "read the site, check it, embed what is new, into the ledger",
    "trained": "read what is known, train, save",
    "judged": "judge both on the films set apart",
    "decided": "promote or keep",
    "reported": "report",
    "told": "tell",
}


def lines(told, count, manifest, new):
    steps = [f"| {NAMES[k]} | {a:.0f} s | {b:.0f} s |" for k, (a, b) in told["steps"].items()]
    return [
        f"{count:,} stills, {new:,} of them new; learnt from {manifest['data']['pictures']:,} "
        f"stills and {len(manifest['tags'])} tags. The old stills' embeddings are random vectors "
        f"in the cache, so that the model's quality says nothing; outcome: {told['outcome']}.",
        "",
        "| step | took | of that processor |",
        "|---|---|---|",
        *steps,
        f"| **the whole run** (goal ≤ 20 minutes) | **{told['seconds'] / 60:.1f} minutes** | "
        f"{told['cpu'] / 60:.1f} minutes |",
        "",
        f"Peak memory {told['peak']:.1f} GB.",
    ]


def arguments():
    parse = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parse.add_argument("dump", type=Path, nargs="?", help="without it a small site is drawn")
    parse.add_argument("--quick", action="store_true", help="a drawn site of 500 stills")
    parse.add_argument("--new", type=int, help="stills that are new; 10,000 of a dump, or a tenth")
    parse.add_argument("--stills", type=Path, help="pictures that stand for those of the dump")
    parse.add_argument("--folder", type=Path, help="an empty folder with 8 GB of room")
    parse.add_argument("--most", type=int, default=200_000)
    parse.add_argument("--min-count", type=int, help="500 of a dump, 20 of a drawn site")
    args = parse.parse_args()
    if args.dump and not args.dump.exists():
        parse.error(f"there is no dump {args.dump}")
    args.drawn = 500 if args.quick else 0 if args.dump else 2000
    args.new = args.new or (args.drawn // 10 if args.drawn else 10_000)
    args.min_count = args.min_count or (20 if args.drawn else 500)
    return args


def main():
    args = arguments()
    folder = args.folder or Path(tempfile.mkdtemp())
    folder.mkdir(exist_ok=True)
    encoders = features.export("lite0").parent
    os.environ["MOVIE_TAGGER_CACHE"] = str(folder / "cache")
    shutil.copytree(encoders, folder / "cache" / "encoders")
    dump, stills = args.dump, args.stills
    try:
        if args.drawn:
            draw_stills(folder / "drawn", args.drawn, args.drawn // 3, seed=1, keep=0.7)
            dump = folder / "drawn" / "export"
        if not stills:
            # of a dump, drawn ones would do as well as real ones: each is only decoded
            if not (folder / "drawn").exists():
                draw_stills(folder / "drawn", 500, 160, seed=1)
            stills = folder / "drawn" / "images"
        told, count, manifest = two_months(folder, dump, stills, args)
    finally:
        if not args.folder:
            shutil.rmtree(folder)
    from common import report  # it loads torch

    report("Retrain: a month, timed", lines(told, count, manifest, args.new))


if __name__ == "__main__":
    main()
