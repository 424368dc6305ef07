"The ledger: what its state means, what it refuses, and what it forgets."

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from movie_tagger import data
from movie_tagger.core import MovieTaggerError
from movie_tagger.ledger import events
from movie_tagger.ledger.ledger import Ledger

ANNA, BEN, USER, SITE = "curator:anna", "curator:ben", "user:17", "import:site.sql"


def frame(n=4, folder="/pictures", **columns):
    "Items of a few pictures that need not be there."
    names = [f"{k}.jpg" for k in range(n)]
    return pd.DataFrame(
        {
            "path": [f"{folder}/{x}" for x in names],
            "sha256": [f"{k:064x}" for k in range(n)],
            "group": "film 1",
            "source": "site.sql",
        }
        | columns,
        index=pd.Index(names, name="item"),
    )


def said(*rows):
    return pd.DataFrame(rows, columns=["item", "tag", "state"], dtype=object)


def cells(ledger, version=None, **kwargs):
    "Known cells as a dict, for comparing."
    labels = ledger.labels(version, **kwargs)
    return {(i, t): bool(v) for t in labels for i, v in labels[t].dropna().items()}


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "ledger.db") as made:
        made.add(frame(), SITE)
        yield made


# --- frames


def test_items_and_labels_are_the_frames_that_data_reads(posters, tmp_path):
    items, labels = data.read(posters)
    with Ledger(tmp_path / "ledger.db") as ledger:
        ledger.add(items, "import:folders")
        yes = labels.stack()
        yes = yes[yes].reset_index().set_axis(["item", "tag", "state"], axis=1)
        ledger.single(list(labels), "import:folders")
        ledger.decide(yes, "import:folders")
        pd.testing.assert_frame_equal(ledger.items(), items)
        pd.testing.assert_frame_equal(ledger.labels(), labels)
        assert data.kind(ledger.labels()) == "single"


def test_three_states_come_back(ledger):
    assert ledger.labels().shape == (4, 0)
    ledger.decide(
        said(
            ("0.jpg", "hat", True),
            ("1.jpg", "hat", False),
            ("2.jpg", "hat", pd.NA),
            ("2.jpg", "car", None),
        ),
        ANNA,
    )
    labels = ledger.labels()
    assert (
        list(labels) == ["hat"]
        and labels["hat"].dtype == "boolean"
        and labels.index.equals(ledger.items().index)
    )
    assert data.to_array(labels)[:, 0].tolist()[:2] == [1, 0] and labels["hat"].isna().tolist() == [
        False,
        False,
        True,
        True,
    ]


def test_an_empty_ledger_has_empty_frames(tmp_path):
    with Ledger(tmp_path / "new" / "ledger.db") as ledger:
        assert list(ledger.items()) == [
            "path",
            "sha256",
            "group",
            "source",
            "error",
        ] and ledger.labels().shape == (0, 0)
        assert (
            ledger.events().empty
            and ledger.rejected().empty
            and ledger.disagreements().empty
            and ledger.summary().empty
            and ledger.versions().empty
        )
        assert str(ledger.diff(0)) == "Nothing changed." and ledger.version == 0
        assert ledger.leaks().empty and ledger.check().empty
        ledger.verify()


def test_ids_that_are_numbers_become_text(tmp_path):
    with Ledger(tmp_path / "ledger.db") as ledger:
        ledger.add(frame().set_axis(pd.Index([1, 2, 3, 4], name="item")), SITE)
        ledger.decide(
            pd.DataFrame({"item": [1, 2], "tag": "hat", "state": np.array([True, False])}), USER
        )
        ledger.exclude([4], ANNA)
        assert ledger.items().index.tolist() == ["1", "2", "3"] and cells(ledger) == {
            ("1", "hat"): True,
            ("2", "hat"): False,
        }


def test_pictures_and_ledger_move_together(tmp_path):
    with Ledger(tmp_path / "a" / "ledger.db") as ledger:
        ledger.add(frame(2, tmp_path / "a" / "pictures"), SITE)
    (tmp_path / "a").rename(tmp_path / "b")
    with Ledger(tmp_path / "b" / "ledger.db") as ledger:
        assert ledger.items()["path"].tolist() == [
            str(tmp_path / "b" / "pictures" / f"{k}.jpg") for k in range(2)
        ]


# --- who counts


@pytest.mark.parametrize(
    ("first", "second", "holds"),
    [
        ((ANNA, True), (USER, False), True),
        ((USER, False), (ANNA, True), True),
        ((SITE, True), (USER, False), False),
        ((USER, False), (SITE, True), False),
        ((ANNA, True), (BEN, False), False),
        ((USER, True), ("api:upload", False), False),
        ((SITE, True), (ANNA, None), None),
        ((ANNA, True), (ANNA, None), None),
        ((SITE, True), (SITE, None), None),
        ((SITE, True), ("import:old", None), True),
        ((SITE, True), ("import:old", False), False),
        ((ANNA, None), (SITE, True), None),
    ],
)
def test_the_higher_kind_holds_and_within_it_the_latest(ledger, first, second, holds):
    for actor, state in (first, second):
        ledger.set("0.jpg", "hat", state, actor)
    assert cells(ledger) == ({} if holds is None else {("0.jpg", "hat"): holds})
    ledger.verify()


