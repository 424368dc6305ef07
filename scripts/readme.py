"""README.md out of nbs/index.ipynb, whose map of the course is made from the notebooks."""

import re
import sys
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter

ROOT = Path(__file__).parent.parent
NBS = ROOT / "nbs"
START, END = "<!-- the map, made by scripts/readme.py -->", "<!-- the end of the map -->"

# The lessons in reading order, by folder and module; every numbered notebook is one of them.
COURSE = {
    "One label a picture: posters": [
        "posters",
        "data",
        "features/embeddings",
        "learn/head",
        "judge/evaluation",
        "judge/intervals",
        "judge/calibration",
        "judge/interpretation",
        "judge/growth",
        "suspects/ranking",
        "curate/cleaner",
        "models/bundle",
        "learn/finetune",
    ],
    "Many tags a picture: stills": [
        "stills",
        "download/pictures",
        "tags/clean",
        "features/text_tower",
        "features/index",
        "suspects/visibility",
        "ledger/ledger",
        "learn/hidden",
        "learn/teaching",
        "ledger/review",
        "judge/aims",
        "judge/promise",
        "serve/sensitive",
        "serve/app",
        "bulk/local",
        "retrain/gates",
        "retrain/month",
        "monthly",
    ],
}
# Where the parts of rooms without a lesson of their own are told.
GUESTS = {"sample": "posters", "core": "data", "images": "data", "duplicates": "data"}
STORIES = {"index", "posters", "stills", "monthly"}


def name_of(path):
    "Folder and module of a notebook: `learn/head` for nbs/learn/01_head.ipynb."
    place = path.relative_to(NBS).with_suffix("")
    return (place.parent / re.sub(r"^\d+_", "", place.name)).as_posix()


def is_lesson(path):
    return path.name[0].isdigit() or name_of(path) in STORIES - {"index"}


def line_about(path):
    "A link to a notebook, and what it says of itself in its first cell."
    title, *rest = nbformat.read(path, as_version=4).cells[0].source.splitlines()
    says = " ".join(line[2:].strip() for line in rest if line.startswith("> "))
    title = title.removeprefix("# ")
    if is_lesson(path) and path.parent != NBS:
        title = f"{path.parent.relative_to(NBS)}: {title}"
    return f"[{title}]({path.relative_to(NBS).as_posix()}): {says}"


def told_in(name, lessons):
    "The lesson under which a part is folded; None for a room that has none."
    room = name.split("/")[0]
    return GUESTS.get(room) or next(
        (lesson for lesson in lessons if lesson.startswith(room + "/")), None
    )


def folded(summary, paths):
    lines = "".join(f"   - {line_about(path)}\n" for path in paths)
    return f"   <details><summary>{summary}</summary>\n\n{lines}\n   </details>\n"


def course_map():
    "The course as a path of lessons, each with its parts folded under it."
    notebooks = {
        name_of(path): path
        for path in sorted(NBS.rglob("*.ipynb"))
        if path.parent.name[0] != "." and path.parent != NBS / "exercises"
    }
    lessons = [lesson for chapter in COURSE.values() for lesson in chapter]
    on_disk = {name for name, path in notebooks.items() if is_lesson(path)}
    if on_disk != set(lessons):
        sys.exit(
            "The numbered notebooks in nbs/ and the lessons of COURSE in scripts/readme.py differ: "
            f"{', '.join(sorted(on_disk ^ set(lessons)))}."
        )
    parts = {}
    for name in notebooks.keys() - on_disk - {"index"}:
        parts.setdefault(told_in(name, lessons), []).append(notebooks[name])
    text = ""
    for chapter, names in COURSE.items():
        text += f"\n### {chapter}\n\n"
        for name in names:
            text += f"{lessons.index(name) + 1}. {line_about(notebooks[name])}\n"
            if name in parts:
                text += folded("its parts", sorted(parts[name]))
    text += "\n### The command line\n\n"
    return text + "".join(f"- {line_about(path)}\n" for path in sorted(parts[None]))


def readme_parts(notebooks):
    "Names of the notebooks that are machinery."
    return [name for name, path in notebooks.items() if not is_lesson(path) and name != "index"]


def with_map(source):
    return re.sub(f"(?s){START}.*{END}", lambda _: f"{START}\n{course_map()}\n{END}", source)


def readme(notebook):
    "Markdown, code and text results as they stand in the notebook."
    notebook.cells = [cell for cell in notebook.cells if not cell.source.startswith("#| hide")]
    for cell in notebook.cells:
        cell.source = re.sub(r"^#\| .*\n", "", cell.source)
    text, _ = MarkdownExporter().from_notebook_node(notebook)
    text = re.sub(r"\]\((?!https?:|#|\.\.)", "](nbs/", text)
    text = text.replace("](../", "](").replace('src="', 'src="nbs/')
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def write(path, text):
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def main():
    index = nbformat.read(NBS / "index.ipynb", as_version=4)
    for cell in index.cells:
        if cell.cell_type == "markdown" and START in cell.source:
            cell.source = with_map(cell.source)
    write(
        NBS / "index.ipynb",
        nbformat.writes(index, indent=1, ensure_ascii=False, sort_keys=True) + "\n",
    )
    write(ROOT / "README.md", readme(index))


if __name__ == "__main__":
    main()
