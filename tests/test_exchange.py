"Into the ledger and out of it: dumps, class folders and tables, again and again; the commands."

import os
import shutil
import sqlite3
from pathlib import Path

import pandas as pd
import pytest

from movie_tagger import data, tags
from movie_tagger.core import MovieTaggerError, sha256
from movie_tagger.ledger import exchange
from movie_tagger.ledger.files import digests
from movie_tagger.ledger.ledger import Ledger
from movie_tagger.sample.make import make_sample


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return make_sample(tmp_path_factory.mktemp("sample") / "s", posters=60, stills=200, seed=4)


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "ledger.db") as made:
        yield made


def read_site(sample):
    return (lambda t: (t["shots"], t["tags"]))(tags.read_dump(sample.dump, ["shots", "tags"]))


def test_a_sites_dump_comes_in_as_it_was_typed(sample, ledger):
    shots, typed = read_site(sample)
    took, report = exchange.import_site(ledger, shots, typed, sample.images, "import:site.sql")
    good = typed[typed["ref_id"].isin(shots["id"])]
    distinct = good.drop_duplicates(["value", "ref_id"])
    assert (
        report.sum() == len(typed)
        and report["taken over"] == len(distinct)
        and took == len(shots) + len(distinct)
    )
    raw = ledger.labels(raw=True)
    assert (
        raw.eq(False).sum().sum() == 0
        and int(raw.sum().sum()) == len(distinct)
        and set(raw) == set(distinct["value"])
    )
    assert ledger.summary().to_dict("index") == {
        "import:site.sql": {"yes": len(distinct), "no": 0, "unknown": 0}
    }
    items = ledger.items()
    assert items["error"].isna().all() and items["sha256"].iloc[0] == sha256(
        Path(items["path"].iloc[0])
    )
    before = ledger.version
    assert (
        exchange.import_site(ledger, shots, typed, sample.images, "import:site.sql")[0] == 0
        and ledger.version == before
    )
    ledger.verify()


def test_the_rules_give_what_the_tags_chapter_gives(sample, ledger):
    shots, typed = read_site(sample)
    rules = tags.read_rules(
        {
            "merge": {"telephone": ["phone"], "woman": ["lady", "female"]},
            "implies": {"hat": ["man"]},
            "exclude": ["sotd", "couple"],
            "min_count": 5,
        }
    )
    exchange.import_site(ledger, shots, typed, sample.images, "import:site.sql")
    kept, _ = tags.clean_tags(typed, rules, shots)
    expected = tags.tag_labels(tags.tag_table(shots, kept).assign(id=lambda t: t["image"]))
    got = ledger.labels(rules=rules)
    assert list(got) == list(expected)
    assert got.reindex(expected.index).eq(True).fillna(False).equals(
        expected.eq(True).fillna(False)
    ) and int(got.sum().sum()) == int(expected.sum().sum())


def test_a_site_that_changes(sample, ledger):
    shots, typed = read_site(sample)
    exchange.import_site(ledger, shots, typed, sample.images, "import:site.sql")
    kept = typed[typed["ref_id"].isin(shots["id"])].drop_duplicates(["value", "ref_id"])
    gone, stays = kept.iloc[0], kept.iloc[1]
    for row in (gone, stays):
        ledger.note(
            shots.set_index("id")["shot_image_id"][row["ref_id"]], "looked at", "curator:anna"
        )
    name = shots.set_index("id")["shot_image_id"]
    ledger.set(name[stays["ref_id"]], stays["value"], True, "curator:anna")
    less = typed[
        ~(
            (typed["value"].isin([gone["value"], stays["value"]]))
            & typed["ref_id"].isin([gone["ref_id"], stays["ref_id"]])
        )
    ]
    exchange.import_site(ledger, shots, less, sample.images, "import:site.sql")
    labels = ledger.labels(raw=True)
    assert (
        labels.loc[name[gone["ref_id"]], gone["value"]] is pd.NA
        and labels.loc[name[stays["ref_id"]], stays["value"]]
    )
    before = ledger.version
    exchange.import_site(
        ledger, shots, less.iloc[:5], sample.images, "import:site.sql", complete=False
    )
    assert ledger.version == before


def test_class_folders_stay_single_label_and_are_read_for_training(sample, ledger):
    took = exchange.import_data(ledger, sample.posters)
    assert took == 60 + 60 + 1 and exchange.import_data(ledger, sample.posters) == 0
    assert ledger.undo("import:posters") == took and ledger.items().empty
    assert ledger.undo("curator:anna", event=ledger.version) == took
    items, labels = data.read(sample.posters)
    got_items, got = exchange.read(ledger.path)
    pd.testing.assert_frame_equal(got, labels)
    pd.testing.assert_frame_equal(got_items.drop(columns="error"), items.drop(columns="error"))
    a, b, c = items.index[:3]
    other = next(t for t in labels if not labels.loc[a, t])
    (
        ledger.set(a, other, True, "curator:anna"),
        ledger.set(b, labels.columns[labels.loc[b]][0], False, "curator:anna"),
        ledger.exclude(c, "curator:anna"),
    )
    _, cleaned = exchange.read(ledger.path)
    assert (
        data.kind(cleaned) == "single" and len(cleaned) == 58 and cleaned.loc[a, other]
    )  # b has no class now
    _, before = exchange.read(ledger.path, version=took + 2)
    pd.testing.assert_frame_equal(before, labels)


