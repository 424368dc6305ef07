"""Does the line that a learning curve is carried on by say more than "no change"?

    python benchmarks/growth.py [--quick] [--splits 8]

Stills and 2,500 posters of MOVIE_TAGGER_DATA (drawn stills where it is not set). Heads learn from
an eighth, a quarter, a half, three quarters and all of two thirds of the films; average precision
is that on the last third. From the sizes up to some point the line says what the next ones bring;
beside it stands what was measured there, and how far the line and "no change" are off, for the
mean over tags and on average over single tags. `--quick` is two splits.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from common import has_real_data, real_data, report

from movie_tagger import data, features
from movie_tagger.judge.growth import LearningCurve, learning_curve
from movie_tagger.learn import head
from movie_tagger.sample.make import draw_stills

SHARES = (1 / 8, 1 / 4, 1 / 2, 3 / 4, 1)


def sets(folder):
    "Name, items and labels of each data set."
    if has_real_data():
        tables = {"stills": "stills/truth.csv", "posters": "posters/tags.csv"}
        tables = {name: real_data() / path for name, path in tables.items()}
    else:
        draw_stills(Path(folder, "stills"), 600, films=120)
        tables = {"drawn stills": Path(folder, "stills/truth.csv")}
    for name, table in tables.items():
        items, labels = data.usable(*data.read(table, absent="no"))
        if len(items) > 2500:
            some = data.split(items["group"], 2500 / len(items), "growth")
            items, labels = items[some], labels[some]
        yield name, items, data.enough(labels, 30)[0]


def curve_of(items, labels, splits):
    x, errors = features.embed(items)
    read = errors.isna().to_numpy()
    x, labels, groups = x[read], labels[read], items["group"][read]

    def ask(learn, told):
        fitted, _ = head.fit(x[learn], labels[learn], groups[learn], folds=2, kind="multi")
        return fitted.probabilities(x[told])

    return learning_curve(data.to_array(labels), groups, list(labels), ask, SHARES, splits)


def foretold(curve, known, target):
    "What the line says that lies on the first `known` sizes, against what was measured."
    sizes = curve.pictures[:known]
    part = LearningCurve(curve.tags, sizes, curve.yes[:known], curve.scores[:, :known])
    says = part.ahead(curve.pictures[target] - sizes[-1])
    measured = np.nanmean(curve.scores[:, target] - curve.scores[:, known - 1], axis=0)
    off = np.abs(says["gain"].to_numpy()[1:] - measured)
    mean = says.loc["mean over tags"]
    said = f"{mean['gain']:+.4f} ({mean['low']:+.4f} to {mean['high']:+.4f})"
    cells = f"{round(sizes[-1])} to {round(curve.pictures[target])} | {measured.mean():+.4f}"
    return f"{cells} | {said} | {off.mean():.4f} | {np.abs(measured).mean():.4f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--splits", type=int, default=8)
    args = parser.parse_args()
    lines = [
        "| data | pictures | gain of the mean over tags | the line said | single tags: the line is "
        "off by | no change is off by |",
        "|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for name, items, labels in sets(folder):
            curve = curve_of(items, labels, 2 if args.quick else args.splits)
            print(name, curve, flush=True)
            for known, target in ((3, 3), (3, 4), (4, 4)):
                lines.append(f"| {name} | {foretold(curve, known, target)} |")
    report("Learning curves: what more pictures bring", lines)


if __name__ == "__main__":
    main()
