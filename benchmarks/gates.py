"""Do the gates let the right challengers through? Simulated ones whose true quality is known.

    MOVIE_TAGGER_DATA=... python benchmarks/gates.py [--trials 400] [--films 250 747 1500] [--site 100]

The population: films of real stills, drawn with replacement from $MOVIE_TAGGER_DATA/stills, with the labels that
people gave after looking at each still for each tag, and the out-of-fold logits of a head. Champion and challenger
see these logits through noise, half of it shared within a film, as large as the difference between two heads, each
trained on its own 80 % of the stills of the other films. The challenger's logits are moved towards the truth, or away
from it, until its mean average precision over 480,000 films differs from the champion's by exactly the margin. A
trial draws films that nobody has seen, and asks `gates.not_worse`.
"""

import argparse

import numpy as np
import pandas as pd
from common import real_data, report
from scipy.special import expit, logit
from scipy.stats import binomtest

from movie_tagger import data, features
from movie_tagger.judge.evaluation import average_precision
from movie_tagger.learn import head
from movie_tagger.retrain import gates

NOISE = 0.44  # standard deviation of a logit between two heads, measured as said above, median over tags


class Films:
    "Films that can be drawn without end, and two models' opinions of their stills."

    def __init__(self):
        items, labels = data.read(real_data() / "stills/truth.csv", absent="no")
        x, _ = features.embed(items)
        _, p = head.fit(x, labels, items["group"])
        self.y = data.to_array(labels)
        self.tags = list(labels)
        self.logits = logit(np.clip(p, 1e-6, 1 - 1e-6)).astype(np.float32)
        codes = pd.factorize(items["group"])[0]
        self.stills = [np.flatnonzero(codes == k) for k in range(codes.max() + 1)]

    def draw(self, n, towards, r):
        "Labels, champion, challenger and films of the stills of `n` films; `towards` the truth: logits, one number or one a tag."
        chosen = [self.stills[k] for k in r.integers(len(self.stills), size=n)]
        rows, film = np.concatenate(chosen), np.repeat(np.arange(n), [len(c) for c in chosen])

        def noise():
            return (
                NOISE
                / 2
                * (
                    r.normal(size=(n, len(self.tags)))[film]
                    + r.normal(size=(len(rows), len(self.tags)))
                ).astype(np.float32)
            )

        champion, challenger = (self.logits[rows] + noise() for _ in range(2))
        return (
            self.y[rows],
            expit(champion),
            expit(challenger + np.float32(towards) * (2 * self.y[rows] - 1)),
            film,
        )

    def truth(self, towards, rounds=16, n=30_000):
        "True change of each tag's average precision."

        def change(s):
            y, p, q, _ = self.draw(n, towards, np.random.default_rng([s, 1]))
            return average_precision(y, q) - average_precision(y, p)

        return np.mean([change(s) for s in range(rounds)], axis=0)


def share(passed):
    "A share with its exact 95 % interval."
    ends = binomtest(int(sum(passed)), len(passed)).proportion_ci()
    return f"{np.mean(passed):.1%} ({ends.low:.1%} – {ends.high:.1%})"


def overall(films, sizes, trials, site, samples=500):
    grid = np.array([-0.08, -0.04, 0, 0.04, 0.08])
    curve, g = np.array([films.truth(a).mean() for a in grid]), gates.Gates()
    lines = [
        "| test films (stills) | trials | worse by the margin: promoted | equal | better by the margin | "
        "estimated change, mean of each |",
        "|---|---|---|---|---|---|",
    ]
    for n, count, b in [
        *((n, trials, samples) for n in sizes),
        *([(28_000, site, 200)] if site else []),
    ]:
        seen = {}
        for change in (-g.margin, 0, g.margin):
            towards = np.interp(change, curve, grid)
            drawn = (
                films.draw(n, towards, np.random.default_rng([s, n, 2, round(1e4 * (1 + change))]))
                for s in range(count)
            )
            seen[change] = [
                gates.not_worse(y, p, q, films.tags, film, gates=g, samples=b, seed=s)[0]
                for s, (y, p, q, film) in enumerate(drawn)
            ]
        means = " / ".join(f"{np.mean([v.value for v in found]):+.4f}" for found in seen.values())
        stills = 10 * round(n * len(films.y) / len(films.stills) / 10)
        lines.append(
            f"| {n:,} ({stills:,}) | {count} | "
            f"{' | '.join(share([v.passed for v in found]) for found in seen.values())} | {means} |"
        )
        print(lines[-1], flush=True)
    return [
        f"Margin {g.margin:g}, {len(films.tags)} tags, true change found by interpolation in "
        f"{np.round(curve, 4).tolist()} "
        f"at {grid.tolist()} logits.",
        "",
        *lines,
        "",
    ]


def sensitive(films, trials, sizes=(200, 400, 747, 1500), samples=500):
    "How single tags fare, by the number of films with a known yes."
    grid, g = np.array([-0.8, -0.4, -0.2, -0.1, 0]), gates.Gates()
    curve, rows = np.array([films.truth(a, 4) for a in grid]), []
    for change in (0, -g.sensitive_margin, -0.3):
        towards = [np.interp(change, curve[:, j], grid) for j in range(len(films.tags))]
        for s, n in ((s, n) for s in range(trials) for n in sizes):
            y, p, q, film = films.draw(
                n, towards, np.random.default_rng([s, n, 3, round(1e4 * (1 + change))])
            )
            table = gates.compare(y, p, q, films.tags, film, samples=samples, seed=s)
            judged = gates.not_worse_by_tag(table, films.tags, g)
            rows += [
                (
                    change,
                    table.at[tag, "groups"],
                    v.passed,
                    table.at[tag, "low"] > -g.sensitive_margin,
                )
                for tag, v in zip(films.tags, judged, strict=True)
            ]
    found = pd.DataFrame(rows, columns=["change", "films", "passed", "shown not worse"])
    found["films"] = pd.cut(
        found["films"],
        [-1, 2, 5, 10, 20, 35, 49, 100, 10**6],
        labels=["0–2", "3–5", "6–10", "11–20", "21–35", "36–49", "50–100", "> 100"],
    )
    lines = [
        "| films with a yes | true change of average precision | tags judged | passed the gate | would pass if "
        "it always had to be shown |",
        "|---|---|---|---|---|",
    ]
    for (change, n), part in found.groupby(["change", "films"], observed=True):
        lines.append(
            f"| {n} | {change:+.2f} | {len(part):,} | {part['passed'].mean():.1%} | "
            f"{part['shown not worse'].mean():.1%} |"
        )
    return [
        f"Sensitive tags: margin {g.sensitive_margin:g}, "
        f"proof asked for from {g.min_positives} films on.",
        "",
        *lines,
    ]


def main():
    parse = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parse.add_argument("--trials", type=int, default=400)
    parse.add_argument("--films", type=int, nargs="*", default=[250, 747, 1500])
    parse.add_argument(
        "--site",
        type=int,
        default=100,
        help="trials at the size of the real site, 28,000 films; 0 for none",
    )
    parse.add_argument("--tags", type=int, default=150, help="trials of single tags; 0 for none")
    args, films = parse.parse_args(), Films()
    lines = overall(films, args.films, args.trials, args.site)
    report(
        "Gates: simulated challengers of known quality",
        [*lines, *(sensitive(films, args.tags) if args.tags else [])],
    )


if __name__ == "__main__":
    main()
