"""The pages of the site, laid out for Sphinx in _docs/source: the course, its parts, the reference.

Usage: python docs/assemble.py
"""

import ast
import importlib
import json
import os
import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
NBS = ROOT / "nbs"
SOURCE = Path(os.environ.get("DOCS_SOURCE", ROOT / "_docs" / "source"))
# The folders as the stories meet them; one that is not named comes last.
ROOMS = (
    "sample download tags ledger features judge learn models bulk suspects curate serve retrain cli"
).split()
PAGES = {
    "extras": ROOT / "docs" / "extras.md",
    "from_fastai": ROOT / "docs" / "from_fastai.md",
    "from_the_writeups": ROOT / "docs" / "from_the_writeups.md",
    "words": ROOT / "docs" / "words.md",
    "results": ROOT / "benchmarks" / "RESULTS.md",
    "changes": ROOT / "CHANGELOG.md",
    "contributing": ROOT / "CONTRIBUTING.md",
    "security": ROOT / "SECURITY.md",
}

sys.path.insert(0, str(ROOT / "scripts"))
from exercises import EXERCISES, is_marked, without_marks  # noqa: E402
from readme import COURSE, END, START, name_of, readme_parts  # noqa: E402

FILES = re.compile(r"\]\((?:\.\./)+(movie_tagger|proxy|benchmarks|scripts|schedule|tests)/[^)]+\)")


def notebooks():
    "Name of a room → its notebook."
    found = sorted(NBS.rglob("*.ipynb"))
    apart = {".ipynb_checkpoints", "exercises"}
    return {name_of(path): path for path in found if not apart & {*path.parts}}


def linked(source, depth):
    "Links out of nbs/ lead to the site's own pages, or lose their link where it has none."
    for page, path in PAGES.items():
        source = re.sub(
            rf"\]\((?:\.\./)*(?:benchmarks/|docs/)?{path.name}", f"]({depth}{page}.md", source
        )
    source = re.sub(r"\[([^\]]+)" + FILES.pattern, r"\1", source)
    source = re.sub(r"\[([^\]]+)\]\(((?:\.\./)*exercises/[^)]+)\)", r"{download}`\1 <\2>`", source)
    return re.sub(r"\[([^\]]+)\]\((?:\.\./)*(?:LICENSE|CITATION\.cff)\)", r"\1", source)


def copy(path):
    "A notebook with its links put right and without the marks that only nbdev reads."
    book = json.loads(path.read_text(encoding="utf-8"))
    depth = "../" * (len(path.relative_to(NBS).parts) - 1)
    kept = []
    for cell in book["cells"]:
        source = "".join(cell["source"])
        if re.search(r"^#\| *hide *$", source, re.M) or "nbdev_export" in source:
            continue
        if cell["cell_type"] == "markdown":
            source = linked(source, depth)
            if START in source and END in source:
                source = source[: source.index(START)] + source[source.index(END) + len(END) :]
        source = re.sub(r"^#\| .*\n?", "", source, flags=re.M)
        if is_marked(cell, "answer"):
            source = without_marks(source)
            cell = cell | {"metadata": {"tags": ["hide-input"]}}
        if source.strip():
            kept.append(cell | {"source": source})
    book["cells"] = kept
    book["metadata"].setdefault("kernelspec", {"name": "python3", "display_name": "Python 3"})
    target = SOURCE / path.relative_to(NBS)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(book, ensure_ascii=False), encoding="utf-8")


def toctree(caption, names, depth=1):
    return "\n".join(
        ["```{toctree}", f":caption: {caption}", f":maxdepth: {depth}", "", *names, "```", ""]
    )


def document(name, found):
    "An entry of a toctree: the room's name with its folder, and where its page is."
    place = found[name].relative_to(NBS).with_suffix("").as_posix()
    return f"{name.replace('/', ': ')} <{place}>" if "/" in name else place


def contents(found):
    "The lessons in reading order, then machinery, reference and the rest."
    parts = [document(name, found) for name in readme_parts(found)]
    (SOURCE / "parts.md").write_text(
        "# The parts\n\nMachinery, for whoever changes it; each is linked from its lesson.\n\n"
        + toctree("Parts", parts),
        encoding="utf-8",
    )
    trees = [
        toctree(chapter, [document(name, found) for name in names])
        for chapter, names in COURSE.items()
    ]
    return "\n".join([*trees, toctree("More", ["reference/index", "parts", *PAGES])])


def names_of(face):
    "The names that a folder shows, modules left out, in the order of its stub."
    found = {}
    for line in ast.parse(face.read_text(encoding="utf-8")).body:
        if isinstance(line, ast.ImportFrom) and line.module:
            found |= {name.asname or name.name: line.module for name in line.names}
    return found


def reference():
    "A page for each folder, and one for the files of the package."
    folder = SOURCE / "reference"
    folder.mkdir()
    package = ROOT / "movie_tagger"
    rooms = {}
    order = {room: n for n, room in enumerate(ROOMS)}
    faces = package.glob("*/__init__.pyi")
    for face in sorted(faces, key=lambda face: order.get(face.parent.name, len(order))):
        if shown := names_of(face):
            rooms[face.parent.name] = shown
    for room, shown in rooms.items():
        said = ast.get_docstring(ast.parse((package / room / "__init__.py").read_text())) or ""
        text = f"# {room}\n\n{said}\n\n"
        for name in shown:
            text += entry(f"movie_tagger.{room}", name)
        (folder / f"{room}.md").write_text(text, encoding="utf-8")
    for file in ("core", "data", "duplicates", "images"):
        text = (
            f"# {file}\n\n```{{eval-rst}}\n.. automodule:: movie_tagger.{file}\n   :members:\n```\n"
        )
        (folder / f"{file}.md").write_text(text, encoding="utf-8")
    text = (
        "# Reference\n\nThe public names, as `from movie_tagger import train, load, data, judge` "
        "brings them: a page for each folder.\n\n"
        + entry("movie_tagger", "train")
        + entry("movie_tagger", "load")
        + toctree("Rooms", ["data", *rooms, "images", "duplicates", "core"])
    )
    (folder / "index.md").write_text(text, encoding="utf-8")


def entry(module, name):
    "A name's entry: a class with its members, a function, or a value with its type."
    thing = getattr(importlib.import_module(module), name)
    if isinstance(thing, type):
        said = f".. autoclass:: {module}.{name}\n   :members:"
    elif callable(thing):
        said = f".. autofunction:: {module}.{name}"
    else:
        said = f".. py:data:: {module}.{name}\n   :type: {type(thing).__name__}"
    return f"```{{eval-rst}}\n{said}\n```\n\n"


def main():
    shutil.rmtree(SOURCE, ignore_errors=True)
    SOURCE.mkdir(parents=True)
    found = notebooks()
    for path in found.values():
        copy(path)
    shutil.copytree(NBS / "images", SOURCE / "images")
    shutil.copytree(EXERCISES, SOURCE / "exercises", ignore=shutil.ignore_patterns("*.md"))
    for page, path in PAGES.items():
        text = linked(path.read_text(encoding="utf-8"), "")
        (SOURCE / f"{page}.md").write_text(
            re.sub(r"\]\((?:\.\./)?nbs/", "](", text), encoding="utf-8"
        )
    reference()
    index = json.loads((SOURCE / "index.ipynb").read_text(encoding="utf-8"))
    cell = {"cell_type": "markdown", "id": "contents", "metadata": {}, "source": contents(found)}
    index["cells"].append(cell)
    (SOURCE / "index.ipynb").write_text(json.dumps(index, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main()
