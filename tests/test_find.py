"Finding stills by a picture and by words: the command, the models it asks, and the server."

import json
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from conftest import draw_poster, movie_tagger

from movie_tagger import features, models
from movie_tagger.core import MovieTaggerError
from movie_tagger.models.finding import Found

pytest_plugins = ["serving", "towers"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    "Twelve stills, a text among them, and one that is like another."
    folder = tmp_path_factory.mktemp("collection") / "stills"
    for k, genre in enumerate(("horror", "romance", "superhero") * 4):
        draw_poster(folder / genre / f"{k:02}.jpg", genre, 300 + k)
    (folder / "notes.jpg").write_text("Dear diary")
    return folder


def ranked(path):
    return pd.read_csv(path)


def test_by_a_picture_offline(folder, tmp_path):
    picture = folder / "romance" / "01.jpg"
    done = movie_tagger("find", folder, "--like", picture, "--out", tmp_path / "ranked.csv")
    assert (done.code, done.out) == (0, "")
    assert "1 of 13 pictures cannot be read and are left out; the first: Cannot open" in done.err
    table = ranked(tmp_path / "ranked.csv")
    assert list(table) == ["item", "image", "score"] and len(table) == 12
    assert table["score"].is_monotonic_decreasing and table["score"][0] == pytest.approx(1)
    assert (tmp_path / table["image"][0]).resolve() == picture.resolve()
    assert table["item"][0] == str(picture)
    said = movie_tagger("find", folder, "--like", picture, "--like", picture, "-n", 3)
    assert len(said.out.splitlines()) == 3 and said.out.startswith(f"1.000  {picture}")


def test_a_saved_index_says_the_same_and_only_of_its_encoder(folder, tmp_path, words_bundle):
    like = ("--like", folder / "horror" / "00.jpg")
    saved, out = tmp_path / "own" / "stills.index", tmp_path / "ranked.csv"
    done = movie_tagger("find", folder, *like, "--save-index", saved, "--out", out)
    assert done.code == 0 and "12 stills of lite0 in" in done.err
    again = tmp_path / "again.csv"
    assert movie_tagger("find", saved, *like, "--out", again).code == 0
    first, second = ranked(out), ranked(again)
    assert list(first["image"]) == list(second["image"])
    assert np.allclose(first["score"], second["score"], atol=1e-5)
    assert movie_tagger("find", folder, "--save-index", saved).code == 0, "an index alone"
    other = movie_tagger("find", saved, *like, "--model", words_bundle)
    assert other.code == 1 and "is of another encoder (lite0" in other.err
    saved.write_bytes(saved.read_bytes()[:-8])
    cut = movie_tagger("find", saved, *like)
    assert cut.code == 1 and "is no index, or damaged" in cut.err


def test_by_words_with_what_a_bundle_has_inside(folder, tmp_path, words_bundle, weights):
    out = tmp_path / "ranked.csv"
    asked = "a man in the rain"
    assert movie_tagger("find", folder, asked, "--model", words_bundle, "--out", out).code == 0
    table = ranked(out)
    encoder = "open_clip:tiny-words"
    row = features.words(asked, encoder, weights)[0]
    rows, _ = features.embed(table["item"], encoder, weights=weights)
    cosines = rows @ row / np.linalg.norm(rows, axis=1) / np.linalg.norm(row)
    assert np.allclose(table["score"], cosines, atol=1e-4)
    assert {*(words_bundle).iterdir()} >= {words_bundle / "words.onnx"}
    assert json.loads((words_bundle / "manifest.json").read_text())["format"] == 2


def test_a_ledger_and_a_table_are_stills_too(folder, tmp_path):
    from movie_tagger.ledger import Ledger, exchange

    paths = sorted(folder.rglob("[0-9]*.jpg"))
    rows = [f"s{k},{path},{path.parent.name}" for k, path in enumerate(paths)]
    rows.append(rows[0])
    (tmp_path / "stills.csv").write_text("\n".join(["id,image,label", *rows[:-1]]))
    with Ledger(tmp_path / "stills.db") as ledger:
        exchange.import_data(ledger, tmp_path / "stills.csv")
    (tmp_path / "stills.csv").write_text("\n".join(["id,image,label", *rows]))
    for source in ("stills.csv", "stills.db"):
        done = movie_tagger(
            "find", tmp_path / source, "--like", paths[3], "--out", tmp_path / "ranked.csv"
        )
        assert done.code == 0, done.err
        table = ranked(tmp_path / "ranked.csv")
        assert table["item"][0] == "s3" and len(table) == 12, source


@pytest.mark.parametrize(
    "given, said",
    [
        ([], "Say what is looked for"),
        (["snow"], "The encoder lite0 knows no words. Those that do are named open_clip:"),
        ([""], "Say what is looked for"),
        (["snow", "--encoder", "lite9"], "did you mean"),
        (["snow", "--encoder", "lite0", "--model", "m"], "Give --encoder or --model"),
        (["snow", "--model", "nowhere"], "is not a bundle"),
        (["--like", "nowhere.jpg"], "nowhere.jpg is not there"),
        (["--like", "NOTES"], "it is text"),
        (["--like", "FOLDER"], "cannot be read"),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(folder, given, said):
    places = {"NOTES": folder / "notes.jpg", "FOLDER": folder}
    done = movie_tagger("find", folder, *(places.get(word, word) for word in given))
    assert done.code == 1 and said in done.err and len(done.err.splitlines()) == 1, done.err


def test_stills_that_are_none(folder, tmp_path, bundle, words_bundle):
    like = ("--like", folder / "horror" / "00.jpg")
    (tmp_path / "empty").mkdir()
    for stills in (tmp_path / "empty", tmp_path / "nowhere", folder / "notes.jpg"):
        done = movie_tagger("find", stills, *like)
        assert done.code == 1 and len(done.err.splitlines()) == 1, done.err
    wordless = movie_tagger("find", folder, "snow", "--model", bundle)
    assert "knows no words: its encoder, lite0" in wordless.err
    long = movie_tagger("find", folder, "very " * 30, "--model", words_bundle)
    assert "say it in fewer words" in long.err and long.code == 1


def test_a_text_tower_is_not_believed(tmp_path, words_bundle):
    from movie_tagger.models import bundle as bundles

    bad = shutil.copytree(words_bundle, tmp_path / "bad")
    (bad / "words.onnx").write_bytes((bad / "model.onnx").read_bytes())
    with pytest.raises(MovieTaggerError, match="words.onnx is not what was saved"):
        models.load(bad)
    sums = json.loads((bad / "manifest.json").read_text())["checksums"]
    manifest = json.loads((bad / "manifest.json").read_text())
    manifest["checksums"] = sums | {"words.onnx": sums["model.onnx"]}
    manifest["checksum"] = bundles._checksum(manifest)
    (bad / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(MovieTaggerError, match="its text tower does not take pieces of texts"):
        Found(models.load(bad)).finder().tower()


def test_words_are_asked_without_torch(folder, words_bundle):
    given = ["movie-tagger", "find", str(folder), "rain", "--model", str(words_bundle), "-n", "2"]
    hidden = "for name in ('torch', 'open_clip', 'timm'): sys.modules[name] = None"
    code = (
        f"import sys\n{hidden}\nfrom movie_tagger.cli.door import main\nsys.argv = {given}\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 2, done.stderr
    assert "find" in movie_tagger("--help").out
