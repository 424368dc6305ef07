"""nbs/exercises out of the lessons: for classes a copy of each, without outputs and with gaps, and
the answers apart.

An exercise in a lesson is a markdown cell `### Exercise: ...`, an answer, a code cell whose first
line is `# answer`, and a check, a code cell whose first line is `# check`, with asserts that say
what is missing. In an answer, what a class finds instead stands in comments: beside one line as
`x = 0.3  # gap: 0.5`, and above several as `# gap: return 0`, up to `# end`. The questions are a
markdown cell `## Questions`, each with its answer folded into `<details>`.
"""

import ast
import json
import posixpath
import re
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from readme import COURSE, NBS, name_of, write

EXERCISES = NBS / "exercises"
QUESTION = re.compile(r"(?s)<details><summary>(.*?)</summary>\s*(.*?)\s*</details>")
NOTE = """A copy for classes of [this lesson]({lesson}): without outputs, and with gaps at
`# your turn`. Run it from the top; a check that says nothing agrees with you.
The [answers](answers.md#{anchor}) are apart.
""".replace("\n", " ").strip()
HEAD = """# Answers

What the gaps of the lessons want, and what their questions ask for. Made from the lessons by
`scripts/exercises.py`; there every answer is run, and every check has to refuse its gap.
"""


@dataclass(frozen=True)
class Exercise:
    "A task of a lesson; `check` passes after `answer` and fails after `gap`."

    title: str
    task: str
    answer: str
    check: str

    @property
    def gap(self):
        return gapped(self.answer)

    @property
    def names(self):
        "The names that the answer gives a value."
        tree = ast.parse(self.answer)
        made = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        return made | {
            node.id
            for node in ast.walk(tree)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }


def lessons():
    "Name → notebook of each lesson, in the course's order."
    there = {name_of(path): path for path in NBS.rglob("*.ipynb") if EXERCISES not in path.parents}
    return {name: there[name] for names in COURSE.values() for name in names if name in there}


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def text(cell):
    return "".join(cell["source"])


def is_marked(cell, mark):
    return cell["cell_type"] == "code" and text(cell).split("\n")[0] == f"# {mark}"


def gapped(answer):
    "An answer as a class finds it."
    lines, inside = [], False
    for line in answer.splitlines()[1:]:
        if start := re.match(r"(\s*)# gap: ?(.*)", line):
            lines.append(start[1] + start[2])
            inside = True
        elif line.strip() == "# end":
            inside = False
        elif beside := re.match(r"(\s*[^=]+ = ).*  # gap: (.*)", line):
            lines.append(beside[1] + beside[2])
        elif not inside:
            lines.append(line)
    return "\n".join(["# your turn", *lines])


def without_marks(answer):
    "An answer as its reader finds it."
    lines = [
        re.sub(r"  # gap: .*", "", line)
        for line in answer.splitlines()[1:]
        if not re.match(r"\s*# (gap:.*|end)$", line)
    ]
    return "\n".join(lines)


def exercises(book):
    "The exercises of a lesson, in its order."
    found, task = [], None
    for cell, following in zip(book["cells"], [*book["cells"][1:], None], strict=True):
        if cell["cell_type"] == "markdown" and text(cell).startswith("### Exercise: "):
            task = text(cell)
        if is_marked(cell, "answer"):
            title = task and task.splitlines()[0].removeprefix("### Exercise: ")
            if not (title and following and is_marked(following, "check")):
                raise ValueError(
                    f"An answer stands between its task and its check: {text(cell)[:80]!r}"
                )
            found.append(Exercise(title, task, text(cell), text(following)))
            task = None
    return found


def hold(names, exercise):
    "Raise unless the check fails on the gap, by an assertion, with all else as the lesson left it."
    names = {name: value for name, value in names.items() if name not in exercise.names}
    try:
        exec(exercise.gap, names)
        exec(exercise.check, names)
    except AssertionError:
        return
    raise ValueError(f"The check of {exercise.title!r} passes although its gap is not filled.")


def questions(source):
    "Pairs of question and answer in a cell."
    return QUESTION.findall(source)


