"The commands from end to end: what they print, what they write, and the same thing twice."

import csv
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import SCRIPT, files, movie_tagger, shell


def test_train_evaluate_tag_round_trip(posters, new_posters, tmp_path):
    model, metrics, tags, scores = (
        tmp_path / name for name in ("model", "metrics.json", "out/tags.csv", "out/scores.csv")
    )
    done = movie_tagger("train", posters, "--out", model)
    assert (done.code, done.err) == (0, "")
    assert (
        "60 pictures, 3 classes" in done.out
        and "accuracy" in done.out
        and "baseline 0.333 (always horror)" in done.out
    )
    assert files(model) == ["card.md", "manifest.json", "model.onnx"]

    done = movie_tagger(
        "evaluate", model, new_posters, "--json", metrics, "--report", tmp_path / "report.html"
    )
    assert (done.code, done.err) == (0, "") and "<html" in (tmp_path / "report.html").read_text()
    assert json.loads(metrics.read_text())["metrics"]["accuracy"]["value"] > 0.9

    assert movie_tagger("tag", model, new_posters, "--out", tags, "--scores", scores).code == 0
    told = pd.read_csv(tags, keep_default_na=False)
    assert list(told) == ["image", "tags", "error"] and len(told) == 12
    assert (
        np.mean(
            [
                Path(image).parent.name == tag
                for image, tag in zip(told["image"], told["tags"], strict=True)
            ]
        )
        > 0.9
    )
    probabilities = pd.read_csv(scores, index_col="image")
    assert list(probabilities) == ["horror", "romance", "superhero"] and np.allclose(
        probabilities.sum(axis=1), 1, atol=1e-5
    )
    assert list(probabilities.idxmax(axis=1)) == list(told["tags"])
    assert files(tmp_path / "out") == ["scores.csv", "tags.csv"]


def test_tables_name_pictures_relative_to_themselves(bundle, new_posters, tmp_path):
    (tmp_path / "results").mkdir()
    bad = tmp_path / "bad.jpg"
    bad.write_text("<html>404</html>")
    tags, scores = tmp_path / "results" / "tags.csv", tmp_path / "results" / "scores.csv"
    done = movie_tagger(
        "tag", bundle, new_posters / "horror", bad, "--out", tags, "--scores", scores
    )
    assert done.code == 0 and done.err.startswith("1 of 5 pictures cannot be read")
    told = pd.read_csv(tags, keep_default_na=False)
    assert all((tags.parent / image).is_file() for image in told["image"])
    assert (
        list(told["error"].ne("")) == [False] * 4 + [True]
        and told["image"].iloc[-1] == "../bad.jpg"
    )
    assert len(pd.read_csv(scores)) == 4, "a row for every readable picture"


def test_a_table_of_pictures_can_be_tagged_and_comes_back_as_data(bundle, new_posters, tmp_path):
    listed = new_posters / "list.csv"
    pd.DataFrame({"note": ["a", "b"], "image": ["horror/000.jpg", "romance/000.jpg"]}).to_csv(
        listed, index=False
    )
    tags = tmp_path / "tags.csv"
    assert movie_tagger("tag", bundle, listed, "--out", tags).code == 0
    listed.unlink()
    from movie_tagger import data

    items, labels = data.read(tags, absent="no")
    assert list(labels.idxmax(axis=1)) == ["horror", "romance"] and items["error"].isna().all()


def test_without_a_file_the_answer_is_printed(bundle, new_posters):
    done = movie_tagger("tag", bundle, new_posters / "horror" / "000.jpg")
    assert (
        done.out.startswith(f"{new_posters / 'horror' / '000.jpg'}: horror (0.")
        or ": horror (1.00)" in done.out
    )


def test_metrics_json(posters, tmp_path):
    assert (
        movie_tagger(
            "train",
            posters,
            "--out",
            tmp_path / "m",
            "--json",
            tmp_path / "metrics.json",
            "--folds",
            3,
        ).code
        == 0
    )
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert list(metrics) == ["n", "kind", "metrics", "per_tag"] and (
        metrics["n"],
        metrics["kind"],
    ) == (60, "single")
    assert {"accuracy", "balanced accuracy", "mean average precision"} <= set(metrics["metrics"])
    for measured in metrics["metrics"].values():
        assert list(measured) == ["value", "low", "high", "baseline"]
        assert 0 <= measured["low"] <= measured["value"] <= measured["high"] <= 1
    assert [row["tag"] for row in metrics["per_tag"]] == ["horror", "romance", "superhero"]


def test_evaluate_leaves_out_what_the_model_was_trained_on(bundle, posters, new_posters, tmp_path):
    mixed = tmp_path / "mixed"
    shutil.copytree(new_posters, mixed)
    for genre in ("horror", "romance"):
        shutil.copy(posters / genre / "001.jpg", mixed / genre / "under another name.jpg")
    done = movie_tagger("evaluate", bundle, mixed, "--json", tmp_path / "m.json")
    assert done.code == 0 and "Left out: 2 pictures (trained on)." in done.out
    assert json.loads((tmp_path / "m.json").read_text())["n"] == 12
    done = movie_tagger("evaluate", bundle, posters)
    assert (done.code, done.err) == (
        1,
        "movie-tagger: Nothing to measure: of 60 pictures the model was trained on 60.\n",
    )


def test_two_trainings_give_the_same_answers(posters, new_posters, tmp_path):
    for name in ("one", "two"):
        assert movie_tagger("train", posters, "--out", tmp_path / name, "--seed", 7).code == 0
        assert (
            movie_tagger(
                "tag", tmp_path / name, new_posters, "--scores", tmp_path / f"{name}.csv"
            ).code
            == 0
        )
    assert (tmp_path / "one.csv").read_text() == (tmp_path / "two.csv").read_text()
    assert (tmp_path / "one" / "model.onnx").read_bytes() == (
        tmp_path / "two" / "model.onnx"
    ).read_bytes()


