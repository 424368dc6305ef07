"""nbdev-test, and of every exercise in a lesson also that its check fails where the answer is
missing: straight after the check, with everything as the lesson has it, so that no lesson is run
twice.

Usage: python scripts/notebooks.py [ARGUMENTS OF nbdev-test]
"""

import sys
from dataclasses import astuple
from importlib import import_module
from pathlib import Path

import nbdev.test
from nbdev.process import NBProcessor

sys.path.insert(0, str(Path(__file__).parent))
from exercises import Exercise, exercises, hold, is_marked

TEST_NB = nbdev.test.test_nb


class WithGaps(NBProcessor):
    "A notebook whose checks are also asked about the gaps."

    def __init__(self, path, *args, **kwargs):
        super().__init__(path, *args, **kwargs)
        checks = [cell for cell in self.nb.cells if is_marked(cell, "check")]
        for cell, exercise in zip(checks, exercises(self.nb), strict=True):
            ask = f"__import__('notebooks').ask({astuple(exercise)!r}, globals())"
            cell.set_source(f"{cell.source}\n{ask}")


def ask(told, names):
    "Called at the end of a check, in the notebook."
    hold(names, Exercise(*told))


def test_nb(path, **settings):
    nbdev.test.NBProcessor = WithGaps
    return TEST_NB(path, **settings)


if __name__ == "__main__":
    if "--save" in sys.argv:
        sys.exit("This runs more than the notebooks hold; save their outputs with nbdev-test.")
    # by its module's name: a notebook that runs has a `__main__` of its own
    nbdev.test.test_nb = import_module("notebooks").test_nb
    nbdev.test.nbdev_test()