def test_exclusion_follows_the_same_order(ledger):
    ledger.exclude(["0.jpg", "1.jpg"], ANNA, "too dark")
    ledger.restore("0.jpg", USER)
    assert ledger.items().index.tolist() == ["2.jpg", "3.jpg"]
    assert ledger.items(hidden=True).index.tolist() == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
    ledger.restore("0.jpg", BEN)
    assert (
        ledger.items().index.tolist() == ["0.jpg", "2.jpg", "3.jpg"] and len(ledger.labels()) == 3
    )
    assert ledger.events(item="0.jpg", last=3)["value"].tolist()[0] == "too dark"
    assert set(ledger.disagreements()["tag"]) == {"(excluded)"}


def test_disagreements_say_whose_word_holds(ledger):
    for actor, state in ((SITE, True), (USER, False), (ANNA, True)):
        ledger.set("0.jpg", "hat", state, actor)
    ledger.set("1.jpg", "hat", True, ANNA), ledger.set("1.jpg", "hat", True, USER)
    table = ledger.disagreements()
    assert table[["item", "actor", "holds"]].to_numpy().tolist() == [
        ["0.jpg", SITE, False],
        ["0.jpg", USER, False],
        ["0.jpg", ANNA, True],
    ]
    ledger.undo(ANNA, actor=USER)
    assert ledger.disagreements().empty


def test_a_rejected_tag_is_a_persons_no(ledger):
    ledger.decide(said(("0.jpg", "hat", False)), SITE)
    ledger.decide(
        said(("1.jpg", "hat", False), ("2.jpg", "hat", False), ("3.jpg", "hat", True)), USER
    )
    ledger.set("2.jpg", "hat", True, ANNA)
    assert ledger.rejected().to_numpy().tolist() == [["1.jpg", "hat"]]
    ledger.exclude("1.jpg", ANNA)
    assert len(ledger.rejected()) == 1
    ledger.set_rules('[merge]\ncap = ["hat"]\n', ANNA)
    assert ledger.rejected().to_numpy().tolist() == [["1.jpg", "cap"]]


# --- undo


def test_undo_of_an_event_a_batch_an_actor_and_the_last_thing(ledger):
    ledger.decide(said(*((f"{k}.jpg", "hat", True) for k in range(4))), SITE, batch="march")
    event = ledger.set("0.jpg", "hat", False, ANNA)
    assert ledger.undo(BEN, event=event) == 1 and cells(ledger)["0.jpg", "hat"] is True
    assert ledger.undo(ANNA, batch="march") == 4 and cells(ledger) == {}
    assert ledger.undo(ANNA, batch="march") == 0
    ledger.set("1.jpg", "car", True, USER), ledger.set("2.jpg", "car", True, USER)
    assert ledger.undo(USER) == 1 and cells(ledger) == {("1.jpg", "car"): True}
    assert ledger.undo(USER) == 1 and ledger.undo(USER) == 0
    assert ledger.undo(ANNA, actor=SITE) == 4 and ledger.items().empty
    ledger.verify()


def test_undoing_an_undo_brings_back(ledger):
    ledger.decide(said(("0.jpg", "hat", True), ("1.jpg", "hat", True)), USER, batch="b")
    ledger.undo(ANNA, batch="b")
    undo = ledger.version
    assert ledger.undo(ANNA, event=undo) == 2 and len(cells(ledger)) == 2
    assert ledger.undo(BEN, event=ledger.version) == 2 and cells(ledger) == {}
    assert [cells(ledger, v) == {} for v in (undo - 1, undo, undo + 1, undo + 2)] == [
        False,
        True,
        False,
        True,
    ]
    ledger.verify()


def test_what_a_vandal_undid_comes_back_when_the_vandal_is_undone(ledger):
    ledger.set("0.jpg", "blood", True, USER)
    ledger.undo("user:666", actor=USER)
    ledger.set("1.jpg", "nonsense", True, "user:666")
    assert ledger.undo(ANNA, actor="user:666") == 2 and cells(ledger) == {("0.jpg", "blood"): True}
    ledger.verify()


