"""Does the champion notice who types tags at random, and does it leave honest users alone?

    python benchmarks/vandals.py [--quick] [--trials 6] [--rows 85 230 460] [--seed 1]

A site's tags in the order in which they were typed; a head learns from the first half, and the rest
comes in months of `--rows` rows. Honest months: as they are, and with their rows given to 4, 8 or
16 heavy users, by lot, by film, or by each one's favourite tags; and with a user a tenth of whose
tags is random. Spoilt months: a user has added random tags that nobody else has typed there, alone
or among as many honest ones. Each month is shown to `sanity.surprise`: on a drawn site of 2,000
stills and, where MOVIE_TAGGER_DATA is set, on the real site's dump. `--quick` is one trial on a
small drawn site.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from common import has_real_data, real_data, report

from movie_tagger import features, tags
from movie_tagger.learn import head
from movie_tagger.retrain import sanity
from movie_tagger.sample.make import RULES, draw_stills
from movie_tagger.tags.rules import read_rules, respelled

LEAST = 8  # rows of a tag that is learnt


class Site:
    "What was typed on a site, in order, and the embeddings of its stills."

    def __init__(self, tables, files):
        shots = tables["shots"]
        shots = shots.assign(path=shots["shot_image_id"].map(files)).dropna(subset="path")
        shots = shots.set_index("id")
        self.films = shots["movie_id"].astype(str)
        self.x = pd.DataFrame(features.embed(shots["path"].tolist())[0], shots.index)
        typed = tables["tags"][tables["tags"]["ref_id"].isin(shots.index)]
        typed = typed.sort_values(["created_at", "id"], kind="stable")
        rules = read_rules(RULES)
        columns = {
            "user": typed["user_id"].astype(str),
            "still": typed["ref_id"],
            "tag": respelled(typed["value"].astype(str), rules),
            "film": typed["ref_id"].map(self.films),
        }
        rows = pd.DataFrame(columns)
        self.rows = rows[~rows["tag"].isin(rules.exclude)].reset_index(drop=True)

    def champion(self, rows):
        "A head that has learnt from these rows, and how often each of its tags is among them."
        often = rows["tag"].value_counts()
        often = often[often >= LEAST]
        rows = rows[rows["tag"].isin(often.index)].drop_duplicates(["still", "tag"])
        y = (
            rows.assign(yes=True)
            .pivot(index="still", columns="tag", values="yes")
            .astype("boolean")
        )
        return head.fit(
            self.x.loc[y.index].to_numpy(),
            y,
            self.films[y.index].to_numpy(),
            kind="multi",
            strengths=(1, 0.5, 0.25),
        )[0], often

    def refused(self, rows, model):
        stills = rows["still"].unique()
        p = pd.DataFrame(model.probabilities(self.x.loc[stills].to_numpy()), stills, model.tags)
        return any(not v.passed for v in sanity.surprise(rows, p))


def honest(rows, often, r):
    "The same rows, typed by a few heavy users."
    for users in (4, 8, 16):
        film = dict(zip(rows["film"].unique(), r.integers(users, size=rows["film"].nunique())))
        taste = dict(zip(often.index, r.dirichlet(np.full(users, 0.3), len(often))))
        yield "by lot", r.integers(users, size=len(rows))
        yield "by film", rows["film"].map(film)
        yield "by favourite tags", [r.choice(users, p=taste.get(t)) for t in rows["tag"]]


def spoilt(site, rows, often, share, random, r):
    "The rows with those of a user who typed `share` of them, of which a part is random."
    there, wanted = rows["still"].unique(), int(len(rows) * share)
    stills = r.choice(there, min(int(wanted * random), len(there)), False)
    chances = often / often.sum() if r.random() < 0.5 else None
    words = r.choice(often.index, len(stills), p=chances)
    bad = pd.DataFrame({"user": "vandal", "still": stills, "tag": words})
    typed = pd.MultiIndex.from_frame(site.rows[["still", "tag"]])
    bad = bad[~pd.MultiIndex.from_frame(bad[["still", "tag"]]).isin(typed)]
    bad, rows = bad.assign(film=bad["still"].map(site.films)), rows.copy()
    honest_ones = max(0, wanted - len(bad)) if random < 1 else 0
    some = r.choice(len(rows), honest_ones, False)
    rows.iloc[some, rows.columns.get_loc("user")] = "vandal"
    return pd.concat([rows, bad])


def play(site, n, trials, r):
    "Rows of (kind of month, was it refused?)."
    for start in range(len(site.rows) // 2, len(site.rows) - n + 1, n):
        (model, often), rows = site.champion(site.rows[:start]), site.rows[start : start + n]
        yield "as it is", site.refused(rows, model)
        for _ in range(trials):
            for what, played in months(site, rows, often, r):
                yield what, site.refused(played, model)


def months(site, rows, often, r):
    "A month played in every way."
    for _, users in honest(rows, often, r):
        yield "honest heavy users", rows.assign(user=np.asarray(users).astype(str))
    for share in (0.05, 0.1, 0.2, 0.3):
        careless = spoilt(site, rows, often, share, 0.1, r)
        yield "a tenth of one user's tags is random", careless
        for random, name in ((1, "all random"), (0.5, "half random")):
            played = spoilt(site, rows, often, share, random, r)
            yield f"{share:.0%} of the rows, {name}", played


def drawn_site(folder, n, seed):
    draw_stills(folder, n, n * 3 // 10, seed=seed, keep=0.4)
    files = {p.name: str(p) for p in (folder / "images").iterdir()}
    return Site(tags.read_dump(folder / "export"), files)


def real_site():
    folders = [real_data() / "stills" / name for name in ("images", "untagged")]
    files = {p.name: str(p) for folder in folders for p in folder.iterdir()}
    return Site(tags.read_dump(real_data() / "site/site.sql"), files)


def told(found):
    "The lines of a table of (site, rows, kind of month, was it refused?)."
    table = pd.DataFrame(found, columns=["site", "rows", "month", "refused"])
    table = table.groupby(["month", "site", "rows"])["refused"].agg(["sum", "size"])
    table = (table["sum"].astype(str) + " of " + table["size"].astype(str)).unstack([1, 2])
    names = " | ".join(f"{site}, {n} rows" for site, n in table)
    rows = table.fillna("–").to_numpy()
    lines = [f"| {month} | {' | '.join(row)} |" for month, row in zip(table.index, rows)]
    return [f"| refused | {names} |", "|---" * (table.shape[1] + 1) + "|", *lines]


def main():
    parse = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parse.add_argument("--trials", type=int, default=6)
    parse.add_argument("--rows", type=int, nargs="+", default=[85, 230, 460])
    parse.add_argument("--seed", type=int, default=1, help="of the drawn site and of who types")
    parse.add_argument("--quick", action="store_true", help="one trial on a small drawn site")
    args = parse.parse_args()
    trials, sizes, stills = (1, [85], 600) if args.quick else (args.trials, args.rows, 2000)
    with tempfile.TemporaryDirectory() as folder:
        sites = {"drawn": drawn_site(Path(folder), stills, args.seed)}
        if has_real_data() and not args.quick:
            sites["real"] = real_site()
    found = [
        (name, n, *month)
        for name, site in sites.items()
        for n in sizes
        for month in play(site, n, trials, np.random.default_rng(args.seed))
    ]
    report("Vandals: who types at random, and who is left alone", told(found))


if __name__ == "__main__":
    main()
