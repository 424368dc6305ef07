"""Recipes on a front of cost and quality: encoders and losses, on the same folds.

    python benchmarks/recipes.py [--quick] [--seeds 3] [--sets stills genre3 posters]
                                 [--encoders lite0 lite0@288 ...]

Five folds by group, another split for each seed, of the sets of MOVIE_TAGGER_DATA: 960 film stills
and 5,733 posters by mean average precision over tags with 25 (posters: 50) or more, 459 posters of
three genres by accuracy. Everything else is chosen inside the folds. Everybody gets the same folds,
so differences from the first row are paired; intervals are over the folds of all seeds. Seconds a
picture are those of the encoder alone, on all cores, without reading pictures.
"""

import argparse
import time
from typing import NamedTuple

import numpy as np
from common import real_data, report

from movie_tagger import data, features
from movie_tagger.features import engine
from movie_tagger.features.encoders import BEST
from movie_tagger.judge.evaluation import average_precision
from movie_tagger.learn import head

ENCODERS = ("lite0", "lite0@288", "lite0+lite1+lite2@224", BEST)


class Set(NamedTuple):
    table: str  # of MOVIE_TAGGER_DATA
    absent: str | None  # what an absent tag means
    least: int  # yes of a tag


SETS = {
    "stills": Set("stills/truth.csv", "no", 25),
    "genre3": Set("genre3/genres.csv", None, 2),
    "posters": Set("posters/tags.csv", "no", 50),
}
LOSSES = {"squared": None, "logistic": 0.5}  # a `weak_no` asks for the latter


def folds_of(x, labels, groups, loss, seed):
    "The score on each of five folds, learnt from the other four."
    kind = data.kind(labels)
    fold = data.folds(groups, 5, f"recipes {seed}")
    scores = []
    for k in range(5):
        rest = fold != k
        learnt, _ = head.fit(x[rest], labels[rest], groups[rest], weak_no=LOSSES[loss], kind=kind)
        y, said = data.to_array(labels[~rest]), learnt.logits(x[~rest])
        if kind == "single":
            scores.append((said.argmax(1) == y.argmax(1)).mean())
        else:
            scores.append(np.nanmean(average_precision(y, said)))
    return scores


def seconds(encoder, pictures=64):
    "Seconds a picture of the encoder's fastest engine here."
    model = features.export(encoder).read_bytes()
    run = engine.ready(model)
    some = np.zeros((pictures, *run.size, 3), np.uint8)
    run(some[:4])
    start = time.perf_counter()
    for at in range(0, pictures, run.batch):
        run(some[at : at + run.batch])
    return (time.perf_counter() - start) / pictures


def lines_of(name, encoders, seeds):
    "The table of one set."
    items, labels = data.usable(
        *data.read(real_data() / SETS[name].table, absent=SETS[name].absent)
    )
    labels, _ = data.enough(labels, SETS[name].least)
    losses = ["logistic"] if data.kind(labels) == "single" else list(LOSSES)
    lines = [
        f"### {name}",
        "",
        f"{len(items):,} pictures, {labels.shape[1]} labels.",
        "",
        "| encoder | loss | score | on the first row |",
        "|---|---|---|---|",
    ]
    first = None
    for encoder in encoders:
        x, _ = features.embed(items, encoder)
        for loss in losses:
            runs = [folds_of(x, labels, items["group"], loss, seed) for seed in range(seeds)]
            scores = np.concatenate(runs)
            first = scores if first is None else first
            gain = scores - first
            spread = 1.96 * gain.std(ddof=1) / np.sqrt(len(gain))
            lines.append(
                f"| {encoder} | {loss} | {scores.mean():.4f} | {gain.mean():+.4f} ± {spread:.4f} |"
            )
    return [*lines, ""]


def main():
    parse = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parse.add_argument("--quick", action="store_true")
    parse.add_argument("--seeds", type=int, default=3)
    parse.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parse.add_argument("--encoders", nargs="+", default=list(ENCODERS))
    args = parse.parse_args()
    if args.quick:
        args.seeds, args.sets, args.encoders = 1, ["genre3"], ["lite0"]
    lines = [
        "| encoder | milliseconds a picture |",
        "|---|---|",
        *(f"| {encoder} | {1000 * seconds(encoder):.1f} |" for encoder in args.encoders),
        "",
    ]
    for name in args.sets:
        lines += lines_of(name, args.encoders, args.seeds)
    report("Recipes: cost and quality", lines)


if __name__ == "__main__":
    main()