def test_an_undone_item_is_gone_and_may_come_again(ledger):
    ledger.add(frame(5).iloc[4:], USER)
    ledger.set("4.jpg", "hat", True, USER)
    assert ledger.undo(ANNA, event=5) == 1 and "4.jpg" not in ledger.items().index
    with pytest.raises(MovieTaggerError, match="There is no item '4.jpg'"):
        ledger.set("4.jpg", "hat", True, USER)
    ledger.add(frame(5), SITE)
    assert cells(ledger) == {("4.jpg", "hat"): True}
    ledger.verify()


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (dict(event=99), "There is no event 99"),
        (dict(batch="none"), "There is no batch 'none'"),
        (dict(actor="user:0"), "There is no actor 'user:0'"),
        (dict(event=1, batch="x"), "Undo one thing"),
    ],
)
def test_an_undo_of_nothing_is_a_sentence(ledger, wrong, sentence):
    with pytest.raises(MovieTaggerError, match=sentence):
        ledger.undo(ANNA, **wrong)


# --- versions


def test_a_version_by_number_name_and_time(ledger):
    ledger.set("0.jpg", "hat", True, USER)
    assert ledger.tag_version("before cleaning") == 5
    ledger.set("0.jpg", "hat", False, ANNA), ledger.exclude("1.jpg", ANNA)
    when = ledger.events()["time"]
    for version in (
        5,
        "5",
        "before cleaning",
        when[5],
        when[5].isoformat(),
        when[5].tz_localize(None),
        when[5].to_pydatetime(),
    ):
        assert (
            cells(ledger, version) == {("0.jpg", "hat"): True} and len(ledger.items(version)) == 4
        )
    assert ledger.items(0).empty and len(ledger.items(2)) == 2
    assert ledger.versions()["event"].to_dict() == {"before cleaning": 5}
    changed = ledger.diff("before cleaning")
    assert changed.table.to_numpy().tolist() == [
        ["0.jpg", "hat", "yes", "no", ANNA],
        ["1.jpg", "(excluded)", "shown", "hidden", ANNA],
    ]
    assert str(changed) == "2 changes on 2 items: 1 × yes → no, 1 × shown → hidden."
    assert len(ledger.diff(0, 4)) == 4 and len(ledger.diff(7, "before cleaning")) == 2


@pytest.mark.parametrize("wrong", [99, -1, "yesterdy", "99"])
def test_a_version_that_is_not_there(ledger, wrong):
    with pytest.raises(MovieTaggerError, match="There is no version"):
        ledger.labels(wrong)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("a", "already"), ("17", "cannot be the name"), (" ", "cannot be the name")],
)
def test_a_bad_name_for_a_version(ledger, name, sentence):
    ledger.tag_version("a")
    with pytest.raises(MovieTaggerError, match=sentence):
        ledger.tag_version(name)


def test_time_never_runs_backwards(ledger, monkeypatch):
    import time

    monkeypatch.setattr(time, "time_ns", lambda: 1_000_000)
    ledger.set("0.jpg", "hat", True, USER)
    assert ledger.events()["time"].is_monotonic_increasing


# --- rules and sets of tags of which one is yes


def test_rules_are_read_with_the_version_they_belong_to(ledger):
    ledger.decide(
        said(
            ("0.jpg", "Telephone", True),
            ("1.jpg", "phones", True),
            ("2.jpg", "SotD", True),
            ("3.jpg", "a,b", True),
        ),
        SITE,
    )
    assert set(ledger.labels()) == {"Telephone", "phones", "SotD"}
    first = ledger.set_rules('exclude = ["sotd"]\n[merge]\nphone = ["telephone", "phones"]\n', ANNA)
    assert cells(ledger) == {("0.jpg", "phone"): True, ("1.jpg", "phone"): True}
    assert (
        ledger.set_rules('exclude = ["sotd"]\n[merge]\nphone = ["telephone", "phones"]\n', BEN) == 0
    )
    ledger.set_rules("min_count = 2\n", ANNA)
    assert (
        cells(ledger) == {}
        and set(ledger.labels(first)) == {"phone"}
        and set(ledger.labels(raw=True)) == {"Telephone", "phones", "SotD", "a,b"}
    )
    assert set(ledger.labels(rules={"min_count": 1})) == {"telephone", "phones", "sotd"}
    ledger.undo(ANNA)
    assert set(ledger.labels()) == {"phone"}
    assert "The rules changed." in str(ledger.diff(first - 1, first))


def test_rules_from_a_file_and_rules_that_are_none(ledger, tmp_path):
    (tmp_path / "rules.toml").write_text('exclude = ["hat"]')
    ledger.set("0.jpg", "hat", True, USER)
    ledger.set_rules(tmp_path / "rules.toml", ANNA)
    assert cells(ledger) == {}
    with pytest.raises(MovieTaggerError, match="nothing.toml"):
        ledger.set_rules(tmp_path / "nothing.toml", ANNA)
    with pytest.raises(MovieTaggerError, match="circle"):
        ledger.set_rules('[merge]\na = ["b"]\nb = ["a"]\n', ANNA)
    assert ledger.events()["kind"].tolist().count("rules") == 1


