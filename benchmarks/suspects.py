"""Finding planted label mistakes: the suspects table against cleanlab on the same probabilities, and against the
highest probability first.

    MOVIE_TAGGER_DATA=... python benchmarks/suspects.py [--seeds 5] [--first-seed 0] [--sets genre3 posters stills] [--size-only | --no-size]

Three sets, planted anew for each seed: 1. genre3: 10 % of the labels flipped to another class; 2. posters, genres
with 25 or more: 10 % of the yes moved to a genre that the poster does not have, and as many other yes turned to no;
3. stills: 60 % of the yes hidden, everything that is not a yes unknown; what is ranked are the cells nobody looked
at.

Everybody gets the same out-of-fold probabilities, of the built-in head. `all opinions` also gets the embeddings that
the head was fitted on, `probabilities alone` nothing more. Of cleanlab, each of its rankings is tried, and the best
one on each set is the peer. The size is measured in a process of its own: 243,000 pictures × 183 tags from given
probabilities; its peak includes the input.
"""

import argparse
import resource
import subprocess
import sys
import time
import warnings

import numpy as np
import pandas as pd
from cleanlab import rank
from cleanlab.multilabel_classification import rank as multilabel_rank
from cleanlab.multilabel_classification.filter import find_multilabel_issues_per_class
from common import real_data, report
from sklearn.metrics import average_precision_score

from movie_tagger import data, features
from movie_tagger.learn import head
from movie_tagger.suspects.ranking import suspects

RANKINGS = [
    (m, adjust)
    for m in ("self_confidence", "normalized_margin", "confidence_weighted_entropy")
    for adjust in (False, True)
    if not (adjust and m[0] == "c")
]


# --- the sets: labels with mistakes (n, t), and where they are


def flipped(y, r):
    noisy, some = y.copy(), r.permutation(len(y))[: round(0.1 * len(y))]
    noisy[some] = np.eye(y.shape[1])[
        (y[some].argmax(1) + r.integers(1, y.shape[1], len(some))) % y.shape[1]
    ]
    return noisy, (noisy != y).any(1)


def moved(y, r):
    noisy, yes = y.copy(), r.permutation(np.argwhere(y == 1))
    k = round(0.1 * len(yes))
    for i, j in yes[:k]:
        noisy[i, j], noisy[i, r.choice(np.flatnonzero((y[i] == 0) & (noisy[i] == 0)))] = 0, 1
    noisy[tuple(yes[k : 2 * k].T)] = 0
    return noisy, noisy != y


def hidden(y, r):
    noisy = np.where((y == 1) & (r.random(y.shape) >= 0.6), 1, np.nan).astype(np.float32)
    return noisy, (y == 1) & np.isnan(noisy)


SETS = {
    "genre3": ("genre3/genres.csv", None, flipped, 2),
    "posters": ("posters/tags.csv", "no", moved, 25),
    "stills": ("stills/truth.csv", "no", hidden, 2),
}


# --- the contestants: scores of the cells, or pictures, that are ranked


def cleanlab_rankings(y, p, single):
    if single:
        for m, adjust in RANKINGS:
            yield (
                f"cleanlab {m}{', adjusted' * adjust}",
                -rank.get_label_quality_scores(y.argmax(1), p, method=m, adjust_pred_probs=adjust),
            )
        return
    tags = [list(np.flatnonzero(row)) for row in np.nan_to_num(y) == 1]
    for m, adjust in RANKINGS:
        yield (
            f"cleanlab {m}{', adjusted' * adjust}",
            -multilabel_rank.get_label_quality_scores_per_class(
                tags, p, method=m, adjust_pred_probs=adjust
            ),
        )
    quality = multilabel_rank.get_label_quality_scores_per_class(tags, p)
    for by in ("prune_by_noise_rate", "confident_learning"):
        yield (
            f"cleanlab issues by {by} first",
            10 * np.asarray(find_multilabel_issues_per_class(tags, p, filter_by=by)) - quality,
        )


def ours(items, labels, p, x, single):
    table = suspects(items, labels, p, x, pictures=False, most=10**9)
    row, score = items.index.get_indexer(table["item"]), np.full(labels.shape, -1.0)
    if single:
        return (
            pd.Series(table["score"].to_numpy(), row)
            .reindex(range(len(items)), fill_value=-1)
            .to_numpy()
        )
    score[row, labels.columns.get_indexer(table["tag"])] = table["score"]
    return score


