"Bulk work: whatever ends it in between, and whatever is among the pictures."

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from bulk import TAGS, small_bundle, small_pictures
from conftest import SCRIPT, files, movie_tagger

from movie_tagger import curate, models
from movie_tagger.bulk import Choice, Picture, Run, Tagger, pictures_in, tagger

COUNT = 1500  # pictures, in parts of 64
UNREADABLE = COUNT // 50


@pytest.fixture(scope="module")
def stills(tmp_path_factory):
    "Many pictures; only to be read."
    return small_pictures(tmp_path_factory.mktemp("many") / "stills", COUNT)


@pytest.fixture(scope="module")
def champion(tmp_path_factory):
    "A bundle; only to be read."
    return small_bundle(tmp_path_factory.mktemp("models") / "champion")


@pytest.fixture(scope="module")
def undisturbed(stills, champion, tmp_path_factory):
    "The tables of a run that nothing ended."
    folder = tmp_path_factory.mktemp("undisturbed")
    done = tag(champion, stills, folder)
    assert done.code == 0 and done.err.startswith(f"{UNREADABLE} of {COUNT} pictures cannot")
    assert files(folder) == ["scores.csv", "tags.csv"], "its folder goes when all is done"
    return folder


def tag(bundle, stills, folder, *options):
    tables = ("--out", folder / "tags.csv", "--scores", folder / "scores.csv")
    return movie_tagger("tag", bundle, stills, *tables, *options)


def refused(done, *says):
    lines = done.err.splitlines()
    assert done.code == 1 and "Traceback" not in done.err
    assert [word for word in says if word not in lines[-1]] == [], done.err
    return True


def same(folder, other):
    return all(
        (folder / name).read_bytes() == (other / name).read_bytes()
        for name in ("tags.csv", "scores.csv")
    )


@pytest.fixture
def beside(undisturbed):
    "A folder beside that of the undisturbed run, so that pictures have the same names in it."
    folder = undisturbed.with_name("disturbed")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


# --- ended in between


def started(bundle, stills, folder):
    "The command in a process of its own, with a cache that knows nothing."
    tables = ["--out", folder / "tags.csv", "--scores", folder / "scores.csv"]
    return subprocess.Popen(
        [SCRIPT, "tag", bundle, stills, *tables],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def parts(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("tags.csv.run/parts/0*")}


MOMENTS = {
    "before the list": lambda folder: (folder / "tags.csv.run").exists(),
    "three parts": lambda folder: len(parts(folder)) >= 3,
    "ten parts": lambda folder: len(parts(folder)) >= 10,
    "while the tables are written": lambda folder: any(folder.glob(".tags.csv.*.tmp")),
}


def test_killed_at_any_moment_it_goes_on(champion, stills, undisturbed, beside, empty_cache):
    for moment in MOMENTS.values():
        before = parts(beside)
        run = started(champion, stills, beside)
        while run.poll() is None and not moment(beside):
            time.sleep(0.001)
        assert run.poll() is None, run.stderr.read()
        run.send_signal(signal.SIGKILL)
        run.communicate()
        assert before.items() <= parts(beside).items(), "no part is done twice"
    run = started(champion, stills, beside)
    assert f"of {COUNT:,} pictures are done" in run.communicate()[1] and run.returncode == 0
    assert same(beside, undisturbed)
    left = {name for name in os.listdir(beside) if not name.endswith(".tmp")}
    assert left == {"scores.csv", "tags.csv"}


def test_a_small_run_goes_on_too(champion, stills, undisturbed, beside, empty_cache):
    few = beside / "few.txt"
    few.write_text("".join(f"{stills / f'{i:05}.png'}\n" for i in range(200)))
    run = started(champion, few, beside)
    while run.poll() is None and len(parts(beside)) < 1:
        time.sleep(0.001)
    run.send_signal(signal.SIGKILL)
    run.communicate()
    done = tag(champion, few, beside)
    assert done.code == 0 and "Going on with the run" in done.err
    whole = pd.read_csv(undisturbed / "tags.csv", keep_default_na=False).head(200)
    found = pd.read_csv(beside / "tags.csv", keep_default_na=False)
    pd.testing.assert_frame_equal(found, whole)


def test_two_at_once_are_told(champion, stills, beside):
    first = started(champion, stills, beside)
    while not (beside / "tags.csv.run" / "run.json").exists():
        time.sleep(0.001)
    first.send_signal(signal.SIGSTOP)
    assert refused(tag(champion, stills, beside), "Another run is at work", "tags.csv.run")
    first.kill()
    first.communicate()


def test_a_disk_that_fills_costs_nothing_that_is_done(champion, stills, undisturbed, beside):
    folder = beside / "small disk"
    folder.mkdir()
    script = (
        f"mount -t tmpfs -o size=300k none '{folder}' || exit 77; "
        f"'{SCRIPT}' tag '{champion}' '{stills}' --run '{folder}/run' --out '{folder}/tags.csv'; "
        f"echo code $?; ls '{folder}/run/parts' | wc -l; mount -o remount,size=9m '{folder}'; "
        f"'{SCRIPT}' tag '{champion}' '{stills}' --run '{folder}/run' --out '{beside}/tags.csv' "
        f"--scores '{beside}/scores.csv'"
    )
    if sys.platform != "linux" or os.geteuid() or not shutil.which("unshare"):
        pytest.skip("mounting needs Linux and root")
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, timeout=120
    )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("mounting is not allowed here")
    said = done.stderr.splitlines()
    assert "Cannot write" in said[0] and "Free some space" in said[0]
    assert done.stdout.split()[:2] == ["code", "1"]
    assert "Going on with the run" in done.stderr and same(beside, undisturbed)