def test_a_curators_no_holds_for_all_spellings(ledger):
    ledger.set_rules('[merge]\nphone = ["telephone"]\n[implies]\nhorse = ["animal"]\n', ANNA)
    ledger.decide(
        said(("0.jpg", "telephone", True), ("0.jpg", "horse", True), ("1.jpg", "horse", True)), SITE
    )
    ledger.decide(said(("0.jpg", "phone", False), ("0.jpg", "animal", False)), ANNA)
    assert cells(ledger) == {
        ("0.jpg", "phone"): False,
        ("0.jpg", "horse"): True,
        ("0.jpg", "animal"): False,
        ("1.jpg", "horse"): True,
        ("1.jpg", "animal"): True,
    }
    assert ledger.rejected()["tag"].tolist() == ["animal", "phone"]


def test_one_of_several_is_yes(ledger):
    ledger.single(["horror", "romance", "superhero"], ANNA)
    assert ledger.single(["romance", "superhero", "horror"], BEN) == 0
    ledger.decide(
        said(
            ("0.jpg", "horror", True),
            ("1.jpg", "horror", True),
            ("2.jpg", "romance", True),
            ("2.jpg", "car", True),
        ),
        SITE,
    )
    ledger.set("0.jpg", "romance", True, ANNA), ledger.set("1.jpg", "horror", False, ANNA)
    assert cells(ledger) == {
        ("0.jpg", "romance"): True,
        ("0.jpg", "horror"): False,
        ("0.jpg", "superhero"): False,
        ("1.jpg", "horror"): False,
        ("2.jpg", "romance"): True,
        ("2.jpg", "horror"): False,
        ("2.jpg", "superhero"): False,
        ("2.jpg", "car"): True,
    }
    assert {tuple(r) for r in ledger.rejected().to_numpy()} == {
        ("0.jpg", "horror"),
        ("0.jpg", "superhero"),
        ("1.jpg", "horror"),
    }
    with pytest.raises(MovieTaggerError, match="cannot be both 'horror' and 'romance'"):
        ledger.decide(said(("3.jpg", "horror", True), ("3.jpg", "romance", True)), ANNA)
    ledger.undo(ANNA, event=ledger.events(actor=ANNA).index[1])
    assert cells(ledger)["0.jpg", "horror"] is True
    ledger.verify()


# --- sources that come again


def test_a_rerun_adds_only_what_is_new(ledger):
    march = said(("0.jpg", "hat", True), ("1.jpg", "hat", True), ("2.jpg", "car", True))
    assert ledger.sync(frame(), march, SITE, "march") == 3
    assert ledger.sync(frame(), march, SITE, "march again") == 0
    ledger.set("1.jpg", "hat", False, ANNA), ledger.set("2.jpg", "car", True, USER)
    before = ledger.version
    assert ledger.sync(frame(), march, SITE) == 0 and ledger.version == before
    april = said(("0.jpg", "hat", True), ("4.jpg", "dog", True))
    assert ledger.sync(frame(5), april, SITE, "april") == 4
    assert cells(ledger) == {
        ("0.jpg", "hat"): True,
        ("1.jpg", "hat"): False,
        ("2.jpg", "car"): True,
        ("4.jpg", "dog"): True,
    }
    assert ledger.undo(ANNA, batch="april") == 4 and cells(ledger) == {
        ("0.jpg", "hat"): True,
        ("1.jpg", "hat"): False,
        ("2.jpg", "car"): True,
    }
    ledger.verify()


def test_a_tag_removed_on_the_site_is_unknown_again(ledger):
    ledger.sync(frame(), said(("0.jpg", "hat", True), ("1.jpg", "hat", True)), SITE)
    ledger.sync(frame(), said(("1.jpg", "hat", True)), SITE)
    assert cells(ledger) == {("1.jpg", "hat"): True} and ledger.labels()["hat"].isna()["0.jpg"]
    ledger.sync(frame().iloc[:1], said(), SITE)  # about the first still only
    ledger.sync(frame(), said(), SITE, complete=False)  # only what is new
    assert cells(ledger) == {("1.jpg", "hat"): True}
    ledger.sync(frame(), said(("0.jpg", "hat", True), ("1.jpg", "hat", True)), SITE)
    assert len(cells(ledger)) == 2
    ledger.verify()


def test_a_batch_that_is_there_is_not_written_again(ledger):
    one = said(("0.jpg", "hat", True))
    assert [ledger.decide(one, USER, batch="click 1", once=True) for _ in range(3)] == [1, 0, 0]
    assert (
        ledger.decide(one, USER, batch="click 1") == 1 and len(ledger.events(batch="click 1")) == 2
    )
    with pytest.raises(MovieTaggerError, match="needs the name of a batch"):
        ledger.decide(one, USER, once=True)