def copy_name(name):
    return f"{name.replace('/', '_')}.ipynb"


def relinked(source, path, copies):
    "Links as they lead from nbs/exercises; those to lessons lead to their copies."
    folder = path.parent.relative_to(NBS).as_posix()

    def to(match):
        target, anchor = match[2], match[3] or ""
        place = posixpath.normpath(posixpath.join(folder, target))
        if place in copies:
            return match[1] + copies[place] + anchor
        return match[1] + posixpath.relpath(place, "exercises") + anchor

    return re.sub(r'(\]\(|src=")(?!https?:|#|mailto:)([^)#"\s]+)(#[^)"\s]*)?', to, source)


def class_cell(cell, path, copies):
    "A cell as a class finds it; None for one that only the package needs."
    source = re.sub(r"^#\| .*\n?", "", text(cell), flags=re.M)
    if "nbdev_export" in source or not source.strip():
        return None
    if cell["cell_type"] == "markdown":
        if source.startswith("## Questions"):
            asked = [question for question, _ in questions(source)]
            source = "## Questions\n\n" + "\n".join(f"{n}. {q}" for n, q in enumerate(asked, 1))
        made = {"source": relinked(source, path, copies)}
    else:
        if is_marked(cell, "answer"):
            source = gapped(source)
        made = {"source": source, "execution_count": None, "outputs": []}
    source = made["source"].strip("\n").splitlines(True)
    return cell | made | {"metadata": {}, "source": source}


def class_copy(name, path, copies):
    "The text of a lesson's copy."
    book = read(path)
    made = [class_cell(cell, path, copies) for cell in book["cells"]]
    title, *cells = [cell for cell in made if cell]
    lesson = posixpath.relpath(path.relative_to(NBS).as_posix(), "exercises")
    note = NOTE.format(lesson=lesson, anchor=anchor(name))
    cells = [title, title | {"id": "for-classes", "source": [note]}, *cells]
    book = book | {"cells": cells}
    return json.dumps(book, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def anchor(name):
    return re.sub(r"[^\w -]", "", heading(name)).replace(" ", "-")


def heading(name):
    return name.replace("/", ": ")


def answers(name, path, copies):
    "What a lesson's gaps and questions want, as a chapter."
    book = read(path)
    said = [f"## {heading(name)}"]
    for exercise in exercises(book):
        said += [f"**{exercise.title}**", f"```python\n{without_marks(exercise.answer)}\n```"]
    for cell in book["cells"]:
        if cell["cell_type"] == "markdown" and text(cell).startswith("## Questions"):
            for n, (question, answer) in enumerate(questions(text(cell)), 1):
                said.append(f"{n}. *{question}* {' '.join(answer.split())}")
    return relinked("\n\n".join(said), path, copies) + "\n"


def made():
    "Every file of nbs/exercises → its text; a lesson without exercises has none."
    there = {name: path for name, path in lessons().items() if exercises(read(path))}
    copies = {path.relative_to(NBS).as_posix(): copy_name(name) for name, path in there.items()}
    files = {copy_name(name): class_copy(name, path, copies) for name, path in there.items()}
    chapters = [answers(name, path, copies) for name, path in there.items()]
    files["answers.md"] = "\n".join([HEAD, *chapters])
    files[".notest"] = ""  # nbdev-test leaves this folder out: its checks are meant to fail
    return files


def fold(path):
    "Let JupyterLab show the answers of a lesson folded."
    book = read(path)
    for cell in book["cells"]:
        if is_marked(cell, "answer"):
            cell["metadata"] = cell["metadata"] | {"jupyter": {"source_hidden": True}}
    write(path, json.dumps(book, indent=1, ensure_ascii=False, sort_keys=True) + "\n")


def main():
    for path in lessons().values():
        fold(path)
    EXERCISES.mkdir(exist_ok=True)
    files = made()
    for path in EXERCISES.iterdir():
        if path.is_file() and path.name not in files:
            path.unlink()
    for name, content in files.items():
        write(EXERCISES / name, content)


if __name__ == "__main__":
    main()
