"""Does the champion notice who types tags at random, and does it leave honest users alone?

    MOVIE_TAGGER_DATA=... python benchmarks/vandals.py [--trials 6] [--rows 85 230 460] [--seed 1]

A site's tags in the order in which they were typed; a head learns from the first half, and the rest comes in months
of `--rows` rows. Honest months: as they are, and with their rows given to 4, 8 or 16 heavy users, by lot, by film, or
by each one's favourite tags; and with a user a tenth of whose tags is random. Spoilt months: a user has added random
tags that nobody else has typed there, alone or among as many honest ones. Each month is shown to `sanity.surprise`; on
the real site's dump, and on a drawn site of 2,000 stills.
"""

import argparse
import re
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from common import HERE, real_data, report

from movie_tagger import features, tags
from movie_tagger.learn import head
from movie_tagger.retrain import sanity
from movie_tagger.sample.make import draw_stills

LEAST = 8  # rows of a tag that is learnt


class Site:
    "What was typed on a site, in order, and the embeddings of its stills."

    def __init__(self, tables, files):
        shots = (
            tables["shots"]
            .assign(path=tables["shots"]["shot_image_id"].map(files))
            .dropna(subset="path")
            .set_index("id")
        )
        rules = tags.read_rules(
            re.search(
                r'RULES = """(.*?)"""', (HERE.parent / "tests/test_retrain.py").read_text(), re.S
            )[1]
        )
        typed = tables["tags"][tables["tags"]["ref_id"].isin(shots.index)].sort_values(
            ["created_at", "id"], kind="stable"
        )
        self.films = shots["movie_id"].astype(str)
        words = tags.respelled(typed["value"].astype(str), rules)
        rows = pd.DataFrame(
            {
                "user": typed["user_id"].astype(str),
                "still": typed["ref_id"],
                "tag": words,
                "film": typed["ref_id"].map(self.films),
            }
        )
        self.rows = rows[~words.isin(rules.exclude)].reset_index(drop=True)
        self.x = pd.DataFrame(features.embed(shots["path"].tolist())[0], shots.index)

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
    stills = r.choice(
        rows["still"].unique(), min(int(len(rows) * share * random), rows["still"].nunique()), False
    )
    bad = pd.DataFrame(
        {
            "user": "vandal",
            "still": stills,
            "tag": r.choice(
                often.index, len(stills), p=(often / often.sum()) if r.random() < 0.5 else None
            ),
        }
    )
    new = ~pd.MultiIndex.from_frame(bad[["still", "tag"]]).isin(
        pd.MultiIndex.from_frame(site.rows[["still", "tag"]])
    )
    bad, rows = bad.assign(film=bad["still"].map(site.films))[new], rows.copy()
    rows.iloc[
        r.choice(len(rows), max(0, int(len(rows) * share) - len(bad)) if random < 1 else 0, False),
        rows.columns.get_loc("user"),
    ] = "vandal"
    return pd.concat([rows, bad])


def play(site, n, trials, r):
    "Rows of (kind of month, was it refused?)."
    for start in range(len(site.rows) // 2, len(site.rows) - n + 1, n):
        (model, often), rows = site.champion(site.rows[:start]), site.rows[start : start + n]
        yield "as it is", site.refused(rows, model)
        for _ in range(trials):
            for _, users in honest(rows, often, r):
                yield (
                    "honest heavy users",
                    site.refused(rows.assign(user=np.asarray(users).astype(str)), model),
                )
            for share in (0.05, 0.1, 0.2, 0.3):
                yield (
                    "a tenth of one user's tags is random",
                    site.refused(spoilt(site, rows, often, share, 0.1, r), model),
                )
                for random, name in ((1, "all random"), (0.5, "half random")):
                    yield (
                        f"{share:.0%} of the rows, {name}",
                        site.refused(spoilt(site, rows, often, share, random, r), model),
                    )


def main():
    parse = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parse.add_argument("--trials", type=int, default=6)
    parse.add_argument("--rows", type=int, nargs="+", default=[85, 230, 460])
    parse.add_argument(
        "--seed", type=int, default=1, help="of the drawn site and of who types what"
    )
    args = parse.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        draw_stills(folder, 2000, 600, seed=args.seed, keep=0.4)
        stills = {
            p.name: str(p)
            for d in ("images", "untagged")
            for p in (real_data() / "stills" / d).iterdir()
        }
        sites = {
            "real": Site(tags.read_dump(real_data() / "site/site.sql"), stills),
            "drawn": Site(
                tags.read_dump(Path(folder) / "export"),
                {p.name: str(p) for p in (Path(folder) / "images").iterdir()},
            ),
        }
        found = [
            (name, n, *month)
            for name, site in sites.items()
            for n in args.rows
            for month in play(site, n, args.trials, np.random.default_rng(args.seed))
        ]
    table = (
        pd.DataFrame(found, columns=["site", "rows", "month", "refused"])
        .groupby(["month", "site", "rows"])["refused"]
        .agg(["sum", "size"])
    )
    table = (table["sum"].astype(str) + " of " + table["size"].astype(str)).unstack(
        ["site", "rows"]
    )
    lines = [
        f"| refused | {' | '.join(f'{site}, {n} rows' for site, n in table)} |",
        "|---" * (table.shape[1] + 1) + "|",
    ]
    report(
        "Vandals: who types at random, and who is left alone",
        lines
        + [f"| {month} | {' | '.join(row)} |" for month, row in zip(table.index, table.to_numpy())],
    )


if __name__ == "__main__":
    main()
