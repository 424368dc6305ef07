"The drawn sample: the same for everybody, true to what it says of itself, and all or nothing."

import io
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from movie_tagger.core import MovieTaggerError, sha256
from movie_tagger.sample import make as samples
from movie_tagger.sample.scenes import PALETTES, SCENES, TAGS, film, poster, still


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return samples.make_sample(
        tmp_path_factory.mktemp("sample") / "s", posters=60, stills=240, seed=3
    )


def table(path):
    return pd.read_csv(path, keep_default_na=False, dtype=str)


def contents(root):
    return {
        p.relative_to(root).as_posix(): sha256(p) for p in sorted(root.rglob("*")) if p.is_file()
    }


def test_the_same_seed_draws_the_same_bytes_in_one_process_and_in_several(
    made, tmp_path, monkeypatch
):
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    again = samples.make_sample(tmp_path / "again", posters=60, stills=240, seed=3)
    assert contents(again.root) == contents(made.root)
    samples.draw_posters(tmp_path / "other", 6, seed=4)
    assert not set(contents(tmp_path / "other").values()) & set(contents(made.posters).values())


def test_every_path_of_the_sample_is_there(made):
    assert all(p.exists() for p in made)
    assert [p for p in made.root.parent.iterdir()] == [made.root]


def test_pictures_are_as_many_as_small_and_as_sound_as_said(made):
    assert (
        len(list(made.posters.rglob("*.jpg"))) == 60 and len(list(made.images.glob("*.jpg"))) == 240
    )
    for path in made.root.rglob("*.jpg"):
        with Image.open(path) as im:
            im.load()
            assert im.mode == "RGB" and path.stat().st_size < 40_000
            assert (
                im.size == (320, 180) if made.stills in path.parents else abs(im.size[0] - 220) <= 4
            )


def test_truth_and_planted_mistakes_of_posters_agree(made):
    truth, planted = table(made.posters_truth).set_index("id"), table(made.posters_planted)
    assert set(truth["image"]) == {
        p.relative_to(made.posters).as_posix() for p in made.posters.rglob("*.jpg")
    }
    shelf = truth["image"].str.split("/").str[0]
    wrong = planted[planted["mistake"] == "wrong label"].set_index("item")["truth"]
    assert wrong.to_dict() == truth["label"][shelf != truth["label"]].to_dict() and len(
        wrong
    ) == round(0.08 * 60)
    for row in planted[planted["mistake"] == "near duplicate"].itertuples():
        assert (
            truth.loc[row.item, "group"] == truth.loc[row.truth, "group"]
            and truth.loc[row.item, "label"] == truth.loc[row.truth, "label"]
        )
    assert (
        truth["group"].duplicated().sum()
        == (planted["mistake"] == "near duplicate").sum()
        == round(0.05 * 60)
    )


def test_a_near_copy_looks_like_its_original_and_is_another_file(made):
    def small(name):
        return np.asarray(
            Image.open(made.posters / name).convert("L").resize((16, 24)), float
        ).ravel()

    pairs = table(made.posters_planted).query("mistake == 'near duplicate'")
    others = table(made.posters_truth)["image"]
    for row in pairs.itertuples():
        assert sha256(made.posters / row.item) != sha256(made.posters / row.truth)
        alike = np.corrcoef(small(row.item), small(row.truth))[0, 1]
        assert (
            alike > 0.8 > np.median([np.corrcoef(small(row.item), small(o))[0, 1] for o in others])
        )


def test_weights_and_mistakes_can_be_chosen(tmp_path):
    truth = samples.draw_posters(
        tmp_path / "p", 20, 1, weights=dict(horror=3, romance=1), wrong=0, copies=0
    )
    assert truth["label"].value_counts().to_dict() == {"horror": 15, "romance": 5}
    assert table(tmp_path / "p" / "planted.csv").empty
    assert (
        samples.draw_posters(tmp_path / "one", 5, weights=dict(horror=1))["label"]
        .eq("horror")
        .all()
    )
    with pytest.raises(MovieTaggerError, match="no genre western"):
        samples.draw_posters(tmp_path / "w", 3, weights=dict(western=1))
    with pytest.raises(MovieTaggerError, match="fewer mistakes"):
        samples.draw_posters(tmp_path / "w", 3, wrong=0.9, copies=0.1)
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_tiny_samples_work(tmp_path, n):
    tiny = samples.make_sample(tmp_path / "t", posters=n, stills=n)
    assert len(table(tiny.posters_truth)) == len(table(tiny.stills_truth)) == n


def test_every_scene_of_every_genre_can_be_drawn():
    for genre, scenes in SCENES.items():
        for k in range(3 * len(scenes)):
            picture = poster(genre, [9, k], strange=0.5, empty=0.3)
            assert picture.size == (224, 330) and np.asarray(picture).std() > 8
    assert set(SCENES) == set(PALETTES)


def test_every_tag_appears_and_is_visible(made):
    tags = table(made.stills_truth)["tags"].str.split(", ").explode()
    assert set(tags) - {""} == set(TAGS)
    for k in range(40):
        picture, seen = still(film(3, k), [3, k])
        x = np.asarray(picture, float)
        assert ("black and white" in seen) == (np.abs(x - x.mean(-1, keepdims=True)).mean() < 4)
        if "glasses" in seen or "hat" in seen:
            assert {"man", "woman"} & set(seen)


