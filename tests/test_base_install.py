"The base install, alone in a fresh environment: it tags without torch, and says what is missing when it cannot train."
import os
import shutil
import subprocess
import sys

import pandas as pd
import pytest
from conftest import REPO, Done, files

pytestmark = pytest.mark.slow


def run(*command, **env):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=600, env=os.environ | env)
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    "The scripts' folder of an environment with `pip install movie_tagger` and nothing else."
    folder = tmp_path_factory.mktemp("base") / "venv"
    assert run(sys.executable, "-m", "venv", folder).code == 0
    source = tmp_path_factory.mktemp("source")  # a copy, because building writes beside what it builds
    for name in ("settings.ini", "setup.py", "pyproject.toml", "README.md"): shutil.copy(REPO / name, source)
    shutil.copytree(REPO / "movie_tagger", source / "movie_tagger")
    done = run(folder / "bin" / "pip", "install", "--quiet", "--no-compile", source)
    assert done.code == 0, done.err
    return folder / "bin"


def test_there_is_no_torch(base):
    for module in ("torch", "fastai", "timm", "openvino", "nbdev", "fastcore"):
        assert run(base / "python", "-c", f"import {module}").code == 1, f"{module} came with the base install"


SERVER = ["door", "feedback", "listen", "serve", "served", "wire"]


def test_every_module_can_be_imported_but_the_server_which_says_what_it_needs(base):
    names = sorted({p.stem for p in (REPO / "movie_tagger").glob("*.py") if not p.stem.startswith("_")} - {*SERVER})
    done = run(base / "python", "-W", "error", "-c", "\n".join(f"import movie_tagger.{name}" for name in names))
    assert (done.code, done.err) == (0, "")
    for name in SERVER:
        done = run(base / "python", "-c", f"import movie_tagger.{name}")
        assert done.code == 1 and "is not installed: run pip install 'movie_tagger[serve]'" in done.err.splitlines()[-1]
    done = run(base / "movie-tagger", "serve", "model")
    assert done.code == 1 and done.err.startswith("movie-tagger: ") and "movie_tagger[serve]" in done.err and len(done.err.splitlines()) == 1


def test_it_tags_with_a_bundle_from_elsewhere(base, bundle, new_posters, tmp_path):
    done = run(base / "movie-tagger", "tag", bundle, new_posters / "horror" / "000.jpg", MOVIE_TAGGER_CACHE=str(tmp_path / "cache"))
    assert (done.code, done.err) == (0, "") and ": horror (" in done.out
    done = run(base / "movie-tagger", "tag", bundle, new_posters, "--out", tmp_path / "tags.csv", MOVIE_TAGGER_CACHE=str(tmp_path / "cache"))
    assert (done.code, done.err) == (0, "") and pd.read_csv(tmp_path / "tags.csv")["tags"].nunique() == 3


def test_it_trains_where_the_encoder_is_already_exported(base, bundle, posters, new_posters, tmp_path):
    "The session's cache holds the encoder; new pictures are embedded without torch too."
    done = run(base / "movie-tagger", "train", new_posters, "--out", tmp_path / "model")
    assert (done.code, done.err) == (0, "") and "12 pictures, 3 classes" in done.out
    assert run(base / "movie-tagger", "evaluate", tmp_path / "model", posters).code == 0


@pytest.mark.parametrize("encoder", ["lite0", "resnet34", "torchvision/resnet18"])
def test_it_says_which_extra_is_missing(base, posters, tmp_path, encoder):
    done = run(base / "movie-tagger", "train", posters, "--out", tmp_path / "model", "--encoder", encoder, MOVIE_TAGGER_CACHE=str(tmp_path / "cache"))
    assert done.code == 1 and done.err.startswith("movie-tagger: ") and done.err.count("\n") == 1
    assert "is not installed: run pip install 'movie_tagger[train]' and try again." in done.err and files(tmp_path) == []


def test_doctor_says_it_too(base, tmp_path):
    done = run(base / "movie-tagger", "doctor", MOVIE_TAGGER_CACHE=str(tmp_path))
    assert (done.code, done.err) == (0, "") and "[train] missing" in done.out and "pip install 'movie_tagger[train]'" in done.out
