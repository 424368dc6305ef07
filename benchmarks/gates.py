"""Do the gates let the right challengers through? Simulated ones whose true quality is known.

    python benchmarks/gates.py [--quick] [--trials 400] [--films 250 747 1500] [--site 100]

The population: films of stills, drawn with replacement, with all their labels and the out-of-fold
logits of a head: the real stills of MOVIE_TAGGER_DATA, which people have looked at for each tag, or
drawn ones where it is not set. Champion and challenger see these logits through noise, half of it
shared within a film, as large as the difference between two heads, each trained on its own 80 % of
the stills of the other films. The challenger's logits are moved towards the truth, or away from it,
until its mean average precision over 480,000 films differs from the champion's by exactly the
margin. A trial draws films that nobody has seen, and asks `gates.not_worse`. `--quick` is ten
trials of 250 films; its numbers say little.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from common import has_real_data, real_data, report
from scipy.special import expit, logit
from scipy.stats import binomtest

from movie_tagger import data, features
from movie_tagger.judge.evaluation import average_precision
from movie_tagger.learn import head
from movie_tagger.retrain import gates
from movie_tagger.sample.make import draw_stills

NOISE = 0.44  # standard deviation of a logit between two heads, as said above, median over tags


class Films:
    "Films that can be drawn without end, and two models' opinions of their stills."

    def __init__(self, folder, rounds=16):
        items, labels = data.read(folder / "truth.csv", absent="no")
        x, _ = features.embed(items)
        _, p = head.fit(x, labels, items["group"])
        self.y = data.to_array(labels)
        self.tags = list(labels)
        self.logits = logit(np.clip(p, 1e-6, 1 - 1e-6)).astype(np.float32)
        codes = pd.factorize(items["group"])[0]
        self.stills = [np.flatnonzero(codes == k) for k in range(codes.max() + 1)]
        self.rounds = rounds  # of 30,000 films, for the truth

    def draw(self, n, towards, r):
        """Labels, champion, challenger and films of the stills of `n` films; `towards` the truth:
        logits, one number or one a tag."""
        chosen = [self.stills[k] for k in r.integers(len(self.stills), size=n)]
        rows, film = np.concatenate(chosen), np.repeat(np.arange(n), [len(c) for c in chosen])
        y, t = self.y[rows], len(self.tags)

        def seen():
            noise = r.normal(size=(n, t))[film] + r.normal(size=(len(rows), t))
            return self.logits[rows] + NOISE / 2 * noise.astype(np.float32)

        champion, challenger = seen(), seen()
        return y, expit(champion), expit(challenger + np.float32(towards) * (2 * y - 1)), film

    def truth(self, towards, most=16):
        "True change of each tag's average precision."
        changes = []
        for seed in range(min(self.rounds, most)):
            y, p, q, _ = self.draw(30_000, towards, np.random.default_rng([seed, 1]))
            changes.append(average_precision(y, q) - average_precision(y, p))
        return np.mean(changes, axis=0)


def share(passed):
    "A share with its exact 95 % interval."
    ends = binomtest(int(sum(passed)), len(passed)).proportion_ci()
    return f"{np.mean(passed):.1%} ({ends.low:.1%} – {ends.high:.1%})"


def trials_of(films, n, change, towards, count, samples):
    "The verdicts on `count` challengers, on `n` films each."
    found = []
    for seed in range(count):
        r = np.random.default_rng([seed, n, 2, round(1e4 * (1 + change))])
        y, p, q, film = films.draw(n, towards, r)
        found += gates.not_worse(y, p, q, films.tags, film, samples=samples, seed=seed)[:1]
    return found


def overall(films, sizes, trials, site, samples=500):
    "How challengers fare that are worse by the margin, equal, and better by it."
    grid, margin = np.array([-0.08, -0.04, 0, 0.04, 0.08]), gates.Gates().margin
    curve = np.array([films.truth(a).mean() for a in grid])
    while curve[0] > -margin or curve[-1] < margin:  # drawn stills are easily told
        grid = 2 * grid
        curve = np.array([films.truth(a).mean() for a in grid])
    lines = [
        "| test films (stills) | trials | worse by the margin: promoted | equal "
        "| better by the margin | estimated change, mean of each |",
        "|---|---|---|---|---|---|",
    ]
    plans = [(n, trials, samples) for n in sizes] + ([(28_000, site, 200)] if site else [])
    for n, count, b in plans:
        seen = [
            trials_of(films, n, change, np.interp(change, curve, grid), count, b)
            for change in (-margin, 0, margin)
        ]
        shares = " | ".join(share([v.passed for v in found]) for found in seen)
        means = " / ".join(f"{np.mean([v.value for v in found]):+.4f}" for found in seen)
        stills = 10 * round(n * len(films.y) / len(films.stills) / 10)
        lines.append(f"| {n:,} ({stills:,}) | {count} | {shares} | {means} |")
        print(lines[-1], flush=True)
    return [
        f"Margin {margin:g}, {len(films.tags)} tags, true change found by interpolation in "
        f"{np.round(curve, 4).tolist()} at {grid.tolist()} logits.",
        "",
        *lines,
        "",
    ]


def single_tags(films, change, trials, sizes, samples):
    "By tag and trial: its films with a yes, whether it passed, and whether it was shown not worse."
    grid, least = np.array([-0.8, -0.4, -0.2, -0.1, 0]), -gates.Gates().sensitive_margin
    curve = np.array([films.truth(a, 4) for a in grid])
    towards = [np.interp(change, curve[:, j], grid) for j in range(len(films.tags))]
    rows = []
    for seed in range(trials):
        for n in sizes:
            r = np.random.default_rng([seed, n, 3, round(1e4 * (1 + change))])
            y, p, q, film = films.draw(n, towards, r)
            table = gates.compare(y, p, q, films.tags, film, samples=samples, seed=seed)
            for tag, v in zip(films.tags, gates.not_worse_by_tag(table, films.tags), strict=True):
                shown = table.at[tag, "low"] > least
                rows.append((change, table.at[tag, "groups"], v.passed, shown))
    return rows


def sensitive(films, trials, sizes=(200, 400, 747, 1500), samples=500):
    "How single tags fare, by the number of films with a known yes."
    g, rows = gates.Gates(), []
    for change in (0, -g.sensitive_margin, -0.3):
        rows += single_tags(films, change, trials, sizes, samples)
    found = pd.DataFrame(rows, columns=["change", "films", "passed", "shown"])
    ends = [-1, 2, 5, 10, 20, 35, 49, 100, 10**6]
    names = ["0–2", "3–5", "6–10", "11–20", "21–35", "36–49", "50–100", "> 100"]
    found["films"] = pd.cut(found["films"], ends, labels=names)
    lines = [
        "| films with a yes | true change of average precision | tags judged | passed the gate "
        "| would pass if it always had to be shown |",
        "|---|---|---|---|---|",
    ]
    for (change, n), part in found.groupby(["change", "films"], observed=True):
        passed, shown = part["passed"].mean(), part["shown"].mean()
        lines.append(f"| {n} | {change:+.2f} | {len(part):,} | {passed:.1%} | {shown:.1%} |")
    proof = f"proof asked for from {g.min_positives} films on"
    return [f"Sensitive tags: margin {g.sensitive_margin:g}, {proof}.", "", *lines]


def main():
    parse = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parse.add_argument("--quick", action="store_true", help="ten trials of 250 films")
    parse.add_argument("--trials", type=int, default=400)
    parse.add_argument("--films", type=int, nargs="*", default=[250, 747, 1500])
    parse.add_argument(
        "--site", type=int, default=100, help="trials of 28,000 films, as the real site has; or 0"
    )
    parse.add_argument("--tags", type=int, default=150, help="trials of single tags; 0 for none")
    args = parse.parse_args()
    if args.quick:
        args.trials, args.films, args.site, args.tags = 10, [250], 0, 0
    rounds = 1 if args.quick else 16
    if has_real_data():
        films = Films(real_data() / "stills", rounds)
    else:
        with tempfile.TemporaryDirectory() as folder:
            draw_stills(folder, 600 if args.quick else 2000, 300, seed=1)
            films = Films(Path(folder), rounds)
    lines = overall(films, args.films, args.trials, args.site)
    if args.tags:
        lines += sensitive(films, args.tags)
    report("Gates: simulated challengers of known quality", lines)


if __name__ == "__main__":
    main()