def test_typed_tags_and_planted_mistakes_add_up(made):
    truth = table(made.stills_truth)
    planted = table(made.stills_planted)
    tags = table(made.export / "tags.csv")
    true = truth.assign(tag=truth["tags"].str.split(", ")).explode("tag").query("tag != ''")
    kinds = planted["mistake"].value_counts()
    assert set(kinds.index) == {
        "missing tag",
        "synonym",
        "typed twice",
        "site tag",
        "odd tag",
        "shot is gone",
    }
    assert 0.5 < kinds["missing tag"] / len(true) < 0.7
    assert (
        len(tags)
        == len(true)
        - kinds["missing tag"]
        + kinds[["typed twice", "site tag", "odd tag", "shot is gone"]].sum()
    )
    missing = planted[planted["mistake"] == "missing tag"]
    assert set(zip(missing["item"], missing["truth"])) <= set(zip(true["id"], true["tag"]))
    gone = ~tags["ref_id"].isin(table(made.export / "shots.csv")["id"])
    assert gone.sum() == kinds["shot is gone"]
    typed = table(made.tags)
    assert list(typed.columns) == list(truth.columns) and typed["image"].equals(truth["image"])
    assert {"telephone", "phone", "bw", "awesome upload", "SotD"} <= set(tags["value"])


def test_a_film_shares_a_group(made):
    truth, shots = table(made.stills_truth), table(made.export / "shots.csv")
    assert truth["group"].nunique() == 24
    assert (truth["group"].astype(int) + 1).tolist() == shots["movie_id"].astype(
        int
    ).tolist() and truth["id"].equals(shots["shot_image_id"])


def test_the_dump_holds_each_row_once_with_quotes_escaped(made):
    text = made.dump.read_text(encoding="utf-8")
    assert text.startswith("/*M!999999\\- enable the sandbox mode */")
    for name in ("shots", "tags"):
        block = (
            text[text.index(f"INSERT INTO `{name}` VALUES") :]
            .split("/*!40000 ALTER", 1)[0]
            .strip()
            .splitlines()
        )
        table_ = table(made.export / f"{name}.csv")
        assert (
            len(block) - 1 == len(table_)
            and all(line.endswith(",") for line in block[1:-1])
            and block[-1].endswith(");")
        )
        fields = [re.findall(r"'((?:[^'\\]|\\.)*)'|(\d+)", line) for line in block[1:]]
        values = [[re.sub(r"\\(.)", r"\1", a) if not b else b for a, b in row] for row in fields]
        assert values == table_.to_numpy().tolist()
    assert {"it's that guy's", "back\\slash", "who, me?"} & set(
        table(made.export / "tags.csv")["value"]
    )


def test_url_lists_hold_every_poster_some_twice_some_dead(made):
    lists = samples.url_lists(made.posters, "http://127.0.0.1:9/x/", seed=3)
    for genre, path in lists.items():
        urls = path.read_text().splitlines()
        files = {
            f"http://127.0.0.1:9/x/{genre}/{p.name}" for p in (made.posters / genre).glob("*.jpg")
        }
        assert files < set(urls) and len(set(urls) - files) == 4 and len(urls) > len(set(urls))


def test_a_folder_with_something_else_in_it_is_left_alone(made, tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    for draw in (samples.make_sample, samples.draw_posters, samples.draw_stills):
        with pytest.raises(MovieTaggerError, match="is not empty"):
            draw(tmp_path)
    with pytest.raises(MovieTaggerError, match="holds another sample"):
        samples.make_sample(made.root, posters=61, stills=240, seed=3)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_a_sample_that_is_there_is_not_drawn_again(made, monkeypatch):
    monkeypatch.setattr(samples, "_draw", lambda job: pytest.fail("drawn again"))
    assert samples.make_sample(made.root, posters=60, stills=240, seed=3) == made


def test_a_helper_that_dies_is_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(
        samples.sys,
        "executable",
        "/bin/false" if os.path.exists("/bin/false") else "/usr/bin/false",
    )
    samples.draw_posters(tmp_path / "p", 100, wrong=0, copies=0)
    assert len(list((tmp_path / "p").rglob("*.jpg"))) == 100


def test_a_script_without_a_guard_can_draw(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from movie_tagger.sample.make import draw_posters\nprint(len(draw_posters('out', 100)))\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "100\n", "")


def test_a_killed_run_leaves_nothing_that_looks_like_a_sample(tmp_path):
    code = (
        "from movie_tagger.sample.make import make_sample; make_sample('s', posters=400, stills=10)"
    )
    run = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, start_new_session=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.rglob("*.jpg")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    assert list(tmp_path.rglob("*.jpg")) and not (tmp_path / "s").exists()
    made = samples.make_sample(tmp_path / "s", posters=12, stills=10)
    assert json.loads((made.root / "sample.json").read_text())["posters"] == 12


def test_a_picture_compresses_well():
    buffer = io.BytesIO()
    poster("romance", [0, 0]).save(buffer, "JPEG", quality=85)
    assert 4_000 < buffer.tell() < 40_000
