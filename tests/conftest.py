"What the tests share: a cache, drawn pictures, a trained bundle, the command line at two speeds."

import importlib
import io
import os
import signal
import subprocess
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from PIL import Image, ImageDraw

pytest.register_assert_rewrite("serving", "lab")

REPO = Path(__file__).parents[1]
SCRIPT = Path(sys.executable).with_name("movie-tagger")
CI = os.environ.get("CI") == "true"
BASES = {"horror": (30, 5, 5), "romance": (230, 150, 170), "superhero": (20, 60, 200)}


def pytest_configure(config):
    # Signals that a background job or nohup ignores, children would ignore too; handled ones not.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: None)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    "Of several workers each takes a file after the other: with slow tests, then large ones first."
    if hasattr(config, "workerinput"):
        slow = {item.path for item in items if item.get_closest_marker("slow")}
        items.sort(key=lambda item: (item.path not in slow, -item.path.stat().st_size))


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    "A cache for this run, of all its workers: nothing is computed twice, and nobody's is touched."
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    (folder / "cache").mkdir(exist_ok=True)
    with patch.dict(os.environ, MOVIE_TAGGER_CACHE=str(folder / "cache")):
        yield folder / "cache"


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    "A cache folder with nothing in it, for one test."
    monkeypatch.setenv("MOVIE_TAGGER_CACHE", str(tmp_path / "own cache"))
    return tmp_path / "own cache"


# --- what a machine may lack


def lacking(what):
    "Ends a test, or a whole file, that cannot run here: it skips, and in CI it fails."
    if CI:
        pytest.fail(f"{what}, and CI must not skip what needs it")
    pytest.skip(what, allow_module_level=True)


if CI:

    def importorskip(name, *_, **__):
        "A module that is missing fails here."
        return importlib.import_module(name)

    pytest.importorskip = importorskip


@pytest.fixture(scope="session")
def real_data():
    "The folder of real pictures."
    if "MOVIE_TAGGER_DATA" not in os.environ:
        lacking("MOVIE_TAGGER_DATA does not name the folder of real pictures")
    return Path(os.environ["MOVIE_TAGGER_DATA"])


def need_database():
    from movie_tagger.sample import site

    if not site.has_database():
        lacking("The database server is not installed: apt-get install mariadb-server")


# --- pictures


def draw_poster(path, genre, seed, size=(120, 180)):
    "Saves a JPEG in the colours and shapes of its genre; the same seed draws the same picture."
    rng = np.random.default_rng(seed)
    image = Image.new(
        "RGB",
        size,
        tuple(int(c) for c in np.clip(np.array(BASES[genre]) + rng.integers(-25, 26, 3), 0, 255)),
    )
    pen = ImageDraw.Draw(image)
    shape = {"horror": pen.line, "romance": pen.ellipse, "superhero": pen.rectangle}[genre]
    for _ in range(12):
        x, y, r = (int(v) for v in rng.integers((0, 0, 5), (*size, 40)))
        shape((x - r, y - r, x + r, y + r), fill=tuple(int(v) for v in rng.integers(0, 256, 3)))
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=85)
    return path


def draw_posters(folder, count, first_seed=0):
    "Class folders with `count` posters each."
    for k, genre in enumerate(BASES):
        for i in range(count):
            draw_poster(folder / genre / f"{i:03}.jpg", genre, first_seed + k * 10_000 + i)
    return folder


@pytest.fixture(scope="session")
def posters(tmp_path_factory):
    "Class folders with 60 drawn posters; only to be read."
    return draw_posters(tmp_path_factory.mktemp("drawn") / "posters", 20)


@pytest.fixture(scope="session")
def new_posters(tmp_path_factory):
    "Twelve posters that no bundle here was trained on."
    return draw_posters(tmp_path_factory.mktemp("new") / "posters", 4, first_seed=500)


@pytest.fixture(scope="session")
def bundle(posters, tmp_path_factory):
    "A bundle trained on the drawn posters; only to be read."
    out = tmp_path_factory.mktemp("bundle") / "genres"
    assert movie_tagger("train", posters, "--out", out).code == 0
    return out


# --- the command line


@dataclass
class Done:
    "What a command left behind."

    code: int
    out: str
    err: str


def movie_tagger(*args):
    "Runs a command in this process, through the same door as the script."
    from movie_tagger.cli.door import main

    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        redirect_stdout(out),
        redirect_stderr(err),
        patch.object(sys, "argv", ["movie-tagger", *map(str, args)]),
        patch.object(warnings, "formatwarning", warnings.formatwarning),
    ):
        try:
            main()
        except SystemExit as e:
            code = e.code if isinstance(e.code, int) else int(e.code is not None)
            if isinstance(e.code, str):
                print(e.code, file=sys.stderr)
    return Done(code, out.getvalue(), err.getvalue())


def shell(*args, **kwargs):
    "Runs a command in a process of its own."
    done = subprocess.run(
        [SCRIPT, *map(str, args)], capture_output=True, text=True, timeout=120, **kwargs
    )
    return Done(done.returncode, done.stdout, done.stderr)


def files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