def test_items_keep_their_group_and_may_move(ledger):
    new = frame(5, "/elsewhere", group="film 2")
    assert ledger.add(new, SITE) == 5
    items = ledger.items()
    assert (
        items["group"].tolist() == ["film 1"] * 4 + ["film 2"]
        and items["path"].str.startswith("/elsewhere").all()
    )
    assert ledger.add(new, SITE) == 0 and ledger.add(new, SITE, regroup=True) == 4
    assert set(ledger.items()["group"]) == {"film 2"}
    bare = pd.DataFrame({"path": ["x.jpg"]}, index=["x"])
    ledger.add(bare, SITE)
    assert (
        ledger.items().loc["x", ["sha256", "group", "source"]].tolist() == ["", "x", ""]
        and ledger.items().loc["x", "error"] is None
    )


def test_adding_a_fifth_moves_no_item_between_splits(tmp_path):
    rng = np.random.default_rng(0)
    items = frame(500).assign(group=[f"film {g}" for g in rng.integers(0, 60, 500)])
    old = items.sample(frac=0.8, random_state=0)
    with Ledger(tmp_path / "ledger.db") as ledger:
        ledger.add(old, SITE)
        before = ledger.items()["group"]
        # even where the source names its films anew
        ledger.add(items.assign(group=[f"other {g}" for g in items["group"]]), SITE)
        after = ledger.items()["group"]
    assert (
        len(after) == 500
        and (
            pd.Series(data.split(after), after.index)[before.index].to_numpy() == data.split(before)
        ).all()
    )
    assert (
        pd.Series(data.folds(after), after.index)[before.index].to_numpy() == data.folds(before)
    ).all()


# --- bad input


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([("0.jpg", "hat", True), ("no.jpg", "hat", True)], "There is no item 'no.jpg'"),
        ([("0.jpg", "hat", True), ("1.jpg", "", True)], "is no tag"),
        ([("0.jpg", "hat", True), ("1.jpg", None, True)], "said of 1.jpg, is no tag"),
        ([("0.jpg", "hat", True), ("1.jpg", "hat", "yes")], "not 'yes'"),
        (
            [("0.jpg", "hat", True), ("0.jpg", "hat", False)],
            "Two things are said about 'hat' of 0.jpg",
        ),
        ([("0.jpg", "hat", 2)], "not 2"),
    ],
)
def test_a_bad_batch_leaves_nothing(ledger, rows, sentence):
    before = ledger.version
    with pytest.raises(MovieTaggerError, match=sentence):
        ledger.decide(said(*rows), USER, batch="b")
    assert (
        ledger.version == before
        and cells(ledger) == {}
        and "b" not in ledger.events()["batch"].tolist()
    )


def test_decisions_without_a_column(ledger):
    with pytest.raises(MovieTaggerError, match="no column 'state'"):
        ledger.decide(pd.DataFrame({"item": ["0.jpg"], "tag": ["hat"]}), USER)


@pytest.mark.parametrize("actor", ["anna", "model:7", "curator:", "", "robot:x", ":x", "curator: "])
def test_an_actor_needs_a_kind_and_a_name(ledger, actor):
    with pytest.raises(MovieTaggerError, match="is no actor"):
        ledger.set("0.jpg", "hat", True, actor)


def test_unknown_tags_may_be_refused(ledger):
    ledger.set("0.jpg", "blood", True, USER)
    with pytest.raises(
        MovieTaggerError, match="There is no tag 'blod' in the ledger; did you mean 'blood'?"
    ):
        ledger.decide(said(("0.jpg", "blood", True), ("1.jpg", "blod", True)), ANNA, new_tags=False)
    with pytest.raises(MovieTaggerError, match="did you mean 'blood'?"):
        ledger.labels(tags=["blod"])
    assert list(ledger.labels(tags=["blood"])) == ["blood"]


def test_two_curators_on_the_same_cell(ledger):
    looked = ledger.version
    ledger.set("0.jpg", "blood", False, BEN)
    with pytest.raises(
        MovieTaggerError, match="curator:ben has said no to 'blood' of 0.jpg since you looked"
    ):
        ledger.decide(said(("1.jpg", "blood", True), ("0.jpg", "blood", True)), ANNA, seen=looked)
    assert cells(ledger) == {("0.jpg", "blood"): False}
    ledger.set("0.jpg", "blood", False, USER)  # whom she overrules anyway
    ledger.decide(said(("0.jpg", "blood", True)), ANNA, seen=ledger.version - 1)
    assert cells(ledger) == {("0.jpg", "blood"): True}


