"""Do intervals of means over tags hold what they say? Test sets whose truth is known.

    python benchmarks/intervals.py [--quick] [--sets 2000] [--sizes 20 80 300]

Three worlds of 24 tags, from one in 33 pictures to two in five: a model that is fairly good, one
that hardly knows anything, and one that hardly errs. The truth is measured on 400,000 pictures. A
test set has so many pictures, each of its own or six of a film that are alike; its interval must
hold the true mean over the tags that could be measured. Beside it the percentile interval of the
bootstrap, for one set in ten, which draws films with replacement and leaves a tag out where it
draws no yes. `--quick` is 20 sets of each kind; its numbers say little.
"""

import argparse

import numpy as np
from common import report
from scipy.special import expit, logit
from scipy.stats import binomtest

from movie_tagger.judge.evaluation import average_precision
from movie_tagger.judge.intervals import (
    doubt_of_share,
    group_codes,
    group_halves,
    interval_of_mean,
    mean_of_known,
)

SKILLS = {"fairly good": (0.5, 2.6), "hardly any": (0.0, 1.2), "hardly errs": (2.0, 4.0)}
TAGS, DRAWS = 24, 100


class World:
    "Tags, how often they turn up, and how well a model tells them."

    def __init__(self, skill, frames, pictures=400_000):
        rng = np.random.default_rng(0)
        self.share = np.exp(rng.uniform(np.log(0.03), np.log(0.4), TAGS))
        self.skill = rng.uniform(*skill, TAGS)
        self.frames = frames
        _, y, score = self.draw(rng, pictures)
        self.truth = average_precision(y, score)

    def draw(self, rng, n):
        "Film (n,), labels and scores (n x t) of some pictures."
        film = np.arange(n) // self.frames
        alike = self.frames > 1
        lean, look = alike * rng.normal(size=(2, film[-1] + 1, TAGS))
        share = expit(logit(self.share) + 0.8 * lean[film])
        y = (rng.random((n, TAGS)) < share).astype("float32")
        return film, y, self.skill * y + 0.6 * look[film] + rng.normal(size=y.shape)


def of_halves(film, y, score, value, seed):
    "The interval that `evaluate` gives."
    codes = group_codes(film, len(y))
    draws = average_precision(y, score, group_halves(codes, DRAWS, seed))
    witnesses = np.array([len(np.unique(codes[yes])) for yes in (y == 1).T])
    doubts = doubt_of_share(value, witnesses)
    return interval_of_mean(value, draws, len(np.unique(codes)), doubts)


def of_bootstrap(film, y, score, value, seed):
    "The percentile interval of means over those tags that were drawn."
    codes = group_codes(film, len(y))
    films = codes.max() + 1
    drawn = np.random.default_rng(seed).multinomial(films, np.full(films, 1 / films), DRAWS)
    draws = mean_of_known(average_precision(y, score, drawn[:, codes].astype("uint16")))
    return np.nanquantile(draws, [0.025, 0.975])


WAYS = {"halves": of_halves, "bootstrap": of_bootstrap}


def counted(world, n, sets):
    "By way: did the interval hold the truth, did it hold its own value, and how wide was it?"
    found = {way: [] for way in WAYS}
    for seed in range(sets):
        film, y, score = world.draw(np.random.default_rng([seed, n]), n)
        value = average_precision(y, score)
        truth, middle = world.truth[~np.isnan(value)].mean(), np.nanmean(value)
        for way, ends in WAYS.items():
            if way == "bootstrap" and seed % 10:
                continue
            low, high = ends(film, y, score, value, seed)
            found[way].append((low <= truth <= high, low <= middle <= high, high - low))
    return {way: np.array(rows) for way, rows in found.items()}


def share(held):
    "A share with its exact 95 % interval."
    ends = binomtest(int(held.sum()), len(held)).proportion_ci()
    return f"{held.mean():.1%} ({ends.low:.1%} – {ends.high:.1%})"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--sets", type=int, default=2000)
    parser.add_argument("--sizes", type=int, nargs="*", default=[20, 80, 300])
    args = parser.parse_args()
    sets = 20 if args.quick else args.sets
    lines = [
        "| model | pictures | true mean | halves: hold the truth | and their own value | width "
        "| bootstrap: hold the truth | and their own value | width |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, skill in SKILLS.items():
        for frames in (1, 6):
            world = World(skill, frames)
            for n in args.sizes:
                found = counted(world, n, sets)
                what = f"{n}, each its own" if frames == 1 else f"{n}, six a film"
                cells = [name, what, f"{world.truth.mean():.3f}"]
                for rows in found.values():
                    held, own, width = rows.T
                    cells += [share(held), f"{own.mean():.1%}", f"{width.mean():.3f}"]
                lines.append(f"| {' | '.join(cells)} |")
                print(lines[-1], flush=True)
    report(f"Intervals of means over tags, {sets} sets a row", lines)


if __name__ == "__main__":
    main()
