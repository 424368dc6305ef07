"Who may import whom: the design's table, held against the code; the faces; and what stays light."

import ast
import importlib
import subprocess
import sys
from configparser import ConfigParser
from graphlib import CycleError, TopologicalSorter

import pytest
from conftest import REPO

PACKAGE = REPO / "movie_tagger"

# A folder, or a file beside them, and whom it may import besides `core` and itself.
TABLE = {
    "core": set(),
    "images": set(),
    "sample": set(),
    "tags": set(),
    "duplicates": {"images"},
    "features": {"images"},
    "tables": {"images"},
    "data": {"images", "duplicates", "tables"},
    "download": {"images", "duplicates"},
    "ledger": {"data", "duplicates", "tags.rules"},
    "judge": {"images", "data"},
    "learn": {"images", "data", "features", "judge"},
    "models": {"images", "features", "judge"},
    "bulk": {"images", "data", "features", "models"},
    "suspects": {"images", "data", "duplicates", "features", "judge", "learn"},
    "curate": {
        *("images", "data", "duplicates", "tags.rules", "ledger"),
        *("features", "judge", "learn", "suspects"),
    },
    "serve": {"images", "ledger", "models"},
}
TABLE["retrain"] = {*TABLE} - {"curate", "serve"}
TABLE["cli"] = {*TABLE}

FILES = sorted(p for p in PACKAGE.rglob("*.py") if not p.stem.startswith("_"))


def dotted(path):
    "A file's place in the package, such as `learn.head`."
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def is_ours(name):
    "Is there a file or a folder of this name in the package?"
    place = PACKAGE.joinpath(*name.split("."))
    return place.with_suffix(".py").exists() or place.is_dir()


def imported(source, here):
    "What of the package a source imports, also inside functions: `data`, `learn.head`, `train`."
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            around = ["movie_tagger", *here.split(".")][: -node.level] if node.level else []
            base = ".".join([*around, *filter(None, [node.module])])
            within = {f"{base}.{alias.name}" for alias in node.names}
            modules = {name for name in within if is_ours(name.removeprefix("movie_tagger."))}
            others = within - modules - {"movie_tagger.__version__"}
            found |= modules | (others if base == "movie_tagger" else {base} if others else set())
    return {
        name.removeprefix("movie_tagger.") for name in found if name.startswith("movie_tagger.")
    }


def forbidden(here, source):
    "What a file imports and may not."
    room = here.split(".")[0]
    allowed = {"core", room, *TABLE[room]}
    return {
        name
        for name in imported(source, here)
        if not any(name == free or name.startswith(free + ".") for free in allowed)
    }


def circle(sources):
    "A circle of imports among sources by place, as a list; None where there is none."
    graph = {}
    for here, source in sources.items():
        graph[here] = {name for name in imported(source, here) if name in sources and name != here}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]


@pytest.mark.parametrize("path", FILES, ids=dotted)
def test_a_module_imports_only_what_the_table_allows(path):
    here = dotted(path)
    assert here.split(".")[0] in TABLE, f"{here} has no row in the table"
    wrong = forbidden(here, path.read_text())
    assert not wrong, f"{here} may not import {', '.join(sorted(wrong))}"


def test_the_table_has_no_circle():
    rows = {room: {name.split(".")[0] for name in free} for room, free in TABLE.items()}
    TopologicalSorter(rows).prepare()


def test_no_folder_holds_a_circle():
    assert circle({dotted(path): path.read_text() for path in FILES}) is None


@pytest.mark.parametrize("here", ["images", "features.engine", "tags.sql.rows"])
@pytest.mark.parametrize(
    "planted",
    [
        "from movie_tagger import learn",
        "from movie_tagger.learn import head",
        "from movie_tagger.learn.head import fit",
        "from movie_tagger import __version__, core, learn",
        "import movie_tagger.learn",
        "import movie_tagger.learn.head as h",
        "def late():\n    from movie_tagger.learn.head import fit",
        "if True:\n    try:\n        import movie_tagger.learn\n    except OSError:\n        raise",
    ],
)
def test_a_violation_planted_across_folders_is_caught(here, planted):
    source = PACKAGE.joinpath(*here.split(".")).with_suffix(".py").read_text()
    assert forbidden(here, source) == set()
    assert {name.split(".")[0] for name in forbidden(here, source + "\n" + planted)} == {"learn"}