def test_a_picture_that_changed(posters, tmp_path):
    folder = shutil.copytree(posters, tmp_path / "posters")
    items, _ = data.read(folder)
    with Ledger(tmp_path / "ledger.db") as ledger:
        ledger.add(items, "import:folders")
        assert ledger.check().empty
        first, second = items["path"].iloc[:2]
        Path(first).write_bytes(Path(items["path"].iloc[5]).read_bytes())
        os.remove(second)
        assert ledger.check().to_dict() == {
            items.index[0]: f"{first} has changed since it was added.",
            items.index[1]: f"{second} is not there.",
        }
        before = ledger.version
        with pytest.raises(
            MovieTaggerError,
            match=f"The picture of {items.index[0]} has changed since it was added",
        ):
            ledger.add(data.read(folder)[0], "import:folders")
        assert ledger.version == before
        assert ledger.add(
            data.read(folder)[0], "import:folders", replace=True
        ) == 1 and ledger.check().index.tolist() == [items.index[1]]


def test_items_twice_in_a_frame(ledger):
    with pytest.raises(MovieTaggerError, match="more than once"):
        ledger.add(pd.concat([frame(1), frame(1)]), SITE)


def not_a_ledger(folder, kind):
    path = folder / "other.db"
    if kind == "text":
        path.write_text("a shopping list, " * 100)
    elif kind == "database":
        sqlite3.connect(path).execute("CREATE TABLE eggs (n)").connection.close()
    else:
        path.mkdir()
    return path


@pytest.mark.parametrize("kind", ["text", "database", "folder"])
def test_what_is_no_ledger_is_left_as_it_is(tmp_path, kind):
    path = not_a_ledger(tmp_path, kind)
    before = path.is_file() and path.read_bytes()
    with pytest.raises(MovieTaggerError, match="not a ledger|is a folder"):
        Ledger(path)
    assert (
        (path.is_file() and path.read_bytes()) == before
        and not events.is_ledger(path)
        and [p.name for p in tmp_path.iterdir()] == ["other.db"]
    )


def test_no_ledger_is_made_where_one_is_expected(tmp_path):
    with pytest.raises(MovieTaggerError, match="There is no ledger"):
        Ledger(tmp_path / "x.db", create=False)
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    with pytest.raises(MovieTaggerError, match="Cannot make the folder"):
        Ledger(tmp_path / "file" / "x.db")


def test_a_newer_schema_is_left_alone(ledger):
    path = ledger.path
    ledger.close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(
        MovieTaggerError, match="written by a newer movie_tagger .*99.*pip install -U"
    ):
        Ledger(path)
    with sqlite3.connect(path) as db:
        assert events.pragma(db, "user_version") == 99
    db.close()


def test_an_older_schema_is_brought_up_to_date(ledger):
    (
        ledger.decide(said(("0.jpg", "hat", True), ("1.jpg", "hat", True)), SITE),
        ledger.set("0.jpg", "hat", False, ANNA),
        ledger.undo(ANNA),
        ledger.exclude("3.jpg", USER),
    )
    items, labels = ledger.read()
    happened = ledger.events()
    path = ledger.path
    ledger.close()
    with sqlite3.connect(path) as db:  # as the first schema had it: the record without the present
        for table in ("cell", "present", "undone", "look"):
            db.execute(f"DROP TABLE {table}")
        db.execute("PRAGMA user_version = 1")
    db.close()
    with Ledger(path) as again:
        pd.testing.assert_frame_equal(again.items(), items)
        pd.testing.assert_frame_equal(again.labels(), labels)
        pd.testing.assert_frame_equal(again.events(), happened)
        again.verify()


def test_a_file_of_no_bytes_becomes_a_ledger(tmp_path):
    (tmp_path / "x.db").touch()
    with Ledger(tmp_path / "x.db") as ledger:
        assert ledger.version == 0
    assert events.is_ledger(tmp_path / "x.db")


def test_a_damaged_file_is_a_sentence(ledger):
    ledger.sync(frame(400), said(*((f"{k}.jpg", "hat", True) for k in range(400))), SITE)
    path = ledger.path
    ledger.close()
    content = bytearray(path.read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(MovieTaggerError, match="damaged|not a ledger"), Ledger(path) as broken:
        broken.labels()
        broken.verify()


FULL = """
import resource, sys
import pandas as pd
from movie_tagger.core import MovieTaggerError
from movie_tagger.ledger.ledger import Ledger
with Ledger(sys.argv[1]) as ledger:
    names = ledger.items().index
    tags = [f"tag {k}" for k in range(50) for _ in names]
    rows = pd.DataFrame({"item": list(names) * 50, "tag": tags, "state": True})
    if sys.argv[2] == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
    try:
        ledger.decide(rows, "user:17", batch="big")
    except MovieTaggerError as e:
        print(e)
    if sys.argv[2] != "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    print(ledger.version)
"""


def test_a_disk_that_fills_up_in_mid_batch(tmp_path):
    path = tmp_path / "ledger.db"
    with Ledger(path) as ledger:
        ledger.add(frame(400), SITE)
        ledger.set("0.jpg", "hat", True, USER)
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path), "limit"], capture_output=True, text=True, timeout=60
    )
    assert (
        "the disk is full or failing. Nothing of this step was kept" in done.stdout
        and done.stdout.split()[-1] == "401"
    ), done
    with Ledger(path) as ledger:
        assert cells(ledger) == {("0.jpg", "hat"): True} and ledger.version == 401
        ledger.verify()


