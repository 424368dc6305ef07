"""Finding planted label mistakes: the suspects table against cleanlab on the same probabilities,
and against the highest probability first.

    python benchmarks/suspects.py [--quick] [--seeds 5] [--first-seed 0]
                                  [--sets genre3 posters stills] [--size-only | --no-size]

Three sets, planted anew for each seed: 1. genre3: 10 % of the labels flipped to another class;
2. posters, genres with 25 or more: 10 % of the yes moved to a genre that the poster does not have,
and as many other yes turned to no; 3. stills: 60 % of the yes hidden, everything that is not a yes
unknown; what is ranked are the cells nobody looked at. They are those of MOVIE_TAGGER_DATA; where
it is not set, drawn posters stand for the first and drawn stills for the other two.

Everybody gets the same out-of-fold probabilities, of the built-in head; of the third set, cleanlab
is also shown with those of a head that takes silence for a weak no. `all opinions` also gets
the embeddings that the head was fitted on, `probabilities alone` nothing more. Of cleanlab, each of
its rankings is tried, and the best one on each set is the peer. The size is measured in a process
of its own: 243,000 pictures × 183 tags from given probabilities; its peak includes the input.
`--quick` is one seed, without the posters and the size.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

try:
    from cleanlab import rank
    from cleanlab.multilabel_classification import rank as multilabel_rank
    from cleanlab.multilabel_classification.filter import find_multilabel_issues_per_class
except ImportError:
    sys.exit("The peer is missing: pip install cleanlab")
from common import report
from sklearn.metrics import average_precision_score

from movie_tagger import data, features
from movie_tagger.learn import head
from movie_tagger.sample.make import draw_posters, draw_stills
from movie_tagger.suspects.ranking import suspects

METHODS = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")
WEAK = "cleanlab self_confidence, silence a weak no"
RANKINGS = [(method, False) for method in METHODS] + [(method, True) for method in METHODS[:2]]


# --- the sets: labels with mistakes (n, t), and where they are


def flipped(y, r):
    "One in ten pictures gets another class."
    noisy, t = y.copy(), y.shape[1]
    some = r.permutation(len(y))[: round(0.1 * len(y))]
    other = (y[some].argmax(1) + r.integers(1, t, len(some))) % t
    noisy[some] = np.eye(t)[other]
    return noisy, (noisy != y).any(1)


def moved(y, r):
    "One in ten yes is moved to another tag, and as many are turned to no."
    noisy, yes = y.copy(), r.permutation(np.argwhere(y == 1))
    k = round(0.1 * len(yes))
    for i, j in yes[:k]:
        free = np.flatnonzero((y[i] == 0) & (noisy[i] == 0))
        noisy[i, r.choice(free)] = 1
        noisy[i, j] = 0
    noisy[tuple(yes[k : 2 * k].T)] = 0
    return noisy, noisy != y


def hidden(y, r):
    "Six in ten yes are unknown, and all that is not a yes."
    noisy = np.where((y == 1) & (r.random(y.shape) >= 0.6), 1, np.nan).astype(np.float32)
    return noisy, (y == 1) & np.isnan(noisy)


class Set(NamedTuple):
    table: str  # of MOVIE_TAGGER_DATA
    drawn: str  # "posters" or "stills", where that is not set
    plant: Callable  # (labels, random generator) -> labels with mistakes, and where they are
    absent: str | None = None  # what an absent tag means
    least: int = 2  # yes of a tag


SETS = {
    "genre3": Set("genre3/genres.csv", "posters", flipped),
    "posters": Set("posters/tags.csv", "stills", moved, "no", 25),
    "stills": Set("stills/truth.csv", "stills", hidden, "no"),
}


def pictures_of(of: Set, folder, n):
    "Items and labels of a set; `n` pictures are drawn where there are no real ones."
    real = os.environ.get("MOVIE_TAGGER_DATA")
    if real:
        return data.read(Path(real) / of.table, absent=of.absent)
    drawn = Path(folder, of.drawn)
    if of.drawn == "posters":
        draw_posters(drawn, n, wrong=0, copies=0)
        return data.usable(*data.read(drawn))
    if not drawn.exists():
        draw_stills(drawn, n, films=n // 10)
    return data.usable(*data.read(drawn / "truth.csv", absent="no"))


# --- the contestants: scores of the cells, or pictures, that are ranked


def cleanlab_rankings(y, p, single):
    "Yields a name and scores, (n,) or (n, t), for each way of cleanlab."
    tags = [list(np.flatnonzero(row)) for row in np.nan_to_num(y) == 1]
    for method, adjust in RANKINGS:
        name = f"cleanlab {method}, adjusted" if adjust else f"cleanlab {method}"
        how = {"method": method, "adjust_pred_probs": adjust}
        if single:
            yield name, -rank.get_label_quality_scores(y.argmax(1), p, **how)
        else:
            yield name, -multilabel_rank.get_label_quality_scores_per_class(tags, p, **how)
    if single:
        return
    quality = multilabel_rank.get_label_quality_scores_per_class(tags, p)
    for by in ("prune_by_noise_rate", "confident_learning"):
        issues = np.asarray(find_multilabel_issues_per_class(tags, p, filter_by=by))
        yield f"cleanlab issues by {by} first", 10 * issues - quality


def ours(items, labels, p, x, single):
    "Scores of the suspects table, (n,) or (n, t)."
    table = suspects(items, labels, p, x, pictures=False, most=10**9)
    row = items.index.get_indexer(table["item"])
    if single:
        score = np.full(len(items), -1.0)
        score[row] = table["score"]
        return score
    score = np.full(labels.shape, -1.0)
    score[row, labels.columns.get_indexer(table["tag"])] = table["score"]
    return score


def contest(name, seed, items, labels, x):
    "Average precision, and false ones among the first 200 (genre3: as many as there are mistakes)."
    y, bad = SETS[name].plant(data.to_array(labels), np.random.default_rng([seed, len(name)]))
    single = bad.ndim == 1
    keep = (y == 1).sum(0) >= 2
    y, bad = y[:, keep], bad if single else bad[:, keep]
    noisy = data.from_array(y, items.index, labels.columns[keep])
    p = head.fit(x, noisy, items["group"], seed=seed)[1].astype(float)
    weak = head.fit(x, noisy, items["group"], seed=seed, weak_no=0.5)[1].astype(float)
    highest = np.where(y == 1, -1, p)
    scores = {
        "all opinions": ours(items, noisy, p, x, single),
        "probabilities alone": ours(items, noisy, p, None, single),
        **dict(cleanlab_rankings(y, p, single)),
        "highest probability first": highest.max(1) if single else highest,
    }
    if np.isnan(y).any():
        scores[WEAK] = np.where(y == 1, -1, weak)
    among = np.isnan(y) if name == "stills" else np.ones(bad.shape, bool)
    truth = bad[among]
    k = int(bad.sum()) if single else 200
    told = {}
    for who, score in scores.items():
        first = np.argsort(-score[among], kind="stable")[:k]
        precision = average_precision_score(truth, score[among])
        told[who] = (precision, int((~truth[first]).sum()))
    return told | {"chance": (truth.mean(), round(k * (1 - truth.mean())))}


def table(name, seeds, first, folder, n):
    "The lines of a set: a row a contestant, and what ours has gained."
    items, labels = pictures_of(SETS[name], folder, n)
    if SETS[name].least > 2:
        labels = data.enough(labels, SETS[name].least)[0]
    x, _ = features.embed(items)
    runs = [contest(name, seed, items, labels, x) for seed in range(first, first + seeds)]
    rows = {who: np.array([run[who] for run in runs]) for who in runs[0]}
    lines = [
        f"### {name}",
        "",
        f"{len(items):,} pictures, {labels.shape[1]} labels.",
        "",
        "| ranked by | average precision | each seed | false among the first | each seed |",
        "|---|---|---|---|---|",
    ]
    for who, run in rows.items():
        precision, false = run.T
        lines.append(
            f"| {who} | {precision.mean():.4f} | {' '.join(f'{v:.3f}' for v in precision)} | "
            f"{false.mean():.1f} | {' '.join(f'{v:.0f}' for v in false)} |"
        )
    for who in ("all opinions", "probabilities alone"):
        lines += ["", f"{who.capitalize()}: {gained(who, rows)}"]
    return [*lines, ""]


def gained(who, rows):
    "What a contestant of ours has gained on the best of cleanlab and on the highest first."
    peers = [name for name in rows if name.startswith("cleanlab")]
    best = max(peers, key=lambda name: rows[name][:, 0].mean())
    fewest = min(peers, key=lambda name: rows[name][:, 1].mean())
    gain = rows[who][:, 0] - rows[best][:, 0]
    false = [
        f"{rows[peer][:, 1].sum():.0f} of {peer}" for peer in (fewest, "highest probability first")
    ]
    return (
        f"average precision {gain.mean():+.4f} on the best of cleanlab "
        f"({best.removeprefix('cleanlab ')}), higher in {(gain > 0).sum()} of {len(gain)} seeds; "
        f"{rows[who][:, 1].sum():.0f} false ones in all, against {' and '.join(false)}."
    )


# --- size


def at_size(n=243_000, t=183):
    "Prints seconds and peak megabytes of one table at the size of the real site."
    r = np.random.default_rng(0)
    p, yes = np.empty((n, t), np.float32), np.empty((n, t), bool)
    for a in range(0, n, 10_000):
        shape = (min(10_000, n - a), t)
        part = np.clip(r.random(shape, np.float32) ** 6, 1e-4, 0.999)
        p[a : a + 10_000] = part
        yes[a : a + 10_000] = r.random(shape, np.float32) < 0.4 * part
    names = pd.Index([f"still {i}" for i in range(n)], name="item")
    items = pd.DataFrame({"group": np.arange(n) // 15}, index=names)
    columns = {f"tag {j}": pd.arrays.BooleanArray(yes[:, j].copy(), ~yes[:, j]) for j in range(t)}
    labels = pd.DataFrame(columns, index=names)
    del yes, columns
    start = time.perf_counter()
    suspects(items, labels, p, pictures=False)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(seconds, peak / (1e6 if sys.platform == "darwin" else 1e3))


def size_lines(rounds=3):
    "The lines about size."
    command = [sys.executable, __file__, "--at-size"]
    runs = [subprocess.run(command, capture_output=True, text=True) for _ in range(rounds)]
    failed = [run for run in runs if run.returncode]
    if failed:
        why = failed[0].stderr.strip().splitlines() or [f"it ended with {failed[0].returncode}"]
        return ["### size", "", f"Not measured on this machine: {why[-1]}."]
    seconds, peak = np.array([run.stdout.split() for run in runs], float).T
    return [
        "### size",
        "",
        f"243,000 × 183 from given probabilities: {np.median(seconds):.1f} s (of {rounds} runs: "
        f"{', '.join(f'{s:.1f}' for s in sorted(seconds))}), "
        f"peak {peak.max():,.0f} MB of the whole process, input included.",
    ]


def main():
    parse = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parse.add_argument("--seeds", type=int, default=5)
    first = "for plantings that nothing was chosen on"
    parse.add_argument("--first-seed", type=int, default=0, help=first)
    parse.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    for flag in ("--quick", "--size-only", "--no-size", "--at-size"):
        parse.add_argument(flag, action="store_true")
    args = parse.parse_args()
    if args.at_size:
        return at_size()
    if args.quick:
        args.seeds, args.sets = 1, [name for name in args.sets if name != "posters"]
    warnings.filterwarnings("ignore", module="cleanlab|sklearn")
    real = bool(os.environ.get("MOVIE_TAGGER_DATA"))
    lines = [f"{args.seeds} seeds from {args.first_seed}, {'real' if real else 'drawn'} data.", ""]
    with tempfile.TemporaryDirectory() as folder:
        for name in () if args.size_only else args.sets:
            n = 600 if args.quick else 2000
            lines += table(name, args.seeds, args.first_seed, folder, n)
    if not (args.no_size or args.quick):
        lines += size_lines()
    report("Suspects: planted label mistakes found", lines)


if __name__ == "__main__":
    main()