def test_new_pictures_join_the_group_of_an_old_near_duplicate(sample, ledger, tmp_path):
    folder = shutil.copytree(sample.posters, tmp_path / "posters")
    exchange.import_data(ledger, folder, "import:posters")
    before = ledger.items()["group"]
    old = before.index[-1]
    # its name comes first, so a new reading names the group after it
    shutil.copy(folder / old, folder / "horror" / "0000 a copy.jpg")
    exchange.import_data(ledger, folder, "import:posters")
    after = ledger.items()["group"]
    assert after[before.index].equals(before) and after["horror/0000 a copy.jpg"] == before[old]
    assert ledger.leaks().empty


def test_a_table_where_absent_means_no(sample, ledger):
    exchange.import_data(ledger, sample.stills_truth, absent="no")
    pd.testing.assert_frame_equal(ledger.labels(), data.read(sample.stills_truth, absent="no")[1])


def test_a_csv_goes_out_and_comes_back(sample, ledger, tmp_path):
    exchange.import_data(ledger, sample.tags, absent="unknown")
    ledger.set(ledger.items().index[0], "blood", False, "user:1")
    n = exchange.export_csv(ledger, tmp_path / "out.csv")
    items, labels = data.read(tmp_path / "out.csv", absent="unknown")
    mine = ledger.labels()
    assert n == len(items) == mine.notna().any(axis=1).sum()
    pd.testing.assert_frame_equal(labels, mine.loc[labels.index])


@pytest.mark.parametrize("copy", [False, True])
def test_a_folder_goes_out_and_comes_back(sample, ledger, tmp_path, copy):
    exchange.import_data(ledger, sample.posters, "import:posters")
    assert exchange.export_folder(ledger, tmp_path / "out", copy) == 60
    items, labels = data.read(tmp_path / "out")
    assert sorted(items["sha256"]) == sorted(ledger.items()["sha256"]) and labels.sum().equals(
        ledger.labels().sum()
    )
    assert all(Path(p).is_symlink() != copy for p in items["path"])
    with pytest.raises(MovieTaggerError, match="is not empty"):
        exchange.export_folder(ledger, tmp_path / "out", copy)


def test_a_folder_of_stills_has_a_table(sample, ledger, tmp_path):
    exchange.import_data(ledger, sample.tags, absent="unknown")
    exchange.export_folder(ledger, tmp_path / "out")
    items, labels = data.read(tmp_path / "out" / "tags.csv", absent="unknown")
    assert items["error"].isna().all() and int(labels.sum().sum()) == int(
        ledger.labels().sum().sum()
    )


def test_pictures_of_the_same_name_do_not_overwrite_each_other(tmp_path, posters, ledger):
    files = sorted(posters.rglob("*.jpg"))[:2]
    for k, file in enumerate(files):
        (tmp_path / "in" / str(k)).mkdir(parents=True)
        shutil.copy(file, tmp_path / "in" / str(k) / "poster.jpg")
    (tmp_path / "in" / "tags.csv").write_text("image,tags\n0/poster.jpg,a\n1/poster.jpg,b\n")
    exchange.import_data(ledger, tmp_path / "in" / "tags.csv", absent="unknown")
    exchange.export_folder(ledger, tmp_path / "out", copy=True)
    assert sorted(p.name for p in (tmp_path / "out" / "images").iterdir()) == [
        "poster (2).jpg",
        "poster.jpg",
    ]


def test_what_cannot_be_read_or_written_is_a_sentence(sample, ledger, tmp_path):
    with pytest.raises(MovieTaggerError, match="Nobody has said anything yet"):
        exchange.read(ledger.path)
    for export, target in ((exchange.export_csv, "a.csv"), (exchange.export_folder, "a")):
        with pytest.raises(MovieTaggerError, match="There is nothing to write"):
            export(ledger, tmp_path / target)
    exchange.import_data(ledger, sample.posters)
    with pytest.raises(MovieTaggerError, match="leave --images and --absent away"):
        exchange.read(ledger.path, absent="no")
    with pytest.raises(MovieTaggerError, match="is not a ledger, so it has no versions"):
        exchange.read(sample.posters, version=3)
    with pytest.raises(
        MovieTaggerError, match="There is no version 'monday'|There is no version 'mondy'"
    ):
        exchange.read(ledger.path, version="mondy")
    assert not (tmp_path / "a").exists() and not (tmp_path / "a.csv").exists()