@pytest.fixture
def small_disk(tmp_path):
    "A disk of one megabyte; skips where mounting is not allowed."
    folder = tmp_path / "disk"
    folder.mkdir()
    if (
        os.geteuid()
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)], capture_output=True
        ).returncode
    ):
        pytest.skip(
            "run as root where file systems can be mounted to see a real disk fill up; "
            "RLIMIT_FSIZE stands for it elsewhere"
        )
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_real_disk_that_fills_up(small_disk):
    with Ledger(small_disk / "ledger.db") as ledger:
        ledger.add(frame(400), SITE)
        big = said(*((f"{k}.jpg", f"tag {t}", True) for k in range(400) for t in range(100)))
        with pytest.raises(MovieTaggerError, match="the disk is full"):
            ledger.decide(big, USER)
        assert ledger.version == 400 and cells(ledger) == {}
        ledger.set("0.jpg", "hat", True, USER)
        assert cells(ledger) == {("0.jpg", "hat"): True}
        ledger.verify()


def test_a_read_only_disk_can_be_read(small_disk):
    with Ledger(small_disk / "ledger.db") as ledger:
        ledger.add(frame(), SITE), ledger.set("0.jpg", "hat", True, USER)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with Ledger(small_disk / "ledger.db") as ledger:
        assert cells(ledger) == {("0.jpg", "hat"): True} and events.is_ledger(
            small_disk / "ledger.db"
        )
        with pytest.raises(MovieTaggerError, match="read-only disk"):
            ledger.set("0.jpg", "hat", False, USER)
    with pytest.raises(MovieTaggerError, match="Cannot open|read-only"):
        Ledger(small_disk / "new.db")


def test_a_file_one_may_not_write_is_a_sentence(ledger):
    path = ledger.path
    ledger.close()

    class ReadOnly(Ledger):
        @property
        def _db(self):
            db = super()._db
            db.execute("PRAGMA query_only = ON")
            return db

    with (
        ReadOnly(path) as shut,
        pytest.raises(MovieTaggerError, match="read-only disk, or you may not write there"),
    ):
        shut.set("0.jpg", "hat", True, USER)


# --- copies and erasing


def content(ledger):
    return b"".join(p.read_bytes() for p in ledger.path.parent.glob(ledger.path.name + "*"))


def test_a_backup_is_of_one_moment_and_opens(ledger, tmp_path):
    ledger.set("0.jpg", "hat", True, USER)
    (tmp_path / "copies").mkdir()
    ledger.backup(tmp_path / "copies" / "ledger.db")
    ledger.set("0.jpg", "hat", False, ANNA)
    ledger.backup(tmp_path / "copies" / "two.db")
    with Ledger(tmp_path / "copies" / "ledger.db") as copy:
        assert cells(copy) == {("0.jpg", "hat"): True}
        copy.set("1.jpg", "hat", True, USER)
        copy.verify()
    with pytest.raises(MovieTaggerError, match="is the ledger itself"):
        ledger.backup(ledger.path)
    ledger.backup(tmp_path / "copies" / "ledger.db")
    assert sorted(p.name for p in (tmp_path / "copies").iterdir()) == ["ledger.db", "two.db"]


def test_a_person_who_asks_to_be_erased(ledger):
    person = "user:margarethe.von.trotta"
    ledger.decide(
        said(("0.jpg", "hat", True), ("1.jpg", "hat", True)), person, batch="margarethe's evening"
    )
    (
        ledger.note("0.jpg", "regards from Margarethe", person),
        ledger.exclude("2.jpg", person, "Margarethe thinks not"),
    )
    ledger.tag_version("before")
    assert ledger.forget(person, ANNA) == 4
    assert (
        cells(ledger) == {("0.jpg", "hat"): True, ("1.jpg", "hat"): True} == cells(ledger, "before")
        and len(ledger.items()) == 3
    )
    assert b"argarethe" not in content(ledger)
    last = ledger.events().iloc[-1]
    assert (
        last[["kind", "actor"]].tolist() == ["forget", ANNA]
        and last[["item", "value"]].isna().all()
        and ledger.events()["actor"].str.startswith("user:forgotten").sum() == 4
    )
    ledger.verify()
    with pytest.raises(MovieTaggerError, match="There is no actor"):
        ledger.forget(person, ANNA)
    with pytest.raises(MovieTaggerError, match="cannot sign for it"):
        ledger.forget(ANNA, ANNA)
    with pytest.raises(MovieTaggerError, match="cannot be undone"):
        ledger.undo(ANNA, event=ledger.version)