@pytest.mark.parametrize(
    "here, planted",
    [
        ("images", "from . import learn"),
        ("images", "from .learn import head"),
        ("features.engine", "from .. import learn"),
        ("features.engine", "from ..learn.head import fit"),
        ("tags.sql.rows", "from ...learn import head"),
    ],
)
def test_a_relative_violation_is_caught(here, planted):
    assert {name.split(".")[0] for name in forbidden(here, planted)} == {"learn"}


def test_one_room_of_a_folder_can_be_open_and_the_others_not():
    assert forbidden("ledger.ledger", "from ..tags.rules import Rules") == set()
    assert forbidden("ledger.ledger", "from ..tags import sql") == {"tags.sql"}
    assert forbidden("ledger.ledger", "from .. import tags") == {"tags"}


def test_the_face_at_the_top_is_for_users():
    assert forbidden("features.engine", "from movie_tagger import __version__, core") == set()
    assert forbidden("features.engine", "from movie_tagger import train") == {"train"}
    assert forbidden("features.engine", "from .. import load") == {"load"}


def test_a_circle_planted_inside_a_folder_is_caught():
    sources = {dotted(path): path.read_text() for path in FILES}
    sources["features.engine"] += "\ndef late():\n    from .embeddings import embed\n"
    assert set(circle(sources)) == {"features.engine", "features.embeddings"}


def test_what_is_no_module_of_ours_is_left_alone():
    source = "import numpy as np\nfrom pathlib import Path\nimport movie_tagger_other.head"
    assert imported(source, "images") == set()


# --- the faces

FACES = [
    "movie_tagger",
    *sorted(
        f"movie_tagger.{p.parent.relative_to(PACKAGE)}".replace("/", ".")
        for p in PACKAGE.rglob("*/__init__.py")
    ),
]


def public(path):
    "The names that a module exports."
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return ast.literal_eval(node.value)
    return []


@pytest.mark.parametrize("name", FACES)
def test_every_name_of_a_face_is_there(name):
    face = importlib.import_module(name)
    assert set(face.__all__) <= set(dir(face))
    for entry in face.__all__:
        assert getattr(face, entry) is not None


@pytest.mark.parametrize("path", FILES, ids=dotted)
def test_no_file_is_named_like_what_it_holds(path):
    assert path.stem not in public(path)


def test_the_version_is_said_once():
    settings = ConfigParser(delimiters="=")
    settings.read(REPO / "settings.ini", encoding="utf-8")
    assert importlib.import_module("movie_tagger").__version__ == settings["DEFAULT"]["version"]


# --- what stays light

LIGHT = [
    *("images", "data", "download", "tags", "ledger", "features.engine", "features", "judge"),
    *("learn.head", "models", "suspects", "serve.app", "retrain", "cli.door"),
]


@pytest.mark.parametrize("module", LIGHT)
def test_no_torch_is_loaded_by(module):
    code = (
        f"import sys, movie_tagger.{module} as m; [getattr(m, name) for name in dir(m)]; "
        "print(*({'torch', 'fastai', 'timm', 'torchvision', 'openvino'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("", "")


HEAVY = "{'pandas', 'numpy', 'onnxruntime', 'scipy', 'matplotlib', 'PIL'}"


@pytest.mark.parametrize("code", ["import movie_tagger", "import movie_tagger.cli.door"])
def test_the_start_is_light(code):
    heavy = HEAVY if code.endswith("tagger") else "{'pandas', 'onnxruntime', 'scipy', 'matplotlib'}"
    code = f"import sys; {code}; print(*({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