# --- what is never mixed


def test_another_model_or_list_is_refused(champion, stills, tmp_path):
    run = tmp_path / "run"
    few = tmp_path / "few"
    few.mkdir()
    for i in range(3):
        shutil.copy(stills / f"{i:05}.png", few)
    copy = shutil.copytree(champion, tmp_path / "copy")
    assert tag(copy, few, tmp_path, "--run", run).code == 0
    first = (tmp_path / "tags.csv").read_bytes()
    small_bundle(copy, scale=2)
    assert refused(tag(copy, few, tmp_path, "--run", run), "another model", "--anew")
    assert refused(tag(champion, stills, tmp_path, "--run", run), "a run over", "few")
    shutil.copy(stills / "00007.png", few)
    assert refused(tag(champion, few, tmp_path, "--run", run), "finished run over 3 pictures")
    assert (tmp_path / "tags.csv").read_bytes() == first
    assert tag(copy, few, tmp_path, "--run", run, "--anew").code == 0
    assert len(pd.read_csv(tmp_path / "tags.csv")) == 4


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 99}', '{"format": 1}'])
def test_a_manifest_that_is_none(champion, stills, tmp_path, content):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text(content)
    done = tag(champion, stills / "00000.png", tmp_path, "--run", tmp_path / "run")
    assert refused(done, "no folder of a run that can be read")


def test_a_folder_or_file_that_is_no_run_is_left_alone(champion, stills, tmp_path):
    (tmp_path / "thesis.doc").write_text("mine")
    assert refused(tag(champion, stills, tmp_path, "--run", tmp_path), "'thesis.doc'")
    done = tag(champion, stills, tmp_path, "--run", tmp_path / "thesis.doc")
    assert refused(done, "is a file")
    assert files(tmp_path) == ["thesis.doc"]


@pytest.mark.parametrize("harm", [b"", b"image,error\n", b"\0\0\0"])
def test_a_damaged_part_is_named(champion, stills, tmp_path, harm):
    run = tmp_path / "run"
    few = [stills / f"{i:05}.png" for i in range(5)]
    command = ("tag", champion, *few, "--out", tmp_path / "tags.csv", "--run", run)
    assert movie_tagger(*command).code == 0
    part = run / "parts" / "000000.csv"
    part.write_bytes(harm)
    assert refused(movie_tagger(*command), "000000.csv is damaged", "remove it")
    part.unlink()
    assert movie_tagger(*command).code == 0


# --- what is among the pictures


def test_anything_among_the_pictures_is_a_row(champion, stills, tmp_path):
    good = stills / "00000.png"
    lines = [good, good, tmp_path / "gone.jpg", tmp_path, "/dev/null", *[stills / "00049.png"] * 99]
    listed = tmp_path / "list.txt"
    listed.write_text("\n".join(map(str, lines)) + "\n\n")
    done = movie_tagger(
        "tag", champion, listed, "--out", tmp_path / "t.csv", "--run", tmp_path / "r"
    )
    told = pd.read_csv(tmp_path / "t.csv", keep_default_na=False)
    assert done.code == 0 and len(told) == len(lines)
    assert list(told["error"][:5].ne("")) == [False, False, True, True, True]
    assert told["tags"][0] == told["tags"][1] and told["error"][5:].str.contains("web page").all()