def test_a_person_may_take_the_decisions_along(ledger):
    (
        ledger.set("0.jpg", "hat", False, SITE),
        ledger.set("0.jpg", "hat", True, USER),
        ledger.undo(USER, actor=SITE),
    )
    assert ledger.items().empty
    assert ledger.forget(USER, ANNA, keep=False) == 2
    assert cells(ledger) == {("0.jpg", "hat"): False} and len(ledger.items()) == 4
    ledger.verify()


def test_a_picture_that_must_go(ledger):
    secret = (
        frame(1)
        .set_axis(pd.Index(["private party.jpg"], name="item"))
        .assign(path="/pictures/private party.jpg", sha256="5ec7e7" * 10)
    )
    ledger.add(secret, USER)
    event = ledger.set("private party.jpg", "nudity", True, USER)
    ledger.set("0.jpg", "hat", True, USER), ledger.undo(ANNA, event=event)
    assert ledger.purge("private party.jpg", ANNA) == 2
    assert (
        len(ledger.items()) == 4
        and cells(ledger) == {("0.jpg", "hat"): True}
        and len(ledger.items(5)) == 4
    )
    assert not any(secret in content(ledger) for secret in (b"private party", b"5ec7e7"))
    last = ledger.events().iloc[-1]
    assert last["kind"] == "purge" and last[["item", "tag", "value"]].isna().all()
    assert ledger.set("1.jpg", "hat", True, USER) == ledger.version  # numbers are not used again
    ledger.verify()
    with pytest.raises(MovieTaggerError, match="There is no item"):
        ledger.purge("private party.jpg", ANNA)


# --- several at once


def test_threads_share_a_ledger(ledger):
    def work(k):
        for n in range(20):
            ledger.set(f"{n % 4}.jpg", f"tag {k}", bool(n % 2), f"user:{k}"), ledger.labels()

    threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(ledger.events()) == 4 + 6 * 20
    ledger.verify()


def test_a_reader_does_not_wait_for_a_writer(ledger):
    with ledger._writing() as db:
        db.execute("INSERT INTO tag (name) VALUES ('half done')")
        seen = []
        reader = threading.Thread(target=lambda: seen.append(len(ledger.items())))
        reader.start()
        reader.join(20)
    assert seen == [4]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_process_gets_connections_of_its_own(ledger):
    ledger.set("0.jpg", "hat", True, USER)
    pid = os.fork()
    if not pid:
        try:
            ledger.set("1.jpg", "hat", True, "user:18")
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    assert cells(ledger) == {("0.jpg", "hat"): True, ("1.jpg", "hat"): True}
    ledger.verify()


def test_a_ledger_that_stays_busy_is_a_sentence(ledger):
    with (
        ledger._writing(),
        Ledger(ledger.path, wait=0.1) as other,
        pytest.raises(MovieTaggerError, match="Another program has been writing"),
    ):
        other.set("0.jpg", "hat", True, USER)


# --- leaks


def test_leaks_finds_what_was_planted(tmp_path):
    from movie_tagger.sample.make import make_sample

    sample = make_sample(tmp_path / "sample", posters=150, stills=200, seed=5)
    items, _ = data.read(sample.posters)
    planted = pd.read_csv(sample.posters_planted).query("mistake == 'near duplicate'")
    planted = {frozenset(pair) for pair in planted[["item", "truth"]].to_numpy()}
    with Ledger(tmp_path / "ledger.db") as ledger:
        ledger.add(items.assign(group=items.index), "import:folders")
        found = ledger.leaks()
        again = ledger.leaks(split=np.arange(len(items)) % 2)
        assert {frozenset(p) for p in again[["item", "other"]].to_numpy()} == {
            frozenset(p) for p in found[["item", "other"]].to_numpy()
        }
        with pytest.raises(MovieTaggerError, match="one row for each"):
            ledger.leaks(split=[1])
        x = np.eye(len(items), dtype=np.float32)
        x[7] = x[3] * 2
        assert {items.index[3], items.index[7]} in [
            set(p)
            for p in ledger.leaks(embeddings=x)
            .query("by == 'embedding'")[["item", "other"]]
            .to_numpy()
        ]
    found = {frozenset(p) for p in found[["item", "other"]].to_numpy()}
    assert planted and planted <= found and len(planted) >= 0.95 * len(found)


def test_a_pair_in_one_group_leaks_only_across_a_split(posters, tmp_path):
    folder = tmp_path / "twins"
    folder.mkdir()
    for name in ("a.jpg", "b.jpg"):
        shutil.copy(next(posters.rglob("*.jpg")), folder / name)
    items = (
        frame(2, folder)
        .set_axis(["a.jpg", "b.jpg"])
        .assign(path=[str(folder / n) for n in ("a.jpg", "b.jpg")], group="film")
    )
    with Ledger(tmp_path / "ledger.db") as ledger:
        ledger.add(items, SITE)
        assert ledger.leaks().empty and ledger.leaks(split=["train", "valid"])[
            "across"
        ].tolist() == [True]