def tagged(posters, path, rows=60):
    "A CSV of tags: `bright` romance, `red` romance and horror, `city` every second superhero."
    names = {"horror": "red", "romance": "red, bright", "superhero": "city"}
    with open(path, "w", newline="") as f:
        writer = csv.writer(f)
        writer.writerow(["id", "image", "tags", "group"])
        for i, p in enumerate(sorted(posters.rglob("*.jpg"))[:rows]):
            writer.writerow([f"still {i}", p, names[p.parent.name] if i % 4 else "", i // 2])
    return path


@pytest.mark.parametrize("absent", ["no", "unknown"])
def test_many_labels_round_trip(posters, new_posters, tmp_path, absent):
    source = tagged(posters, tmp_path / "tags.csv")
    model = tmp_path / "m"
    how = ("--absent", absent, "--folds", 3, "--json", tmp_path / "m.json")
    done = movie_tagger("train", source, "--out", model, *how)
    assert (done.code, done.err) == (0, "")
    manifest = json.loads((model / "manifest.json").read_text())
    assert (
        manifest["kind"] == "multi"
        and manifest["tags"] == ["bright", "city", "red"]
        and len(manifest["thresholds"]) == 3
    )
    card = (model / "card.md").read_text()
    typed = "was not typed counts as a mistake"
    assert (typed in card) == (typed in done.out) == ("| bright |" in card) == (absent == "unknown")
    assert "F1 macro" in card
    scores = tmp_path / "scores.csv"
    out = ("--scores", scores, "--out", tmp_path / "t.csv")
    assert movie_tagger("tag", model, new_posters, *out).code == 0
    scores = pd.read_csv(scores, index_col="image")
    romance = scores.index.str.contains("romance")
    assert scores.loc[romance, "bright"].min() > scores.loc[~romance, "bright"].max()
    new = tagged(new_posters, tmp_path / "new.csv", 12)
    assert movie_tagger("evaluate", model, new, "--absent", absent).code == 0


def test_rare_tags_are_left_out_by_name(posters, tmp_path):
    source = tagged(posters, tmp_path / "tags.csv", rows=25)
    done = movie_tagger(
        "train", source, "--absent", "no", "--out", tmp_path / "m", "--min-count", 6
    )
    assert done.code == 0 and "Left out, with too few pictures: bright (3)." in done.out


def test_an_older_bundle_is_replaced_and_other_folders_are_not(posters, tmp_path):
    for _ in range(2):
        assert movie_tagger("train", posters, "--out", tmp_path / "m", "--force").code == 0
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday" / "photo.txt").write_text("mine")
    done = movie_tagger("train", posters, "--out", tmp_path / "holiday")
    assert (
        done.code == 1
        and "is no bundle" in done.err
        and files(tmp_path / "holiday") == ["photo.txt"]
    )


def test_nothing_but_the_results_is_printed_in_a_pipe(posters, new_posters, tmp_path):
    done = shell("train", posters, "--out", tmp_path / "m")
    assert (done.code, done.err) == (0, "") and "\r" not in done.out and "embedding" not in done.out
    done = shell("tag", tmp_path / "m", new_posters, "--out", tmp_path / "t.csv")
    assert (done.code, done.out, done.err) == (0, "", "")


def test_a_reader_that_leaves_early_is_no_error(bundle, new_posters):
    done = subprocess.run(
        f"'{SCRIPT}' tag '{bundle}' '{new_posters}' | true",
        shell=True,
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""


def test_stopping_leaves_nothing_behind(posters, tmp_path):
    process = subprocess.Popen(
        [SCRIPT, "train", str(posters), "--out", str(tmp_path / "m")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"MOVIE_TAGGER_CACHE": str(tmp_path / "cache")},
    )
    while process.poll() is None and not (tmp_path / "cache").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode != 0 and "Traceback" not in err
    assert [f for f in files(tmp_path) if not f.startswith("cache/embeddings")] == []


@pytest.mark.parametrize(
    "command, says",
    [
        ((), "Commands:"),
        (("train",), "--absent"),
        (("evaluate",), "--json"),
        (("tag",), "--scores"),
        (("doctor",), "--measure"),
    ],
)
def test_help(command, says):
    done = movie_tagger(*command, "--help")
    assert done.code == 0 and says in done.out and done.err == ""


def test_doctor(posters, cache):
    movie_tagger("train", posters, "--out", cache.parent / "doctor")
    done = movie_tagger("doctor")
    assert (done.code, done.err) == (0, "")
    assert "[train] installed" in done.out and str(cache) in done.out
    assert any(line.startswith("  encoders lite0:") for line in done.out.splitlines())
    assert any(
        line.startswith("  embeddings lite0-") and line.endswith(" pictures")
        for line in done.out.splitlines()
    )


def test_doctor_empties_the_cache(posters, empty_cache):
    movie_tagger(
        "train",
        posters,
        "--out",
        empty_cache.parent / "m",
        "--encoder",
        "resnet10t@32",
        "--weights",
        "random",
    )
    assert files(empty_cache)
    done = movie_tagger("doctor", "--clear-cache")
    assert done.code == 0 and "MB freed" in done.out and files(empty_cache) == []


def test_the_help_lists_every_command():
    "Commands join the app by being imported: a formatter that thinks nobody uses them is noticed."
    done = movie_tagger("--help")
    assert done.code == 0
    commands = ["demo", "doctor", "download", "evaluate", "keys", "ledger", "models"]
    commands += ["retrain", "search", "serve", "split", "suspects", "tag", "tags", "train"]
    assert [name for name in commands if f" {name} " not in done.out] == []
