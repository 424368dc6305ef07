"""Are recall promises kept? On real stills, resplit again and again, and where the truth is known.

    python benchmarks/promise.py [--quick] [--resplits 1000]

960 film stills of MOVIE_TAGGER_DATA that people looked at for every tag (drawn stills where it is
not set), with the out-of-fold probabilities of a head. A resplit draws half of the films as the
reviewed ones and asks `judge.promise` for the promises of 0.9 and 0.95 at 95 %. A promise is broken
where fewer of all true stills reach its threshold, or of those of the films that were not drawn;
these are few themselves, so that a fair share of them falls short by chance. An oracle sees all
stills and takes the highest threshold that keeps the promise; what it flags stands beside.

The simulation draws reviews of 60, 300 and 1,000 positives from a distribution whose recall is
known at each threshold. The last table asks whether it pays to look more often where the score is
high: so many looks until a promise of 0.95 is made that catches as much, by lot and by strata.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from common import has_real_data, real_data, report
from scipy.special import betaincinv
from scipy.stats import beta, binomtest, norm

from movie_tagger import data, features
from movie_tagger.judge.intervals import group_codes
from movie_tagger.judge.promise import earned, films_needed
from movie_tagger.learn import head
from movie_tagger.sample.make import draw_stills

GOALS, SURE = (0.9, 0.95), 0.95


def stills(folder):
    "Labels (n x t), out-of-fold probabilities (n x t), films (n,) and tags."
    if has_real_data():
        table = real_data() / "stills/truth.csv"
    else:
        draw_stills(Path(folder, "stills"), 960, films=200)
        table = Path(folder, "stills/truth.csv")
    items, labels = data.usable(*data.read(table, absent="no"))
    labels, _ = data.enough(labels, 2)
    x, _ = features.embed(items)
    _, p = head.fit(x, labels, items["group"])
    return data.to_array(labels), p, group_codes(items["group"], len(items)), list(labels)


def oracle(y, p, goal):
    "The share of stills that the highest threshold flags that keeps the promise."
    scores = np.sort(p[y == 1])
    return (p >= scores[len(scores) - int(np.ceil(goal * len(scores) - 1e-9))]).mean()


def resplit(y, p, film, reviewed, goal):
    "Whether a promise was made, broken on all, broken on the others, and what it flags."
    promise = earned(y[reviewed], p[reviewed], goal, SURE, film[reviewed])
    if promise is None:
        return False, False, False, np.nan
    caught, others = p >= promise.threshold, ~reviewed
    broken = caught[y == 1].mean() < goal
    elsewhere = caught[others & (y == 1)].mean() < goal
    return True, broken, elsewhere, caught.mean()


def share(held):
    "A share with its exact 95 % interval."
    ends = binomtest(int(np.sum(held)), len(held)).proportion_ci()
    return f"{np.mean(held):.1%} ({ends.low:.1%} – {ends.high:.1%})"


def on_stills(folder, resplits):
    y, p, film, tags = stills(folder)
    films = film.max() + 1
    lines = [
        "| tag | films with a yes | promise | made | broken on all stills | broken on the others "
        "| flagged | oracle |",
        "|---|---|---|---|---|---|---|---|",
    ]
    refused = {goal: 0 for goal in GOALS}
    made = {goal: [] for goal in GOALS}  # rows of broken on all, broken on the others, flagged
    for j in np.argsort(-y.sum(0)):
        many = len(np.unique(film[y[:, j] == 1]))
        for goal in GOALS:
            found = []
            for seed in range(resplits):
                rng = np.random.default_rng([seed, 1])
                reviewed = rng.permutation(np.arange(films) < films // 2)[film]
                few = len(np.unique(film[reviewed & (y[:, j] == 1)])) < films_needed(goal, SURE)
                found.append((few, *resplit(y[:, j], p[:, j], film, reviewed, goal)))
            few, was_made, *_ = np.array(found).T.astype(bool)
            assert (few == ~was_made).all(), "below the needed count a promise is refused"
            refused[goal] += few.sum()
            kept = np.array([row[2:] for row, ok in zip(found, was_made) if ok], float)
            if len(kept) < resplits / 10:
                continue
            made[goal] += [kept]
            flagged = f"{kept[:, 2].mean():.1%} | {oracle(y[:, j], p[:, j], goal):.1%}"
            cells = f"{tags[j]} | {many} | {goal:g} | {len(kept)} of {resplits}"
            rates = f"{share(kept[:, 0])} | {share(kept[:, 1])}"
            lines.append(f"| {cells} | {rates} | {flagged} |")
            print(lines[-1], flush=True)
    for goal in GOALS:
        kept = np.concatenate(made[goal])
        lines += [
            "",
            f"Promises of {goal:g}: {len(kept):,} made, broken on all stills "
            f"{kept[:, 0].mean():.1%}, on those of the other films {kept[:, 1].mean():.1%}; "
            f"{refused[goal]:,} refused, each with fewer than {films_needed(goal, SURE)} films "
            "with a yes, and none with as many.",
        ]
    return lines


def simulated(trials):
    lines = ["| positives | promise | made | broken | mean true recall |", "|---|---|---|---|---|"]
    for n in (20, 60, 300, 1000):
        for goal in GOALS:
            rng = np.random.default_rng([n, int(100 * goal)])
            made = [
                earned(np.ones(n), scores, goal, SURE) for scores in rng.beta(3, 2, (trials, n))
            ]
            cuts = [promise.threshold for promise in made if promise]
            if not cuts:
                lines.append(f"| {n} | {goal:g} | never | – | – |")
                continue
            recall = beta.sf(cuts, 3, 2)
            lines.append(
                f"| {n:,} | {goal:g} | {len(cuts)} of {trials} | {share(recall < goal)} "
                f"| {recall.mean():.3f} |"
            )
    return lines


def _upper(k, n, risk):
    return betaincinv(k + 1, np.maximum(n - k, 1e-9), 1 - risk)


def _lower(k, n, risk):
    return np.where(k > 0, betaincinv(np.maximum(k, 1e-9), n - k + 1, risk), 0)


def by_strata(rng, looks, rate, skill, cut, trials):
    "How often looks, most of them below the cut, show that at most 5 % of the positives lie there."
    low = norm.cdf(cut) * (1 - rate) + norm.cdf(cut - skill) * rate  # share of stills below
    rate_low = norm.cdf(cut - skill) * rate / low
    rate_high = norm.sf(cut - skill) * rate / (1 - low)
    best = 0.0
    for above in (0.05, 0.1, 0.2, 0.4):
        n_high = int(looks * above)
        k_low = rng.binomial(looks - n_high, rate_low, trials)
        k_high = rng.binomial(n_high, rate_high, trials)
        missed = low * _upper(k_low, looks - n_high, 0.04)
        caught = (1 - low) * _lower(k_high, n_high, 0.01)
        best = max(best, (caught >= 0.95 * (caught + missed)).mean())
    return best


def by_lot(rng, looks, rate, skill, cut, trials):
    "How often as many looks by lot promise 0.95 from this threshold on."
    yes = rng.binomial(looks, rate, trials)
    below = rng.binomial(yes, norm.cdf(cut - skill))
    return (_upper(below, np.maximum(yes, 1), 0.05) <= 0.05).mean()


def unequal(trials):
    "Looks until four promises of five are made, for a threshold that misses 1 % of the positives."
    lines = [
        "| yes in 100 | positives of 0.99 lie above | looks by lot | looks by strata |",
        "|---|---|---|---|",
    ]
    sizes = np.unique(np.geomspace(100, 100_000, 61).astype(int))
    for rate in (0.1, 0.02, 0.005):
        for skill in (1.5, 3.0, 4.5):
            cut = skill + norm.ppf(0.01)
            needed = []
            for way in (by_lot, by_strata):
                rng = np.random.default_rng(0)
                enough = (n for n in sizes if way(rng, n, rate, skill, cut, trials) >= 0.8)
                needed.append(next(enough, np.inf))
            flagged = norm.sf(cut) * (1 - rate) + 0.99 * rate
            cells = f"{100 * rate:g} | {flagged:.0%} of all stills | {needed[0]:,} | {needed[1]:,}"
            lines.append(f"| {cells} |")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--resplits", type=int, default=1000)
    args = parser.parse_args()
    resplits = 20 if args.quick else args.resplits
    with tempfile.TemporaryDirectory() as folder:
        lines = on_stills(folder, resplits)
    lines += ["", *simulated(resplits), "", *unequal(resplits)]
    report(f"Recall promises, {resplits} resplits", lines)


if __name__ == "__main__":
    main()
