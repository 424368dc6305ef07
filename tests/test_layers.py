"Who may import whom: the table of the design, held against the code; and what stays light."

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPO

GROUND = {
    "core": set(),
    "images": {"core"},
    "data": {"core", "images"},
    "draw": {"core"},
    "scenes": {"core", "draw"},
    "sample": {"core", "scenes"},
    "site": {"core"},
}
COLLECT = {
    "fetch": {"core"},
    "download": {"core", "images", "fetch"},
    "rows": {"core"},
    "stream": {"core", "rows"},
    "exports": {"core", "rows", "stream"},
    "dump": {"core", "rows", "stream", "exports"},
    "database": {"core", "rows"},
    "tags": {"core", "data", "rows", "dump", "database"},
    "cells": {"core", "tags"},
    "events": {"core", "cells"},
    "steps": {"core", "cells", "events"},
    "files": {"core"},
    "leaks": {"core", "images", "data"},
    "ledger": {"core", "images", "data", "tags", "cells", "events", "steps", "files", "leaks"},
    "exchange": {"core", "data", "cells", "events", "files", "ledger"},
    "review": {"core", "data", "ledger"},
}
LEARN = {
    "engine": {"core"},
    "features": {"core", "images", "engine"},
    "evaluate": {"core"},
    "head": {"core", "data", "features", "evaluate"},
    "finetune": {"core", "images", "data", "features", "evaluate", "head"},
    "interpret": {"core", "images", "data", "evaluate"},
    "report": {"core", "images", "evaluate", "interpret"},
    "bundle": {"core", "images", "engine", "evaluate"},
}
CURATE = {
    "opinions": {"core", "data", "head"},
    "suspects": {"core", "images", "data", "features", "evaluate", "head", "opinions"},
    "decisions": {"core", "data", "tags", "cells", "events", "ledger"},
    "queues": {"core", "images", "data", "suspects"},
    "estimates": {"core", "data", "evaluate"},
    "panel": {"core", "images"},
    "cards": {"decisions", "queues"},
    "cleaning": {
        "core",
        "data",
        "events",
        "ledger",
        "review",
        "decisions",
        "queues",
        "estimates",
        "panel",
        "cards",
    },
    "curate": {"core", "panel", "cleaning"},
}
SHIP = {
    "bulk": {"core", "images", "data", "download", "features", "bundle"},
    "keys": {"core"},
    "admission": {"core", "keys"},
    "listen": {"core", "admission"},
    "wire": {"core", "admission"},
    "batching": {"core"},
    "sensitive": {"core", "images"},
    "champion": {"core", "images", "bundle", "admission", "sensitive"},
    "feedback": {"core", "admission", "ledger"},
    "serve": {
        "core",
        "images",
        "data",
        "ledger",
        "bundle",
        "keys",
        "admission",
        "listen",
        "wire",
        "batching",
        "sensitive",
        "champion",
        "feedback",
    },
    "client": {"core"},
    "models": {"core", "bundle", "evaluate"},
    "gates": {"core", "images", "data", "evaluate", "bundle"},
    "plan": {"core", "tags", "gates"},
    "sync": {
        "core",
        "images",
        "data",
        "fetch",
        "download",
        "dump",
        "database",
        "tags",
        "cells",
        "events",
        "ledger",
        "exchange",
        "plan",
        "gates",
    },
    "retrain": {
        *GROUND,
        *COLLECT,
        *LEARN,
        "opinions",
        "suspects",
        "models",
        "gates",
        "plan",
        "sync",
    },
}
BELOW = GROUND | COLLECT | LEARN | CURATE | SHIP
DOOR = {
    "cli_app": {*BELOW},
    **{
        f"cli_{room}": {*BELOW, "cli_app"}
        for room in ("collect", "learn", "ledger", "retrain", "ship")
    },
}
DOOR["cli"] = {*BELOW, *DOOR}
TABLE = BELOW | DOOR


def imported(source):
    "Modules of the package that a source imports, also inside functions."
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(
                part for part in ("movie_tagger" * bool(node.level), node.module) if part
            )
            found |= {base, *(f"{base}.{a.name}" for a in node.names)}
    parts = {name.split(".")[1] for name in found if name.startswith("movie_tagger.")}
    return {p for p in parts if not p.startswith("__")}


def forbidden(module, source):
    return imported(source) - TABLE[module]


MODULES = sorted(p for p in (REPO / "movie_tagger").glob("*.py") if not p.stem.startswith("_"))


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.stem)
def test_a_module_imports_only_what_the_table_allows(path):
    assert path.stem in TABLE, f"{path.name} has no row in the table"
    wrong = forbidden(path.stem, path.read_text())
    assert not wrong, f"{path.stem} may not import {', '.join(sorted(wrong))}"


def test_the_table_has_no_cycle():
    from graphlib import TopologicalSorter

    assert list(TopologicalSorter(TABLE).static_order())[0] == "core"


@pytest.mark.parametrize(
    "planted",
    [
        "from . import head",
        "from .head import fit",
        "from .head.deeper import x",
        "from . import __version__, core, head",
        "from movie_tagger import core, head",
        "from movie_tagger.head import fit",
        "import movie_tagger.head",
        "import movie_tagger.head as h",
        "def late():\n    from .head import fit",
        "if True:\n    try: import movie_tagger.head\n    except ImportError: pass",
    ],
)
def test_a_planted_violation_is_caught(planted):
    source = Path(REPO, "movie_tagger", "images.py").read_text()
    assert forbidden("images", source) == set()
    assert forbidden("images", source + "\n" + planted) == {"head"}


def test_what_is_no_module_of_ours_is_left_alone():
    assert (
        imported(
            "from . import __version__\nimport numpy as np\nfrom pathlib import Path\n"
            "import movie_tagger_other.head"
        )
        == set()
    )


@pytest.mark.parametrize(
    "module",
    [
        "images",
        "data",
        "download",
        "tags",
        "ledger",
        "engine",
        "features",
        "evaluate",
        "head",
        "bundle",
        "suspects",
        "serve",
        "retrain",
        "cli",
    ],
)
def test_no_torch_is_loaded_by(module):
    code = (
        f"import sys, movie_tagger.{module}; print(*({{'torch', 'fastai', 'timm', 'torchvision', "
        f"'openvino'}} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("", "")


def test_the_command_line_starts_light():
    code = "import sys, movie_tagger.cli; print(*({'pandas', 'onnxruntime', 'scipy', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
