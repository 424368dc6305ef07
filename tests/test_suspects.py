"Suspects: what is found, what never comes back, and what is refused with a sentence."

import shutil

import numpy as np
import pandas as pd
import pytest
from conftest import draw_posters, movie_tagger
from PIL import Image

from movie_tagger import data, duplicates, features, suspects
from movie_tagger.core import MovieTaggerError
from movie_tagger.learn import head
from movie_tagger.suspects import opinions
from movie_tagger.suspects.sheet import in_words, write_sheet
from movie_tagger.tags.sql.dump import read_dump


def made_up(n=300, t=6, groups=100, seed=0, strength=2.0):
    "Items, all-known labels and embeddings from which the labels can be learnt."
    r = np.random.default_rng(seed)
    x = r.normal(size=(n, 40)).astype(np.float32)
    y = (x @ r.normal(size=(40, t)) * strength / 6 + r.normal(size=(n, t)) * 0.5 > 0.8).astype(
        np.float32
    )
    index = pd.Index([f"p{i}" for i in range(n)], name="item")
    return (
        pd.DataFrame({"group": r.integers(groups, size=n)}, index),
        data.from_array(y, index, [f"t{j}" for j in range(t)]),
        x,
    )


def ask(items, labels, x, **how):
    return suspects.suspects(items, labels, embeddings=x, pictures=False, **how)


# --- the parts


def test_the_formula_for_what_was_left_out_is_exact_also_for_groups_of_all_sizes():
    r = np.random.default_rng(1)
    x = r.normal(size=(30, 50)).astype(np.float32)
    y = r.random((30, 3)).astype(np.float32)
    groups = np.array([0] * 11 + [1] * 5 + [*range(2, 16)])
    z, d = (x - x.mean(0)) / x.std(0), 50
    for k in np.unique(groups):
        rest = groups != k
        centre, mean = z[rest].mean(0), y[rest].mean(0)
        a = z[rest] - centre
        by_hand = mean + (z[~rest] - centre) @ np.linalg.solve(
            a.T @ a + d * 10 * np.eye(d), a.T @ (y[rest] - mean)
        )
        said = opinions.left_out(opinions.components_of(x), y, groups, strengths=[10])[~rest]
        assert said == pytest.approx(by_hand, abs=1e-4)


def test_a_label_has_no_say_in_what_is_thought_about_it():
    "Turning one label round changes nothing in what is said about this cell."
    items, labels, x = made_up()
    y, parts, groups = data.to_array(labels), opinions.components_of(x), items["group"].to_numpy()
    near, _ = opinions.neighbours(parts)
    other = y.copy()
    other[7, 2] = 1 - other[7, 2]
    said, again = (opinions.left_out(parts, v, groups, [10])[7, 2] for v in (y, other))
    votes, votes_again = (opinions._votes(near, v)[7, 2] for v in (y, other))
    assert said == pytest.approx(again, abs=1e-5) and votes == pytest.approx(votes_again, abs=0.01)
    assert not (near == np.arange(len(y))[:, None]).any()


def test_doubt_is_a_probability_and_rises_with_surprise():
    q = np.linspace(0, 1, 101)
    for y, falls in ((1, True), (0, False)):
        d = suspects.doubt(np.full(101, y), q, 0.01, 0.1)
        assert ((d >= 0) & (d <= 1)).all() and (np.diff(d if not falls else -d) > 0).all()


def test_neighbours_of_few_pictures_and_of_a_sample():
    parts = opinions.components_of(np.random.default_rng(0).normal(size=(6, 9)).astype(np.float32))
    assert opinions.neighbours(parts)[0].shape == (6, 5)
    near, alike = opinions.neighbours(parts, k=2, ask=4)
    assert near.shape == (6, 2) and (alike <= 1.001).all() and len(np.unique(near)) <= 4


def test_twins_of_equal_and_similar_hashes():
    hashes = np.array([5, 2**60 - 1, 5, 7, 5], np.uint64)
    assert sorted(map(tuple, duplicates.twins(hashes).tolist())) == [
        (2, 0, 0),
        (3, 0, 1),
        (4, 0, 0),
    ]
    assert len(duplicates.twins(hashes[:2])) == 0


# --- planted mistakes


