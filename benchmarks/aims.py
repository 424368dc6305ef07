"""Do probabilities mean what they say, and do thresholds reach their aim, on other films?

    python benchmarks/aims.py [--quick] [--splits 3]

Stills, posters and three genres of MOVIE_TAGGER_DATA (drawn stills where it is not set). Two thirds
of the groups are learnt from, everything within them; calibration error, and what thresholds reach
that were chosen for a precision of 0.9 and 0.8 and a recall of 0.9 and 0.95, are measured on the
other third, for every tag with 30 or more positives in the data. `--quick` is one split.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from common import has_real_data, real_data, report

from movie_tagger import data, features
from movie_tagger.judge.evaluation import evaluate
from movie_tagger.learn import head
from movie_tagger.learn.training import settle
from movie_tagger.sample.make import draw_stills

AIMS = ("precision=0.9", "precision=0.8", "recall=0.9", "recall=0.95")


def sets(folder):
    "Name, embeddings (n x d), labels and groups of each data set."
    if has_real_data():
        tables = {"stills": "stills/truth.csv", "posters": "posters/tags.csv"}
        tables = {name: real_data() / path for name, path in tables.items()}
        tables["genre3"] = real_data() / "genre3/genres.csv"
    else:
        draw_stills(Path(folder, "stills"), 600, films=60)
        tables = {"drawn stills": Path(folder, "stills/truth.csv")}
    for name, table in tables.items():
        absent = None if name == "genre3" else "no"
        items, labels = data.usable(*data.read(table, absent=absent))
        x, errors = features.embed(items)
        read = errors.isna().to_numpy()
        labels, _ = data.enough(labels[read], 2)
        yield name, x[read], labels, items["group"][read]


def shown(metric):
    return f"{metric['value']:.4f} ({metric['low']:.4f} – {metric['high']:.4f})"


def calibrated(name, x, labels, groups, splits):
    "A row a split: calibration error before and after, and thresholds' reach by aim and tag."
    y, many = data.to_array(labels), labels.eq(True).sum().to_numpy() >= 30
    rows, reached = [], {text: [] for text in AIMS}
    for seed in range(splits):
        test = data.split(groups, 1 / 3, f"aims {seed}")
        fitted, p = head.fit(x[~test], labels[~test], groups[~test], seed=seed)
        made = settle(labels[~test], p, fitted.kind, groups[~test], seed=seed)
        heads = fitted, fitted.calibrated(made.calibration)
        said = [one.probabilities(x[test]) for one in heads]
        tags = list(labels)
        before, after = (
            evaluate(y[test], q, tags, fitted.kind, groups[test]).metrics["calibration error"]
            for q in said
        )
        cells = f"{shown(before)} | {shown(after)} | {after['baseline']:.4f}"
        rows.append(f"| {name} | {seed} | {cells} |")
        print(rows[-1], flush=True)
        if fitted.kind == "single":
            continue
        for text in AIMS:
            goal = settle(labels[~test], p, "multi", groups[~test], aim=text, seed=seed, most=0)
            reached[text] += _reach(y[test], said[1], goal, text, tags, many)
    return rows, reached


def _reach(y, p, goal, text, tags, many):
    "What each tag with many positives reaches whose aim is not out of reach."
    what, found = text.partition("=")[0], []
    rows = evaluate(y, p, tags, "multi", thresholds=goal.thresholds, samples=0).per_tag
    for j in np.flatnonzero(many):
        if tags[j] not in goal.unreached:
            found.append((tags[j], rows[j][what], (p[:, j] >= goal.thresholds[j]).mean()))
        else:
            found.append((tags[j], np.nan, np.nan))
    return found


def summary(name, reached):
    lines = []
    for text, found in reached.items():
        values = np.array([value for _, value, _ in found], float)
        flagged = np.array([share for *_, share in found], float)
        known = ~np.isnan(values)
        if not known.any():
            continue
        ends = np.quantile(values[known], [0.1, 0.5, 0.9])
        cells = f"{known.sum()} of {len(values)} | {values[known].mean():.3f}"
        spread = " / ".join(f"{end:.2f}" for end in ends)
        lines.append(f"| {name} | {text} | {cells} | {spread} | {flagged[known].mean():.1%} |")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--splits", type=int, default=3)
    args = parser.parse_args()
    first = [
        "| data | split | calibration error before | after | of true probabilities, by chance |",
        "|---|---|---|---|---|",
    ]
    second = [
        "| data | asked | tags and splits within reach | mean reached | 10, 50, 90 % of them "
        "| flagged |",
        "|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for name, *rest in sets(folder):
            rows, reached = calibrated(name, *rest, 1 if args.quick else args.splits)
            first += rows
            second += summary(name, reached)
            print(*second[2:], sep="\n", flush=True)
    report("Calibration and aims, on other films", [*first, "", *second])


if __name__ == "__main__":
    main()