def test_a_picture_that_vanished_is_told_at_reading_and_stops_a_folder(sample, ledger, tmp_path):
    folder = shutil.copytree(sample.posters, tmp_path / "posters")
    exchange.import_data(ledger, folder, "import:posters")
    name = ledger.items().index[3]
    (folder / name).unlink()
    items, _ = exchange.read(ledger.path)
    assert (
        items["error"].dropna().index.tolist() == [name]
        and "is not there" in items.loc[name, "error"]
    )
    with pytest.raises(MovieTaggerError, match="is not there: restore it"):
        exchange.export_folder(ledger, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_source_hides_and_shows_only_what_it_hid_itself(sample, ledger):
    shots, typed = read_site(sample)

    def month(kept):
        return exchange.import_site(
            ledger, kept, typed, sample.images, "import:site.sql", trust=True, hide_gone=True
        )[0]

    month(shots)
    names = shots["shot_image_id"].tolist()
    gone, by_anna, by_both, put_back = names[:4]
    ledger.exclude([by_anna, by_both], "curator:anna")
    assert month(shots.iloc[4:]) == 2  # the other two are hidden already
    ledger.restore(put_back, "curator:anna")
    assert month(shots.iloc[4:]) == 0 and put_back in ledger.items().index
    assert month(shots) == 1 and set(ledger.items(hidden=True).index) - set(
        ledger.items().index
    ) == {by_anna, by_both}


def test_a_source_that_comes_by_itself_leaves_a_changed_picture_out(sample, ledger, tmp_path):
    shots, typed = read_site(sample)
    folder = shutil.copytree(sample.images, tmp_path / "images")
    exchange.import_site(ledger, shots, typed, folder, "import:site.sql")
    name, other = shots["shot_image_id"].iloc[:2]
    old = (folder / name).read_bytes()
    shutil.copy(folder / other, folder / name)
    with pytest.raises(MovieTaggerError, match=f"The picture of {name} has changed"):
        exchange.import_site(ledger, shots, typed, folder, "import:site.sql")
    assert [
        exchange.import_site(ledger, shots, typed, folder, "import:site.sql", trust=True)[0]
        for _ in range(2)
    ] == [1, 0]
    assert ledger.items()["error"].dropna().to_dict() == {
        name: f"{folder / name} has changed since it was added."
    }
    (folder / name).write_bytes(old)
    assert (
        exchange.import_site(ledger, shots, typed, folder, "import:site.sql", trust=True)[0] == 1
        and ledger.items()["error"].isna().all()
    )


# --- files that are not read again


@pytest.fixture
def memory(tmp_path, monkeypatch):
    monkeypatch.setenv("MOVIE_TAGGER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "files" / "digests.sqlite"


def pretend(memory):
    "Makes all that is remembered wrong, so that one sees whether a file was read."
    with sqlite3.connect(memory) as db:
        return db.execute("UPDATE file SET sha256 = 'remembered'").rowcount


def test_a_file_is_read_again_only_if_something_about_it_has_changed(tmp_path, memory):
    files = [tmp_path / f"{k}.jpg" for k in range(4)]
    for k, file in enumerate(files):
        file.write_bytes(b"picture %d" % k)
    real = [(sha256(file), None) for file in files]
    assert digests(files, settled=0) == real and pretend(memory) == 4
    assert digests(files) == [("remembered", None)] * 4 and digests(files, trust=False) == real
    times = files[0].stat()
    files[0].write_bytes(b"pictura 0")
    os.utime(files[0], ns=(times.st_atime_ns, times.st_mtime_ns))
    files[1].unlink()
    shutil.copy2(files[3], tmp_path / "new"), os.replace(tmp_path / "new", files[2])
    assert digests(files) == [
        (sha256(b"pictura 0"), None),
        ("", "No such file or directory"),
        (sha256(b"picture 3"), None),
        ("remembered", None),
    ]


def test_a_file_that_was_written_just_now_is_not_relied_on(tmp_path, memory):
    (tmp_path / "a").write_bytes(b"one")
    assert (
        digests([tmp_path / "a"], settled=3600) == [(sha256(b"one"), None)] and pretend(memory) == 0
        if memory.exists()
        else True
    )


@pytest.mark.parametrize(
    "harm",
    [
        lambda m: m.write_bytes(b"no database" * 100),
        lambda m: (m.unlink(), m.mkdir()),
        lambda m: shutil.rmtree(m.parent),
    ],
)
def test_without_a_memory_everything_is_read(tmp_path, memory, harm):
    (tmp_path / "a").write_bytes(b"one")
    digests([tmp_path / "a"], settled=0)
    harm(memory)
    assert digests([tmp_path / "a", tmp_path / "b\0"]) == [
        (sha256(b"one"), None),
        ("", "embedded null byte"),
    ]


def test_reading_a_ledger_believes_what_is_remembered_and_a_check_reads_all(
    sample, ledger, tmp_path, memory
):
    folder = shutil.copytree(sample.posters, tmp_path / "posters")
    exchange.import_data(ledger, folder, "import:posters")
    paths = ledger.items()["path"]
    digests(paths, settled=0)
    assert (
        pretend(memory) == 60
        and exchange.read(ledger.path)[0]["error"].str.contains("has changed").all()
        and ledger.check().empty
    )
    memory.unlink()
    Path(paths.iloc[0]).write_bytes(b"another picture")
    assert exchange.read(ledger.path)[0]["error"].notna().tolist() == [True] + [False] * 59
