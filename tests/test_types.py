"What a type checker and an editor see of the faces: every name is there, and says what it is."

import ast
import subprocess
import sys

import pytest
from conftest import REPO

FACES = sorted((REPO / "movie_tagger").rglob("__init__.pyi"))

# As somebody would write it. Frames of pandas are Any to who has no pandas-stubs, so what is asked
# here are the names themselves and what the package itself defines.
PROGRAM = """
from movie_tagger import curate, data, download, features, judge, ledger, load, serve, tags, train

items, labels = data.read("posters", absent="no")
rows, errors = features.embed(items["path"], encoder="lite0")
model = train(items, labels, recipe="head")
bundle = load("genres")
reveal_type(data.read)
reveal_type(features.embed)
reveal_type(rows)
reveal_type(train)
reveal_type(model)
reveal_type(load)
reveal_type(bundle)
reveal_type(bundle.predict)
reveal_type(judge.evaluate)
reveal_type(ledger.Ledger("site.db"))
reveal_type(curate.ImageCleaner)
reveal_type(serve.create_app)
reveal_type(tags.read_dump)
reveal_type(download.download_images)
"""


def checked(program, folder):
    "What mypy reveals of a program, a line each; it must have nothing else to say."
    pytest.importorskip("mypy")
    file = folder / "program.py"
    file.write_text(program)
    settings = ["--ignore-missing-imports", "--follow-imports=silent", "--cache-dir", folder]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *settings, file], cwd=REPO, capture_output=True, text=True
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout + done.stderr
    return [line.split('Revealed type is "')[1][:-1] for line in lines if "Revealed" in line]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    "Where the checker works and keeps what it has read."
    return tmp_path_factory.mktemp("types")


def test_the_package_says_that_it_has_types():
    assert (REPO / "movie_tagger" / "py.typed").exists()


def test_what_a_program_uses_says_what_it_is(folder):
    revealed = checked(PROGRAM, folder)
    assert len(revealed) == PROGRAM.count("reveal_type") and "Any" not in revealed
    assert {"Model", "Bundle", "Ledger"} <= {type.rpartition(".")[2] for type in revealed}


def shown(face):
    "The names of a face, with the module that it is the face of."
    module = ".".join(face.parent.relative_to(REPO).parts)
    tree = ast.parse(face.read_text())
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    return [(module, alias.asname) for node in imports for alias in node.names]


def test_every_name_of_every_face_is_there(folder):
    names = [name for face in FACES for name in shown(face)]
    lines = [f"from {module} import {name} as n{k}" for k, (module, name) in enumerate(names)]
    lines += [f"reveal_type(n{k})" for k in range(len(names))]
    revealed = checked("\n".join(lines) + "\n", folder)
    unknown = [".".join(name) for name, type in zip(names, revealed, strict=True) if type == "Any"]
    assert not unknown


def test_a_name_that_is_not_there_is_noticed(folder):
    with pytest.raises(AssertionError, match="embedd"):
        checked("from movie_tagger import features\nfeatures.embedd\n", folder)
