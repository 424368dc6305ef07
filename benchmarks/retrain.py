"""A monthly run at the size of the real site: 470,000 stills, 10,000 of them new, champion there, embeddings of the
old ones cached.

    python benchmarks/retrain.py SITE_SQL [--new 10000] [--folder DIR] [--stills FOLDER]

SITE_SQL is a dump with the site's tables. The stills of the dump do not exist, so the old ones are made up where they
would not be looked at: their files are links to a few real ones, their fingerprints in the ledger are numbers, and
their embeddings in the cache are random vectors with the mean and deviation of real ones. Everything else is real:
the new pictures are files of their own that are read, decoded and embedded; both months are read from dumps,
imported, trained, judged, decided and reported by `retrain`. There is no peer. The month runs in a process of its
own, whose peak memory is told.
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
from movie_tagger.features import embeddings
from movie_tagger.images import find_images
from movie_tagger.ledger.ledger import Ledger
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
    for i, name in enumerate(old):
        os.symlink(real[i % len(real)], pictures / name)
    # a JPEG ends before that
    for i, name in enumerate(fresh):
        (pictures / name).write_bytes(real[i % len(real)].read_bytes() + f"still {i}".encode())
    items = pd.DataFrame(
        {
            "path": [str(pictures / n) for n in old],
            "sha256": [f"{i:064x}" for i in range(len(old))],
            "source": "import:site",
            "group": shots.dropna(subset="shot_image_id")
            .set_index("shot_image_id")["movie_id"]
            .reindex(old)
            .astype(str)
            .to_numpy(),
        },
        index=pd.Index(old, name="item"),
    )
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
from movie_tagger.retrain.plan import read_plan
took, once = {}, retrain.Marks.once
def timed(marks, step, work):
    start = time.perf_counter(), time.process_time()
    found = once(marks, step, work)
    took[step] = [round(time.perf_counter() - start[0], 1), round(time.process_time() - start[1], 1)]
    return found
retrain.Marks.once, start = timed, time.perf_counter()
run = retrain.retrain(read_plan(sys.argv[1]), datetime.fromisoformat(sys.argv[2]), accept=len(sys.argv) > 3)
print(json.dumps({"outcome": run.outcome, "says": run.says, "seconds": time.perf_counter() - start, "cpu": time.process_time(), "steps": took,
                  "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, "failed": [v["says"] for v in run.verdicts if not v["passed"]]}))
"""


def run(folder, when, *more):
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(folder / "retrain.toml"), when, *more],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    result = json.loads(done.stdout.splitlines()[-1])
    print(json.dumps(result), flush=True)
    return result


def main():
    parse = argparse.ArgumentParser(description=__doc__)
    parse.add_argument("dump", type=Path)
    parse.add_argument("--new", type=int, default=10_000)
    parse.add_argument(
        "--stills", type=Path, default=Path(os.environ.get("MOVIE_TAGGER_DATA", ".")) / "stills"
    )
    parse.add_argument(
        "--folder", type=Path, help="an empty folder with 8 GB of room; a temporary one by default"
    )
    parse.add_argument("--most", type=int, default=200_000)
    parse.add_argument("--min-count", type=int, default=500)
    args = parse.parse_args()
    folder = args.folder or Path(tempfile.mkdtemp())
    folder.mkdir(exist_ok=True)
    encoders = features.export("lite0").parent
    os.environ["MOVIE_TAGGER_CACHE"] = str(folder / "cache")
    shutil.copytree(encoders, folder / "cache" / "encoders")
    try:
        tables = read_dump(
            args.dump,
            columns={
                "shots": ["id", "shot_image_id", "movie_id"],
                "tags": ["id", "value", "ref_id", "user_id"],
            },
        )
        shots = len(tables["shots"])
        start = time.perf_counter()
        make_up(folder, tables["shots"], args.stills, args.new)
        print(f"made up in {time.perf_counter() - start:.0f} s", flush=True)
        (folder / "rules.toml").write_text(
            f'min_count = {args.min_count}\nexclude = ["awesome upload", "sotd", '
            '"couple", "rejected once"]\n'
        )
        month(folder, tables, shots - args.new)
        (folder / "retrain.toml").write_text(
            PLAN.format(most=10_000)
        )  # last month's champion, made in a hurry
        run(folder, "2026-01-01T04:00:00+00:00")
        month(folder, tables, shots)
        (folder / "retrain.toml").write_text(PLAN.format(most=args.most))
        r = run(folder, "2026-02-01T04:00:00+00:00")
        manifest = json.loads(
            (folder / "models" / "2026-02-01T0400Z" / "manifest.json").read_text()
        )
    finally:
        if not args.folder:
            shutil.rmtree(folder)
    from common import report  # it loads torch

    names = {
        "data": "read the site, check it, embed what is new, into the ledger",
        "trained": "read what is known, train, save",
        "judged": "judge both on the films set apart",
        "decided": "promote or keep",
        "reported": "report",
        "told": "tell",
    }
    report(
        "Retrain: a month at the real site's size",
        [
            f"{shots:,} stills, {args.new:,} of them new; learnt from {manifest['data']['pictures']:,} stills and "
            f"{len(manifest['tags'])} tags. The old stills' embeddings are random vectors "
            f"in the cache, so that the model's quality says nothing; outcome: {r['outcome']}.",
            "",
            "| step | took | of that processor |",
            "|---|---|---|",
            *(
                f"| {names[step]} | {clock:.0f} s | {cpu:.0f} s |"
                for step, (clock, cpu) in r["steps"].items()
            ),
            f"| **the whole run** (goal ≤ 20 minutes) | **{r['seconds'] / 60:.1f} minutes** | "
            f"{r['cpu'] / 60:.1f} minutes |",
            "",
            f"Peak memory {r['peak']:.1f} GB.",
        ],
    )


if __name__ == "__main__":
    main()