def test_planted_mistakes_of_many_tags_come_first():
    items, labels, x = made_up()
    y = data.to_array(labels)
    some = np.random.default_rng(3).permutation(y.size)[:40]
    wrong = y.copy()
    wrong.flat[some] = 1 - wrong.flat[some]
    table = ask(items, data.from_array(wrong, items.index, labels.columns), x)
    planted = {(items.index[k // y.shape[1]], labels.columns[k % y.shape[1]]) for k in some}
    first = table.head(40)
    assert sum(pair in planted for pair in zip(first["item"], first["tag"])) >= 15
    assert set(first["reason"]) == {"wrong tag", "wrong label"}
    assert all(
        s == ("-" + t if why == "wrong tag" else t)
        for why, t, s in zip(table["reason"], table["tag"], table["suggestion"])
    )
    assert table["score"].is_monotonic_decreasing and len(table) == y.size


def test_silence_makes_candidates_and_a_spoken_no_is_none():
    items, labels, x = made_up()
    y = data.to_array(labels)
    typed = np.where((y == 1) & (np.random.default_rng(0).random(y.shape) < 0.5), 1, np.nan)
    typed[0, 0] = 0
    table = ask(items, data.from_array(typed, items.index, labels.columns), x)
    missing = table.query("reason == 'missing tag'")
    there = y[items.index.get_indexer(missing["item"]), labels.columns.get_indexer(missing["tag"])]
    assert there[:30].mean() > 0.8
    assert table.query("item == 'p0' and tag == 't0'")["reason"].tolist() == ["wrong label"]
    assert set(table["reason"]) == {"missing tag", "wrong tag", "wrong label"}


def test_single_labels_and_their_likelier_class():
    r = np.random.default_rng(0)
    true, given = r.integers(3, size=240), None
    x = (np.eye(3)[true] @ r.normal(size=(3, 30)) * 1.5 + r.normal(size=(240, 30))).astype(
        np.float32
    )
    given = true.copy()
    given[:20] = (given[:20] + 1) % 3
    items = pd.DataFrame(
        {"group": range(240)}, index=pd.Index([f"p{i}" for i in range(240)], name="item")
    )
    labels = data.from_array(np.eye(3)[given], items.index, ["a", "b", "c"])
    table = ask(items, labels, x)
    first = table.head(20)
    assert (
        len(table) == 240
        and set(table["reason"]) == {"wrong label"}
        and first["item"].isin(items.index[:20]).mean() > 0.8
    )
    k = items.index.get_indexer(first["item"])
    hit = k < 20
    assert (
        first["suggestion"].to_numpy()[hit] == np.array(["a", "b", "c"])[true[k[hit]]]
    ).mean() > 0.8
    kept, refused = first.iloc[0], first.iloc[1]
    decided = pd.DataFrame(
        {"item": [kept["item"], refused["item"]], "tag": [kept["tag"], refused["suggestion"]]}
    )
    again = ask(items, labels, x, decided=decided)
    assert kept["item"] not in set(again["item"])
    assert refused["suggestion"] not in set(
        again.loc[again["item"] == refused["item"], "suggestion"]
    )


# --- what never comes back, and own reasons


def test_what_is_decided_never_comes_back():
    items, labels, x = made_up()
    before = ask(items, labels, x)
    decided = before.head(50)[["item", "tag"]]
    after = ask(items, labels, x, decided=decided)
    assert len(after) == len(before) - 50 and len(after.merge(decided)) == 0
    strange = pd.DataFrame({"item": ["gone", "p1", None], "tag": ["t0", "no such tag", None]})
    assert len(ask(items, labels, x, decided=strange)) == len(before)


def test_own_reasons_by_picture_and_by_cell():
    items, labels, x = made_up()
    seen = {}

    def dark(items, labels, p):
        seen.update(p=p)
        return np.where(np.arange(len(items)) < 3, 0.99, np.nan)

    def cell(items, labels, p):
        return np.where(p.to_numpy() == p.to_numpy().max(), 1.0, np.nan)

    table = ask(
        items,
        labels,
        x,
        also={"dark": dark, "extreme": cell},
        decided=pd.DataFrame({"item": ["p1"], "tag": [""]}),
    )
    assert sorted(table.query("reason == 'dark'")["item"]) == ["p0", "p2"]
    assert len(table.query("reason == 'extreme' and tag != ''")) == 1
    assert list(seen["p"].columns) == list(labels) and seen["p"].index.equals(items.index)


def test_most_keeps_the_surest():
    items, labels, x = made_up()
    everything, some = ask(items, labels, x), ask(items, labels, x, most=25)
    assert some.equals(everything.head(25))


# --- given probabilities


def test_probabilities_as_a_frame_in_any_order_and_with_unreadable_rows():
    items, labels, x = made_up()
    _, p = head.fit(x, labels, items["group"])
    frame = pd.DataFrame(p, items.index, labels.columns)
    one = suspects.suspects(items, labels, p, pictures=False)
    assert suspects.suspects(
        items, labels, frame[["t3", "t1", "t0", "t2", "t5", "t4"]], pictures=False
    ).equals(one)
    frame.iloc[4] = np.nan
    assert "p4" not in set(suspects.suspects(items, labels, frame, pictures=False)["item"])


def test_a_tag_that_one_picture_has_is_left_alone():
    items, labels, x = made_up()
    labels = labels.assign(rare=pd.array([True] + [False] * (len(items) - 1), "boolean"))
    assert "rare" not in set(ask(items, labels, x)["tag"])


@pytest.mark.parametrize(
    "change, sentence",
    [
        (lambda i, y, p: (i, y, p[:-1]), "have the shape"),
        (lambda i, y, p: (i, y, p * 3), "outside 0 to 1"),
        (lambda i, y, p: (i.iloc[::-1], y, p), "the same order"),
        (
            lambda i, y, p: (i, y, pd.DataFrame(p, i.index, [*y.columns[:-1], "other"])),
            "no probabilities for the label 't5'",
        ),
        (lambda i, y, p: (i, y & False, p), "nothing to learn from"),
        (lambda i, y, p: (i, y, p * np.nan), "can be read"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_sentence(change, sentence):
    items, labels, _ = made_up()
    with pytest.raises(MovieTaggerError, match=sentence):
        suspects.suspects(*change(items, labels, np.full(labels.shape, 0.5)), pictures=False)


def test_one_group_and_a_frame_without_its_columns():
    items, labels, x = made_up()
    with pytest.raises(MovieTaggerError, match="one group"):
        ask(items.assign(group="film"), labels, x)
    with pytest.raises(MovieTaggerError, match="'tag' is missing"):
        ask(items, labels, x, decided=pd.DataFrame({"item": ["p1"]}))
    with pytest.raises(MovieTaggerError, match="fewer than 5 groups"):
        suspects.visible(items.assign(group="film"), labels, x)


# --- pictures


def test_files_that_are_trouble(tmp_path):
    folder = draw_posters(tmp_path / "posters", 12)
    shutil.copy(folder / "horror" / "003.jpg", folder / "romance" / "copy.jpg")
    shutil.copy(folder / "horror" / "004.jpg", folder / "horror" / "again.jpg")
    (folder / "horror" / "cut.jpg").write_bytes((folder / "horror" / "005.jpg").read_bytes()[:500])
    items, labels = data.read(folder)
    split = np.where(items.index.isin(["horror/again.jpg"]), "valid", "train")
    table = suspects.suspects(items, labels, split=split).set_index("item")
    why = table.groupby("item")["reason"].agg(set)
    assert (
        why["horror/cut.jpg"] == {"unreadable"}
        and table.loc["horror/cut.jpg", "suggestion"] == "exclude"
    )
    assert "leak" in why["horror/again.jpg"] and why.map(lambda w: "leak" in w).sum() == 1
    pair = table[table["reason"] == "same picture, other labels"]
    assert (
        pair.index.tolist() == ["romance/copy.jpg"]
        and pair["suggestion"].tolist() == ["horror/003.jpg"]
        and pair["tag"].tolist() == ["horror, romance"]
    )
    twin = table[table["reason"] == "near duplicate"]
    assert ("horror/004.jpg", "horror/again.jpg") in set(zip(twin.index, twin["suggestion"])) | set(
        zip(twin["suggestion"], twin.index)
    )
    assert (table["image"] == items["path"].reindex(table.index)).all()
    shown = table.reset_index()[["item"]].drop_duplicates().assign(tag="")
    left = suspects.suspects(items, labels, split=split, decided=shown)
    assert set(left["reason"]) == {"wrong label"}


def test_a_group_cut_by_the_split_is_a_leak():
    items, labels, x = made_up(groups=1000)
    items["group"] = [f"film {k // 2}" for k in range(len(items))]
    split = np.array(["train"] * 299 + ["valid"])
    table = ask(items, labels, x, split=split).query("reason == 'leak'")
    assert table[["item", "suggestion"]].to_numpy().tolist() == [["p299", "p298"]]


# --- visible


def test_a_tag_by_lot_is_not_seen_and_a_rare_one_not_judged():
    items, labels, x = made_up(n=600, groups=200)
    r = np.random.default_rng(0)
    labels = labels.assign(
        lot=pd.array(r.random(600) < 0.2, "boolean"),
        rare=pd.array(np.arange(600) < 19, "boolean"),
        always=pd.array([True] * 600, "boolean"),
    )
    verdict = suspects.visible(items, labels, x)["verdict"]
    assert verdict[["lot", "rare", "always"]].tolist() == [
        "not seen",
        "too few to say",
        "too few to say",
    ]
    assert set(verdict[[f"t{j}" for j in range(6)]]) == {"visible"}


def site(real_data):
    "The small site's stills, with every tag as it was typed."
    tables = read_dump(real_data / "site" / "site.sql", ["shots", "tags"])
    shots, tags = (
        tables["shots"].set_index("id"),
        tables["tags"].assign(value=lambda t: t["value"].str.strip()),
    )
    tags = tags[tags["ref_id"].isin(shots.index)]
    often, where = (
        tags["value"].value_counts(),
        {p.name: p for p in (real_data / "stills").rglob("*.jpg")},
    )
    yes = (
        pd.crosstab(tags["ref_id"], tags["value"])[often.index[often >= 10]]
        .gt(0)
        .reindex(shots.index, fill_value=False)
    )
    items = pd.DataFrame(
        {"path": [str(where[name]) for name in shots["shot_image_id"]], "group": shots["movie_id"]}
    ).set_index(shots.index.rename("item"))
    return items, yes.astype("boolean").where(yes).rename_axis(index="item", columns=None)


@pytest.mark.slow
def test_the_tags_of_the_site_that_can_be_seen(real_data):
    seen = suspects.visible(*site(real_data))
    can, cannot = ["building", "interior", "man"], ["awesome upload", "SotD"]
    assert seen.loc[can, "low"].min() > seen.loc[cannot, "high"].max()
    assert set(seen.loc[can, "verdict"]) == {"visible"} and set(seen.loc[cannot, "verdict"]) == {
        "not seen"
    }
    assert set(seen.loc[["blood", "glasses", "child", "couple"], "verdict"]) == {"too few to say"}


@pytest.mark.slow
def test_hidden_tags_of_stills_are_found_better_than_by_the_highest_probability(real_data):
    items, labels = data.read(real_data / "stills" / "truth.csv", absent="no")
    x, _ = features.embed(items)
    y = data.to_array(labels)
    typed = np.where(
        (y == 1) & (np.random.default_rng(0).random(y.shape) >= 0.6), 1, np.nan
    ).astype(np.float32)
    labels = data.from_array(typed, items.index, labels.columns).loc[:, (typed == 1).sum(0) >= 2]
    _, p = head.fit(x, labels, items["group"], weak_no=0.5)
    table = suspects.suspects(items, labels, p, x, pictures=False).query("reason == 'missing tag'")
    hidden = pd.DataFrame(
        y == 1, items.index, [*data.read(real_data / "stills" / "truth.csv", absent="no")[1]]
    )[list(labels)]
    silent = np.isnan(data.to_array(labels))
    highest = np.where(silent, p, -1).ravel().argsort()[::-1][:200]
    false = 200 - sum(
        hidden.at[item, tag] for item, tag in table[["item", "tag"]].head(200).to_numpy()
    )
    assert false <= 0.8 * (200 - hidden.to_numpy().ravel()[highest].sum())


def test_the_command_writes_the_table(posters, tmp_path):
    done = movie_tagger(
        "suspects", posters, "--out", tmp_path / "out" / "suspects.csv", "--most", 20
    )
    table = pd.read_csv(tmp_path / "out" / "suspects.csv", dtype=str, keep_default_na=False)
    assert (
        (done.code, done.err) == (0, "")
        and list(table) == ["item", "image", "reason", "tag", "score", "suggestion"]
        and len(table) == 20
    )
    assert (tmp_path / "out" / table["image"][0]).resolve() == (
        posters / table["item"][0]
    ).resolve()
    table.head(3)[["item", "tag"]].to_csv(tmp_path / "seen.csv", index=False)
    movie_tagger(
        "suspects", posters, "--out", tmp_path / "again.csv", "--decided", tmp_path / "seen.csv"
    )
    again = pd.read_csv(tmp_path / "again.csv", dtype=str, keep_default_na=False)
    assert len(again.merge(table.head(3)[["item", "tag"]])) == 0
    (tmp_path / "bad.csv").write_text("picture\nx\n")
    done = movie_tagger(
        "suspects", posters, "--out", tmp_path / "none.csv", "--decided", tmp_path / "bad.csv"
    )
    assert done.code == 1 and "needs the columns item and tag" in done.err


# --- in words, and as a page


@pytest.mark.parametrize("score", [0.1, 0.6, 1.0])
@pytest.mark.parametrize("suggestion", ["romance", "hat", "-hat", "exclude", "a.jpg", ""])
@pytest.mark.parametrize(
    "reason",
    [
        *("wrong label", "wrong tag", "missing tag", "near duplicate", "leak", "unreadable"),
        *("same picture, other labels", "not the right kind", "{0} of {my} own"),
    ],
)
def test_a_suspicion_is_said_in_words_and_without_a_percentage(reason, suggestion, score):
    said = in_words(reason, "hat", score, suggestion)
    assert said and "%" not in said and str(score) not in said


@pytest.fixture
def hostile(tmp_path):
    "Pictures and labels with names that must be escaped, and what is suspected of them."
    names = ["<script>alert(1)</script>.jpg", "b&b.jpg", "c.jpg", "gone.jpg"]
    paths = [str(tmp_path / f"{k}.jpg") for k in range(3)] + ["gone.jpg"]
    for path in paths[:3]:
        Image.new("RGB", (3000, 2000), "#8899aa").save(path)
    items = pd.DataFrame({"path": paths}, index=pd.Index(names, name="item"))
    tag = '"><img src=x onerror=alert(2)>'
    labels = data.from_array([[1, 0], [0, 1], [1, np.nan], [0, 0]], names, [tag, "hat"])
    rows = [
        (names[0], "wrong label", tag, 0.9, "hat"),
        (names[1], "near duplicate", "", 0.8, names[0]),
        (names[2], "</h2><b>own", tag, 0.7, ""),
        (names[3], "unreadable", "", 1.0, "exclude"),
        (names[2], "wrong tag", "hat", 0.4, "-hat"),
    ]
    columns = ["item", "reason", "tag", "score", "suggestion"]
    return pd.DataFrame(rows, columns=columns), items, labels


def test_the_page_of_suspects_is_one_small_file_in_which_all_is_escaped(hostile, tmp_path):
    table, items, labels = hostile
    write_sheet(table, items, labels, tmp_path / "sheet.html")
    page = (tmp_path / "sheet.html").read_text(encoding="utf-8")
    body = page.split("<body>")[1]
    assert page.count("<figure>") == 4, "what is hardly likely is left to the table"
    assert body.count("<img") == 5 == body.count("data:image/jpeg"), "a duplicate has two"
    for typed in ("<script", "<img src=x", "<b>own", "b&b.jpg"):
        assert typed not in body
    assert "&lt;script&gt;" in body and "default-src" in page.split("<body>")[0]
    assert len(page) < 20_000
    assert "Looked at 4 pictures and 2 labels: 4 pictures are worth a second look" in body


def test_a_page_with_nothing_on_it_says_so(hostile, tmp_path):
    table, items, labels = hostile
    write_sheet(table[:0], items, labels, tmp_path / "sheet.html")
    page = (tmp_path / "sheet.html").read_text(encoding="utf-8")
    assert "nothing is worth a second look" in page and "<figure>" not in page


def test_the_command_says_what_is_worth_a_look_and_writes_the_page(posters, tmp_path):
    out, sheet = tmp_path / "s.csv", tmp_path / "sheet.html"
    done = movie_tagger("suspects", posters, "--out", out, "--sheet", sheet)
    assert done.code == 0 and "Looked at 60 pictures and 3 labels" in done.out
    assert sheet.read_text(encoding="utf-8").startswith("<!doctype html>")
    for wrong, why in ((out, "name two files"), (tmp_path, "is a folder")):
        done = movie_tagger("suspects", posters, "--out", out, "--sheet", wrong)
        assert done.code == 1 and why in done.err