def test_a_long_table_is_read_in_pieces(champion, stills, tmp_path, monkeypatch):
    monkeypatch.setattr("movie_tagger.bulk.listing._LONG", 100)
    table = pd.DataFrame({"ID": range(5), "Image": [stills / f"{i:05}.png" for i in range(5)]})
    table.to_csv(tmp_path / "t.csv", index=False, sep=";")
    found = list(pictures_in([tmp_path / "t.csv"]))
    assert found[3] == Picture("3", str(stills / "00003.png")) and len(found) == 5
    (tmp_path / "u.csv").write_text("image\n" + "x\n" * 99 + '"open\n')
    done = movie_tagger("tag", champion, tmp_path / "u.csv", "--out", tmp_path / "o.csv")
    assert refused(done, "Cannot read", "u.csv")


def test_names_that_are_no_unicode_go_through_parts(champion, stills, tmp_path):
    odd = tmp_path / "in" / os.fsdecode(b"odd \xff.png")
    odd.parent.mkdir()
    shutil.copy(stills / "00000.png", odd)
    for out in ("scores.csv", "scores.parquet"):
        options = ("--scores", tmp_path / out, "--run", tmp_path / f"run {out}")
        assert movie_tagger("tag", champion, odd.parent, *options).code == 0
    assert b"in/odd \xff.png," in (tmp_path / "scores.csv").read_bytes()
    assert pd.read_parquet(tmp_path / "scores.parquet")["image"][0] == r"in/odd \udcff.png"


def test_parquet_parts_say_the_same(champion, stills, undisturbed, beside, monkeypatch):
    monkeypatch.setattr("movie_tagger.bulk.runs._FEW", 100)
    assert tag(champion, stills, beside, "--run", beside / "run").code == 0
    assert same(beside, undisturbed)
    assert len(pd.read_parquet(beside / "run" / "parts")) == COUNT
    assert Run(beside / "run").about["counts"] == {"pictures": COUNT, "unreadable": UNREADABLE}


# --- shared storage


@pytest.fixture
def site(stills):
    "Some stills in fsspec's storage in memory, one of them unreadable, a list and a table of them."
    storage = pytest.importorskip("fsspec").filesystem("memory")
    for i in (0, 1, 2, 49):
        storage.pipe(f"/site/night/{i:05}.png", (stills / f"{i:05}.png").read_bytes())
    storage.pipe("/site/list.txt", b"night/00001.png\nnight/gone.png\n")
    storage.pipe("/site/table.csv", b"id,image\n7,night/00002.png\n")
    yield storage
    storage.store.clear()


def test_pictures_and_tables_on_shared_storage(champion, stills, site, tmp_path):
    out = ("--out", "memory://out/tags.csv", "--scores", "memory://out/scores.parquet")
    assert movie_tagger("tag", champion, "memory://site", *out).code == 0
    told = pd.read_csv("memory://out/tags.csv", keep_default_na=False)
    names = [f"memory:///site/night/{i:05}.png" for i in (0, 1, 2, 49)]
    assert told["image"].tolist() == names and told["error"].ne("").tolist() == [0, 0, 0, 1]
    local = movie_tagger("tag", champion, stills / "00001.png", "--out", tmp_path / "one.csv")
    assert local.code == 0
    assert pd.read_csv(tmp_path / "one.csv")["tags"][0] == told["tags"][1]
    site.open("/out/scores.parquet", "rb").close()


def test_lists_and_tables_on_shared_storage(site):
    listed = [picture.path for picture in pictures_in(["memory://site/list.txt"])]
    assert listed == ["memory://site/night/00001.png", "memory://site/night/gone.png"]
    assert list(pictures_in(["memory://site/table.csv"])) == [
        Picture("7", "memory://site/night/00002.png")
    ]


