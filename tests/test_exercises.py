"""Every lesson has its goals, exercises, questions and end; a gap is told from its answer.

That each check passes on its answer and fails on its gap is seen where the lessons are run, by
`scripts/notebooks.py`.
"""

import json
import re
import subprocess
import sys

import pytest
from conftest import REPO

sys.path.insert(0, str(REPO / "scripts"))
import exercises as ex

LESSONS = ex.lessons()
WORDS_OF_A_LESSON = 45 * 200  # three quarters of an hour


def markdown(path):
    return [ex.text(cell) for cell in ex.read(path)["cells"] if cell["cell_type"] == "markdown"]


@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_says_what_it_is_for_asks_and_ends(name):
    path, book = LESSONS[name], ex.read(LESSONS[name])
    cells = markdown(path)
    goals = cells[1]
    assert goals.startswith("**You will be able to** ") and "**Before it**: " in goals
    assert int(re.search(r"\*\*Time\*\*: about (\d+) minutes", goals)[1]) <= 45
    assert f"exercises/{ex.copy_name(name)})" in goals
    assert 1 <= len(ex.exercises(book)) <= 3
    [asked] = [cell for cell in cells if cell.startswith("## Questions")]
    assert 3 <= len(ex.questions(asked)) == asked.count("<details>") <= 6
    [end] = [cell for cell in cells if cell.startswith("## Remember")]
    names = list(LESSONS)
    if name != names[-1]:
        following = LESSONS[names[names.index(name) + 1]]
        link = re.search(r"\*\*Next\*\*: \[.*\]\((.*)\)", end)[1]
        assert (path.parent / link).resolve() == following
    assert len(" ".join(cells).split()) < WORDS_OF_A_LESSON


@pytest.mark.parametrize("name", LESSONS)
def test_a_copy_for_classes_has_gaps_and_no_answers(name):
    made = ex.EXERCISES / ex.copy_name(name)
    copy = "\n".join(ex.text(cell) for cell in ex.read(made)["cells"])
    assert not re.search(r"^# answer$|# gap: |<summary>Why", copy, re.M)
    assert not any(cell.get("outputs") for cell in ex.read(made)["cells"])
    for exercise in ex.exercises(ex.read(LESSONS[name])):
        assert exercise.gap in copy and exercise.check in copy
        assert ex.without_marks(exercise.answer) not in copy
    for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", "\n".join(markdown(made))):
        assert (made.parent / link).exists(), link


def test_a_gap_stands_beside_a_line_or_above_several():
    body = "    # gap: return a\n    b = a\n    return b\n    # end"
    answer = f"# answer\nx = 3 + 1  # gap: 0\n\n\ndef f(a):\n{body}"
    assert ex.gapped(answer) == "# your turn\nx = 0\n\n\ndef f(a):\n    return a"
    assert ex.without_marks(answer) == "x = 3 + 1\n\n\ndef f(a):\n    b = a\n    return b"


def an_exercise(gap, check):
    return ex.Exercise("count", "### Exercise: count", f"# answer\nn = 3  # gap: {gap}", check)


def test_a_check_must_refuse_its_gap():
    ex.hold({"n": 3}, an_exercise("0", "assert n == 3"))
    with pytest.raises(ValueError, match="passes although its gap"):
        ex.hold({"n": 3}, an_exercise("0", "assert n < 4"))
    with pytest.raises(TypeError):  # a learner should be told what is missing
        ex.hold({"n": 3}, an_exercise("...", "assert n > 2"))


@pytest.mark.parametrize("check, code", [("n == 3", 0), ("n < 4", 1)])
def test_the_run_of_a_lesson_asks_its_checks_about_the_gaps(tmp_path, check, code):
    sources = ["### Exercise: count", "# answer\nn = 3  # gap: 0", f"# check\nassert {check}"]
    cells = [
        {"cell_type": kind, "id": str(k), "metadata": {}, "source": [source]}
        | ({"execution_count": None, "outputs": []} if kind == "code" else {})
        for k, (kind, source) in enumerate(zip(["markdown", "code", "code"], sources))
    ]
    book = ex.read(LESSONS["data"]) | {"cells": cells}
    (tmp_path / "lesson.ipynb").write_text(json.dumps(book))
    run = subprocess.run(
        [sys.executable, REPO / "scripts" / "notebooks.py", tmp_path / "lesson.ipynb"],
        capture_output=True, text=True, cwd=REPO,
    )  # fmt: skip
    assert run.returncode == code, run.stderr
    assert code == 0 or "passes although its gap is not filled" in run.stderr
