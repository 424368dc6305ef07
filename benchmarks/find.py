"""Finding a tag that nobody has typed: how many answers it takes, and how long each.

    python benchmarks/find.py [--quick] [--seeds 5] [--rows 470000] [--only stills|size]

On the 960 stills of MOVIE_TAGGER_DATA with the offline encoder, for every tag with 20 stills or
more. One still that shows the tag is the example, drawn anew for each seed; a simulated curator
answers truthfully. *Learnt*: the films are halved, the questions come from one half, and of the
other half it is counted how many of the first 24 show the tag after 0, 5, 10 and 20 answers.
It asks five at a time. *Found*: answers until 80 % of all stills with the tag were seen, asked a
page of 12 at a time as the panel does. Intervals are over tags, 95 %. *Size*: an index and a
teacher over random vectors.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from common import real_data, report

from movie_tagger import data, features
from movie_tagger.features.index import Index
from movie_tagger.learn.teaching import FREEDOM, STRENGTH, Teacher, proposed

FIRST, PAGE, SHARE = 24, 12, 0.8
AFTER = (0, 5, 10, 20)


# --- ways of ranking: function(teacher, example, answers) -> scores (n,)


def as_taught(teacher, example, answers):
    return teacher.scores


def nearest(teacher, example, answers):
    "By likeness to the example, whatever was answered."
    return teacher.rows.scores(teacher.rows.of([example])[0])


def nearest_yes(teacher, example, answers):
    "By likeness to the mean of the example and every yes."
    yes = [example, *(row for row, answer in answers.items() if answer)]
    return teacher.rows.scores(teacher.rows.of(yes).mean(0))


def curved(teacher, example, answers, width=1.0):
    "The same formula with a Gaussian kernel instead of a line."
    asked = list(answers)
    line = teacher.prior
    begun = teacher.rows.scores(line.weight) + line.bias
    if not asked:
        return begun
    x = teacher.rows.of(range(len(begun)))
    kernel = np.exp(width * (x @ x[asked].T - 1)) + FREEDOM**2
    wanted = np.where(list(answers.values()), 1, -1) - begun[asked]
    return begun + kernel @ np.linalg.solve(kernel[asked] + STRENGTH * np.eye(len(asked)), wanted)


# --- ways of asking: function(scores, asked, n, both) -> rows; both: is there a yes and a no?


def by_turns(scores, asked, n, both):
    return proposed(scores, asked, n, both)[0]


def best_first(scores, asked, n, both):
    return proposed(scores, asked, n, False)[0]


def least_sure(scores, asked, n, both):
    return best_first(-np.abs(scores) if both else scores, asked, n, both)


WAYS = {
    "by turns, a line": (as_taught, by_turns),
    "by turns, a Gaussian kernel": (curved, by_turns),
    "best first": (as_taught, best_first),
    "least sure": (as_taught, least_sure),
    "nearest to all yes": (nearest_yes, best_first),
    "nearest to the example": (nearest, best_first),
}


class Curator:
    "Somebody who knows the truth about a tag and answers what is asked."

    def __init__(self, teacher, truth, example, way, askable):
        self.teacher, self.truth, self.example = teacher, truth, example
        self.rank, self.ask = WAYS[way]
        self.closed = ~askable
        self.answers = {}
        teacher.begin([example])
        self.said({example: True})
        self.count = 0  # besides the example

    def said(self, answers):
        self.answers |= answers
        self.closed[list(answers)] = True
        if self.rank is as_taught:
            self.teacher.answer(self.answers)

    def scores(self):
        return self.rank(self.teacher, self.example, self.answers)

    def answer(self, n):
        both = len(set(self.answers.values())) == 2
        rows = self.ask(self.scores(), self.closed, n, both)
        self.said({int(row): bool(self.truth[row]) for row in rows})
        self.count += len(rows)


def learnt(teacher, truth, films, way, r):
    "Of the first 24 of the other films, how many show the tag after 0, 5, 10, 20 answers."
    half = r.permutation(films.max() + 1)[films] % 2 == 0
    example = r.choice(np.flatnonzero(truth & half))
    curator = Curator(teacher, truth, example, way, half.copy())
    found, other = [], np.flatnonzero(~half)
    while len(found) < len(AFTER):
        if curator.count in AFTER:
            order = np.argsort(-curator.scores()[other], kind="stable")
            found.append(truth[other[order[:FIRST]]].sum())
        curator.answer(5)
    return [*found, FIRST * truth[other].mean(), min(FIRST, truth[other].sum())]


def found(teacher, truth, films, way, r):
    "Answers until four fifths of the stills that show the tag were seen."
    goal = int(np.ceil(SHARE * truth.sum()))
    if way == "random order":
        return int(np.flatnonzero(truth[r.permutation(len(truth))])[goal - 1]) + 1
    example = r.choice(np.flatnonzero(truth))
    curator = Curator(teacher, truth, example, way, np.ones(len(truth), bool))
    while sum(curator.answers.values()) < goal:
        curator.answer(PAGE)
    late = np.cumsum(list(curator.answers.values()))
    return int(np.flatnonzero(late >= goal)[0])


def over(measure, teacher, truths, films, way, seeds):
    "What `measure` says of each tag, the mean over seeds: (tags, ...)."
    return np.array(
        [
            np.mean(
                [
                    measure(teacher, truth, films, way, np.random.default_rng([seed, tag]))
                    for seed in range(seeds)
                ],
                0,
            )
            for tag, truth in enumerate(truths)
        ]
    )


def interval(values):
    "Mean over tags and its 95 % interval, resampling tags: three numbers."
    r = np.random.default_rng(0)
    drawn = values[r.integers(0, len(values), (2000, len(values)))].mean(1)
    return values.mean(), *np.quantile(drawn, [0.025, 0.975])


def shown(values, digits=1):
    middle, low, high = interval(np.asarray(values, float))
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def on_stills(seeds):
    items, labels = data.read(real_data() / "stills" / "truth.csv", absent="no")
    embeddings, _ = features.embed(items)
    y = data.to_array(labels) == 1
    tags = labels.columns[y.sum(0) >= 20]
    truths = [y[:, labels.columns.get_loc(tag)] for tag in tags]
    films = pd.factorize(items["group"])[0]
    teacher = Teacher(embeddings, films)
    given = teacher, truths, films
    after = {way: over(learnt, *given, way, seeds) for way in WAYS}
    needed = {way: over(found, *given, way, seeds) for way in [*WAYS, "random order"]}
    chance, most = after["by turns, a line"][:, -2:].T
    lines = [
        f"{len(tags)} tags with 20 or more of {len(items)} stills, {seeds} examples each. "
        f"Of 24 stills of the other films {shown(chance)} show the tag in random order; "
        f"at most {shown(most)} can.",
        "",
        f"| | {' | '.join(f'after {k}' for k in AFTER)} | answers until 80 % are found |",
        "|---|---|---|---|---|---|",
    ]
    for way in needed:
        row = [shown(after[way][:, k]) if way in after else shown(chance) for k in range(4)]
        lines.append(f"| {way} | {' | '.join(row)} | {shown(needed[way], 0)} |")
    lines += ["", "Of the first 24, by turns with a line, tag by tag:", ""]
    lines += ["| tag | stills | random | nearest | after 0 | 5 | 10 | 20 | answers until 80 % |"]
    lines += ["|---|---|---|---|---|---|---|---|---|"]
    main, plain = after["by turns, a line"], after["nearest to the example"]
    for k in np.argsort([-truth.sum() for truth in truths], kind="stable"):
        numbers = [chance[k], plain[k, 3], *main[k, :4]]
        lines.append(
            f"| {tags[k]} | {truths[k].sum()} | {' | '.join(f'{x:.1f}' for x in numbers)} "
            f"| {needed['by turns, a line'][k]:.0f} (random {needed['random order'][k]:.0f}) |"
        )
    report("Finding a tag that nobody has typed", lines)


def timed(act, times=5):
    "The median of some runs, and of what they took of a core, in words."
    took = []
    for _ in range(times):
        begin = time.perf_counter(), time.process_time()
        act()
        took.append((time.perf_counter() - begin[0], time.process_time() - begin[1]))
    clock, core = 1000 * np.median(took, 0)
    return f"{clock:.0f} ms ({core:.0f} ms of a core)"


def at_size(rows, numbers=1280):
    r = np.random.default_rng(0)
    vectors = np.empty((rows, numbers), np.float32)
    for block in np.array_split(np.arange(rows), rows // 10_000 + 1):
        vectors[block] = r.standard_normal((len(block), numbers), np.float32)
    index = Index(range(rows), vectors)
    del vectors
    more = r.standard_normal((10_000, numbers), np.float32)
    names = [f"new {k}" for k in range(len(more))]
    lines = [f"{rows:,} vectors of {numbers} numbers: {rows * numbers * 4 / 1e9:.2f} GB."]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stills.index"
        lines.append(f"- saved in {timed(lambda: index.save(path), 1)}")
        del index
        lines.append(f"- opened in {timed(lambda: Index.open(path), 1)}")
        index = Index.open(path)
        index.near(more[0])
        lines.append(f"- the nearest 24 to one in {timed(lambda: index.near(more[0]))}")
        lines.append(f"- to 100 at once in {timed(lambda: index.near(more[:100]), 1)}")
        add = timed(lambda: index.add(names, more), 1)
        lines.append(f"- 10,000 added in {add}; `save` writes the file anew")
        assert index.near(more[7])[0][0] == "new 7"
        some = index.vectors if rows < 100_000 else np.array(index._parts[0][:100_000])
    teacher = Teacher(some)
    teacher.begin([0])
    for count in (20, 600):
        answers = {k: k % 3 == 0 for k in range(count)}

        def answered(answers=answers):
            teacher.answer(answers)
            teacher.next(24)

        lines.append(
            f"- {len(some):,} stills ranked anew with answer {count} in {timed(answered, 9)}"
        )
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    lines.append(f"- memory at most {most:.2f} GB, of which the mapped file can be given back")
    report("An index of many, and a teacher of 100,000", lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=470_000)
    parser.add_argument("--only", choices=["stills", "size"])
    how = parser.parse_args()
    if how.only != "size":
        on_stills(1 if how.quick else how.seeds)
    if how.only != "stills":
        at_size(20_000 if how.quick else how.rows)