@pytest.mark.parametrize(
    "options, says",
    [
        (("memory://site/none.csv",), "Cannot read memory://site/none.csv"),
        (("abacus://site",), "Cannot look into abacus://site"),
        (("memory://site/gone.png",), "None of the 1 pictures can be read"),
        (("memory://site", "--out", "abacus://t.csv"), "Cannot write abacus://t.csv"),
        (("memory://site/list.txt", "--out", "memory://t", "--scores", "memory://t"), "Both tags"),
    ],
)
def test_storage_that_cannot_be_used_is_one_sentence(champion, site, options, says):
    assert refused(movie_tagger("tag", champion, *options), says)


def test_a_run_of_many_from_storage_goes_on_beside_the_caller(
    champion, site, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    site.pipe("/site/many.txt", b"night/00001.png\n" * 100)
    out = ("--out", "memory://out/many.csv")
    assert movie_tagger("tag", champion, "memory://site/many.txt", *out).code == 0
    assert len(pd.read_csv("memory://out/many.csv")) == 100 and files(tmp_path) == []


# --- which tags, and what for


def test_a_choice_of_tags(champion, stills, tmp_path):
    three = [stills / f"{i:05}.png" for i in range(3)]
    table = tmp_path / "t.csv"

    def told(*options):
        assert movie_tagger("tag", champion, *three, "--out", table, *options).code == 0
        return pd.read_csv(table, keep_default_na=False)["tags"].str.split(", ").tolist()

    scores = models.load(champion).predict(three)
    assert told("--min", 0) == [
        list(row.sort_values(ascending=False).index) for _, row in scores.iterrows()
    ]
    assert told("--min", 0, "--top", 1) == [[name] for name in scores.idxmax(axis=1)]
    assert refused(movie_tagger("tag", champion, *three, "--sensitive-only"), "promises nothing")


def test_only_the_sensitive_are_told(stills, tmp_path):
    promise = {
        "threshold": 0.8,
        "recall": 0.95,
        "confidence": 0.95,
        "positives": 70,
        "reviewed": 900,
    }
    bundle = small_bundle(tmp_path / "bundle", promises={"blue": promise})
    done = tag(bundle, stills, tmp_path, "--sensitive-only")
    assert done.code == 0
    told = pd.read_csv(tmp_path / "tags.csv", keep_default_na=False)
    scores = pd.read_csv(tmp_path / "scores.csv")
    assert set(told["tags"]) == {"", "blue"} and list(scores) == ["image", "blue"]
    assert told["error"].ne("").equals(told["tags"].eq(""))
    assert (scores["blue"] >= 0.8).all() and len(scores) == told["tags"].eq("blue").sum() > 5


def test_a_queue_can_be_gone_through(champion, stills, tmp_path):
    assert movie_tagger("tag", champion, stills, "--queue", tmp_path / "queue.csv").code == 0
    queue = pd.read_csv(tmp_path / "queue.csv")
    assert list(queue) == ["item", "image", "reason", "tag", "score", "suggestion"]
    assert queue["score"].is_monotonic_decreasing and set(queue["tag"]) <= set(TAGS)
    asked = curate.queues.as_queue(queue)
    assert asked["suggestion"].tolist() == queue["tag"].tolist()


# --- embeddings


def test_another_head_on_the_same_encoder_asks_no_encoder(
    champion, stills, empty_cache, tmp_path, monkeypatch
):
    paths = [str(stills / f"{i:05}.png") for i in (0, 1, 2, 49, 1)]
    first, _ = Tagger(models.load(champion), keep=True)(paths)
    other = models.load(small_bundle(tmp_path / "other", scale=1.3))
    asked = []
    compute = tagger.engine.compute
    monkeypatch.setattr(tagger.engine, "compute", lambda *a: asked.extend(a[1]) or compute(*a))
    second, errors = Tagger(other, keep=True)(paths)
    assert asked == [paths[3]], "only what could not be read is tried again"
    np.testing.assert_allclose(second, other.predict(paths).to_numpy(), atol=1e-4)
    assert np.isnan(second[3]).all() and [e is None for e in errors] == [1, 1, 1, 0, 1]
    assert not np.allclose(first[0], second[0])


def test_a_tuned_encoder_keeps_nothing(champion, stills, empty_cache, tmp_path):
    tuned = small_bundle(tmp_path / "tuned", recipe="finetune")
    assert Tagger(models.load(tuned), keep=True).kept is None


def test_a_choice_wants_promises(champion):
    with pytest.raises(models.bundle.MovieTaggerError, match="promises nothing"):
        Choice(models.load(champion), sensitive_only=True)
