"The base install in a fresh environment: it tags without torch, and says what is missing."

import os
import shutil
import subprocess
import sys

import pandas as pd
import pytest
from conftest import REPO, Done, files

from movie_tagger.sample.make import make_sample

pytestmark = pytest.mark.slow


def run(*command, **env):
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, timeout=600, env=os.environ | env
    )
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    "The scripts' folder of an environment with `pip install movie_tagger` and nothing else."
    folder = tmp_path_factory.mktemp("base") / "venv"
    assert run(sys.executable, "-m", "venv", folder).code == 0
    source = tmp_path_factory.mktemp(
        "source"
    )  # a copy, because building writes beside what it builds
    for name in ("settings.ini", "setup.py", "pyproject.toml", "README.md"):
        shutil.copy(REPO / name, source)
    shutil.copytree(REPO / "movie_tagger", source / "movie_tagger")
    done = run(folder / "bin" / "pip", "install", "--quiet", "--no-compile", source)
    assert done.code == 0, done.err
    return folder / "bin"


def test_there_is_no_torch(base):
    for module in (
        "torch",
        "fastai",
        "timm",
        "openvino",
        "nbdev",
        "fastcore",
        "matplotlib",
        "sklearn",
    ):
        assert run(base / "python", "-c", f"import {module}").code == 1, (
            f"{module} came with the base install"
        )


def test_the_demo_says_what_is_missing_before_it_draws(base, tmp_path):
    out, cache = tmp_path / "demo", str(tmp_path / "cache")
    done = run(base / "movie-tagger", "demo", "--out", out, MOVIE_TAGGER_CACHE=cache)
    assert done.code == 1 and "pip install 'movie_tagger[train]'" in done.err
    assert not out.exists()


SERVER = ["admission", "app", "desk", "listen", "routes", "wire"]


def test_every_module_can_be_imported_but_the_server_which_says_what_it_needs(base):
    files = (REPO / "movie_tagger").glob("*.py")
    names = sorted(p.stem for p in files if not p.stem.startswith("_"))
    done = run(
        base / "python",
        "-W",
        "error",
        "-c",
        "\n".join(f"import movie_tagger.{name}" for name in names),
    )
    assert (done.code, done.err) == (0, "")
    for name in SERVER:
        done = run(base / "python", "-c", f"import movie_tagger.serve.{name}")
        assert (
            done.code == 1
            and "is not installed: run pip install 'movie_tagger[serve]'"
            in done.err.splitlines()[-1]
        )
    done = run(base / "movie-tagger", "serve", "model")
    assert (
        done.code == 1
        and done.err.startswith("movie-tagger: ")
        and "movie_tagger[serve]" in done.err
        and len(done.err.splitlines()) == 1
    )


def test_it_tags_with_a_bundle_from_elsewhere(base, bundle, new_posters, tmp_path):
    done = run(
        base / "movie-tagger",
        "tag",
        bundle,
        new_posters / "horror" / "000.jpg",
        MOVIE_TAGGER_CACHE=str(tmp_path / "cache"),
    )
    assert (done.code, done.err) == (0, "") and ": horror (" in done.out
    done = run(
        base / "movie-tagger",
        "tag",
        bundle,
        new_posters,
        "--out",
        tmp_path / "tags.csv",
        MOVIE_TAGGER_CACHE=str(tmp_path / "cache"),
    )
    assert (done.code, done.err) == (0, "") and pd.read_csv(tmp_path / "tags.csv")[
        "tags"
    ].nunique() == 3


def test_a_plot_says_which_extra_it_needs(base):
    plot = (
        "from movie_tagger.judge.interpretation import interpret\n"
        "interpret(['a.jpg', 'b.jpg'], ['x', 'y'], [[.9, .1], [.2, .8]]).plot_confusion_matrix()"
    )
    done = run(base / "python", "-c", plot)
    missing = "matplotlib.pyplot is not installed: run pip install 'movie_tagger[notebook]'"
    assert done.code == 1
    assert f"{missing} and try again." in done.err.splitlines()[-1]


def test_it_trains_where_the_encoder_is_already_exported(
    base, bundle, posters, new_posters, tmp_path
):
    "The session's cache holds the encoder; new pictures are embedded without torch too."
    done = run(base / "movie-tagger", "train", new_posters, "--out", tmp_path / "model")
    assert (done.code, done.err) == (0, "") and "12 pictures, 3 classes" in done.out
    done = run(
        base / "movie-tagger",
        "evaluate",
        tmp_path / "model",
        posters,
        "--report",
        tmp_path / "report.html",
    )
    assert done.code == 0 and "<table" in (tmp_path / "report.html").read_text(), done.err


def test_it_collects_and_keeps_what_people_said(base, tmp_path):
    sample = make_sample(tmp_path / "sample")

    def works(*args):
        assert (
            done := run(base / "movie-tagger", *args, MOVIE_TAGGER_CACHE=str(tmp_path / "cache"))
        ).code == 0, done.err

    works("ledger", "import", tmp_path / "ledger.db", sample.tags, "--absent", "unknown")
    works("ledger", "export", tmp_path / "ledger.db", "--out", tmp_path / "tags.csv")
    assert len(pd.read_csv(tmp_path / "tags.csv")) > 100
    done = run(
        base / "movie-tagger", "tags", sample.dump, "--out", tmp_path / "site.csv", "--min-count", 2
    )
    missing = "pyarrow is not installed: run pip install 'movie_tagger[tags]' and try again."
    assert (done.code, done.err) == (1, f"movie-tagger: {missing}\n")


@pytest.mark.parametrize("encoder", ["lite0", "resnet34", "torchvision/resnet18"])
def test_it_says_which_extra_is_missing(base, posters, tmp_path, encoder):
    done = run(
        base / "movie-tagger",
        "train",
        posters,
        "--out",
        tmp_path / "model",
        "--encoder",
        encoder,
        MOVIE_TAGGER_CACHE=str(tmp_path / "cache"),
    )
    assert done.code == 1 and done.err.startswith("movie-tagger: ") and done.err.count("\n") == 1
    assert (
        "is not installed: run pip install 'movie_tagger[train]' and try again." in done.err
        and files(tmp_path) == []
    )


def test_doctor_says_it_too(base, tmp_path):
    done = run(base / "movie-tagger", "doctor", MOVIE_TAGGER_CACHE=str(tmp_path))
    assert (
        (done.code, done.err) == (0, "")
        and "[train] missing" in done.out
        and "pip install 'movie_tagger[train]'" in done.out
    )