def contest(name, seed, items, labels, x, plant):
    "Average precision and false ones among the first 200 (of genre3: as many as there are mistakes), a contestant each."
    y, bad = plant(data.to_array(labels), np.random.default_rng([seed, len(name)]))
    keep = (y == 1).sum(0) >= 2
    y, bad, single = y[:, keep], bad if bad.ndim == 1 else bad[:, keep], bad.ndim == 1
    noisy = data.from_array(y, items.index, labels.columns[keep])
    p = head.fit(x, noisy, items["group"], seed=seed)[1].astype(float)
    among = np.isnan(y) if name == "stills" else np.ones(bad.shape, bool)
    scores = {
        "all opinions": ours(items, noisy, p, x, single),
        "probabilities alone": ours(items, noisy, p, None, single),
    }
    scores |= dict(cleanlab_rankings(y, p, single))
    highest = np.where(y == 1, -1, p)
    scores["highest probability first"] = highest.max(1) if single else highest
    k = int(bad.sum()) if single else 200

    def judge(score):
        s, truth = score[among], bad[among]
        return average_precision_score(truth, s), int(
            (~truth[np.argsort(-s, kind="stable")[:k]]).sum()
        )

    return {who: judge(score) for who, score in scores.items()} | {
        "chance": (bad[among].mean(), round(k * (1 - bad[among].mean())))
    }


def table(name, seeds, first=0):
    path, absent, plant, least = SETS[name]
    items, labels = data.read(real_data() / path, absent=absent)
    labels = data.enough(labels, least)[0] if name == "posters" else labels
    x, _ = features.embed(items)
    runs = [contest(name, seed, items, labels, x, plant) for seed in range(first, first + seeds)]
    rows = {who: np.array([run[who] for run in runs]) for who in runs[0]}
    best = {
        c: pick(
            (who for who in rows if who.startswith("cleanlab")),
            key=lambda who: rows[who][:, c].mean(),
        )
        for c, pick in ((0, max), (1, min))
    }
    lines = [
        f"### {name}",
        "",
        "| ranked by | average precision | each seed | false among the first | each seed |",
        "|---|---|---|---|---|",
    ]
    for who, r in rows.items():
        lines.append(
            f"| {who} | {r[:, 0].mean():.4f} | {' '.join(f'{v:.3f}' for v in r[:, 0])} | "
            f"{r[:, 1].mean():.1f} | {' '.join(f'{v:.0f}' for v in r[:, 1])} |"
        )
    for who in ("all opinions", "probabilities alone"):
        gain = rows[who][:, 0] - rows[best[0]][:, 0]
        fewer = {
            peer: 1 - rows[who][:, 1].sum() / rows[peer][:, 1].sum()
            for peer in (best[1], "highest probability first")
        }
        lines += [
            "",
            f"{who.capitalize()}: average precision {gain.mean():+.4f} on the best of cleanlab "
            f"({best[0].removeprefix('cleanlab ')}), "
            f"higher in {(gain > 0).sum()} of {seeds} seeds; "
            + "; ".join(
                f"{share:.0%} fewer false ones than {peer}" for peer, share in fewer.items()
            )
            + ".",
        ]
    return lines + [""]


# --- size


def at_size(n=243_000, t=183):
    "Prints seconds and peak megabytes of one table at the size of the real site."
    r = np.random.default_rng(0)
    p, yes = np.empty((n, t), np.float32), np.empty((n, t), bool)
    for a in range(0, n, 10_000):
        p[a : a + 10_000] = np.clip(r.random((min(10_000, n - a), t), np.float32) ** 6, 1e-4, 0.999)
        yes[a : a + 10_000] = (
            r.random((min(10_000, n - a), t), np.float32) < 0.4 * p[a : a + 10_000]
        )
    items = pd.DataFrame(
        {"group": np.arange(n) // 15}, index=pd.Index([f"still {i}" for i in range(n)], name="item")
    )
    labels = pd.DataFrame(
        {f"tag {j}": pd.arrays.BooleanArray(yes[:, j].copy(), ~yes[:, j]) for j in range(t)},
        index=items.index,
    )
    del yes
    start = time.perf_counter()
    suspects(items, labels, p, pictures=False)
    print(
        time.perf_counter() - start,
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        / (1e6 if sys.platform == "darwin" else 1e3),
    )


def size_lines(rounds=3):
    runs = [
        subprocess.run(
            [sys.executable, __file__, "--at-size"], capture_output=True, text=True, check=True
        ).stdout.split()
        for _ in range(rounds)
    ]
    seconds, peak = np.array(runs, float).T
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
    parse.add_argument(
        "--first-seed", type=int, default=0, help="for plantings that nothing was chosen on"
    )
    parse.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    for flag in ("--size-only", "--no-size", "--at-size"):
        parse.add_argument(flag, action="store_true")
    args = parse.parse_args()
    if args.at_size:
        return at_size()
    warnings.filterwarnings("ignore", module="cleanlab|sklearn")
    lines = (
        []
        if args.size_only
        else [line for name in args.sets for line in table(name, args.seeds, args.first_seed)]
    )
    report(
        "Suspects: planted label mistakes found",
        [
            f"{args.seeds} seeds from {args.first_seed}.",
            "",
            *lines,
            *([] if args.no_size else size_lines()),
        ],
    )


if __name__ == "__main__":
    main()
