"""Hidden tags: what is learnt from tags of which most were never typed, against the truth.

    python benchmarks/hidden.py [--quick] [--seeds 10] [--first-seed 0] [--ways random film ...]

960 film stills of MOVIE_TAGGER_DATA whose tags were all looked at (drawn stills where it is not
set). Two thirds of the films are learnt from, with 60 or 80 % of the yes hidden and no known no;
the other third is judged on, with all its tags, by mean average precision. Tags are hidden at
random; by frequency (rare tags more); by conspicuousness (first what a model that knows everything
scores low); by user (20 of them, lazy and diligent); and by film. Everybody gets the same
embeddings and splits, so differences are paired; intervals are over the splits.
"""

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np
from common import report

from movie_tagger import data, features
from movie_tagger.judge.evaluation import average_precision
from movie_tagger.judge.intervals import group_codes
from movie_tagger.learn import head
from movie_tagger.sample.make import draw_stills

WAYS = ("random", "frequency", "conspicuous", "user", "film")


def stills(folder, n):
    "Embeddings (n, d), labels (n, t) and groups (n,) of stills that were all looked at."
    if os.environ.get("MOVIE_TAGGER_DATA"):
        table = Path(os.environ["MOVIE_TAGGER_DATA"]) / "stills/truth.csv"
    else:
        draw_stills(Path(folder, "stills"), n, films=n // 10)
        table = Path(folder, "stills", "truth.csv")
    items, labels = data.usable(*data.read(table, absent="no"))
    return features.embed(items)[0], data.to_array(labels), items["group"].to_numpy()


def fitted(x, y, groups, weak_no=None):
    names = [str(j) for j in range(y.shape[1])]
    labels = data.from_array(y.astype(np.float32), [str(i) for i in range(len(y))], names)
    return head.fit(x, labels, groups, kind="multi", weak_no=weak_no)


# --- what was typed: bool (n, t)


def typed(way, yes, keep, surety, groups, r):
    "Which of the yes (n, t) were typed, about the share `keep` of them."
    n, t = yes.shape
    if way == "random":
        chance = np.full((1, 1), keep)
    elif way == "frequency":
        rare = np.log(yes.sum(0) + 1)
        chance = keep * np.exp((rare - rare.mean()) / max(rare.std(), 1e-9) / 2)
    elif way == "conspicuous":
        chance = np.zeros((n, t))
        for j in range(t):
            rows = np.flatnonzero(yes[:, j])
            place = surety[rows, j].argsort().argsort() + 0.5
            chance[rows, j] = 2 * keep * place / max(len(rows), 1)
    else:
        who = r.integers(0, 20, n) if way == "user" else group_codes(groups, n)
        chance = r.beta(0.6, 0.6 * (1 - keep) / keep, who.max() + 1)[who][:, None]
    return yes & (r.random(yes.shape) < np.clip(chance, 0.02, 1))


# --- the contestants: scores (m, t) of other stills


def contestants(x, known, truth, groups, ask):
    "Yields a name and scores; `known` (n, t) is 1 or NaN, `truth` (n, t) is 1 or 0."
    yield "silence is a no", fitted(x, np.nan_to_num(known), groups)[0].logits(ask)
    yield "silence is a weak no", fitted(x, known, groups, weak_no=0.5)[0].logits(ask)
    yield "looked behind", fitted(x, known, groups)[0].logits(ask)
    oracle = np.where(known == 1, 1, np.where(truth == 1, np.nan, 0))
    yield "an oracle masks what is hidden", fitted(x, oracle, groups, weak_no=0)[0].logits(ask)
    yield "everything known", fitted(x, truth, groups)[0].logits(ask)


def contest(x, truth, groups, surety, way, share, seed):
    "Mean average precision of each contestant."
    r = np.random.default_rng([seed, round(100 * share), WAYS.index(way)])
    test = data.split(groups, 1 / 3, f"hidden {seed}")
    known = typed(way, truth == 1, 1 - share, surety, groups, r)
    keep = (known[~test].sum(0) >= 2) & (truth[test].sum(0) >= 5)
    known = np.where(known, 1, np.nan)[~test][:, keep]
    there, judged = truth[~test][:, keep], truth[test][:, keep]
    told = {}
    for name, score in contestants(x[~test], known, there, groups[~test], x[test]):
        told[name] = average_precision(judged, score).mean()
    return told


def row(way, share, runs):
    "A line of the table."
    told = {name: np.array([run[name] for run in runs]) for name in runs[0]}
    ours = told["looked behind"]
    cells = [f"{values.mean():.3f}" for values in told.values()]
    for peer in ("silence is a weak no", "an oracle masks what is hidden"):
        gain = ours - told[peer]
        spread = 1.96 * gain.std(ddof=1) / np.sqrt(len(gain)) if len(gain) > 1 else np.nan
        cells.append(f"{gain.mean():+.3f} ± {spread:.3f}")
    return f"| {way} | {share:.0%} | {' | '.join(cells)} |"


def main():
    parse = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parse.add_argument("--quick", action="store_true")
    parse.add_argument("--seeds", type=int, default=10)
    parse.add_argument("--first-seed", type=int, default=0)
    parse.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    args = parse.parse_args()
    if args.quick:
        args.seeds, args.ways = 2, args.ways[:1]
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    with tempfile.TemporaryDirectory() as folder:
        x, truth, groups = stills(folder, 400 if args.quick else 1000)
    _, surety = fitted(x, truth, groups)
    lines = [
        f"{len(x)} stills, {truth.shape[1]} tags, {args.seeds} splits from {args.first_seed}; mean "
        "average precision, and what looking behind silence gains.",
        "",
        "| hidden | share | silence is a no | a weak no | looked behind | oracle mask | everything "
        "known | on a weak no | on the oracle |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for way in args.ways:
        for share in (0.6, 0.8):
            runs = [contest(x, truth, groups, surety, way, share, seed) for seed in seeds]
            lines.append(row(way, share, runs))
    report("Hidden tags", lines)


if __name__ == "__main__":
    main()
