"""The stories on real data, cell by cell in a kernel of their own.

On the drawn sample the notebooks' own run covers them.
"""

import os

import nbformat
import pytest
from conftest import REPO
from nbclient import NotebookClient


def run_story(name, **variables):
    "The executed notebook, run with these environment variables."
    notebook = nbformat.read(REPO / "nbs" / name, as_version=4)
    environment = os.environ | {key: str(value) for key, value in variables.items()}
    NotebookClient(
        notebook, timeout=600, resources={"metadata": {"path": str(REPO / "nbs")}}
    ).execute(env=environment)
    return notebook


@pytest.mark.slow
def test_the_poster_story_runs_on_real_posters(real_data):
    story = run_story(
        "posters.ipynb",
        MOVIE_TAGGER_POSTERS=real_data / "genre3" / "genres.csv",
        MOVIE_TAGGER_EPOCHS=1,
    )
    text = "\n".join(str(output) for cell in story.cells for output in cell.get("outputs", []))
    assert "accuracy" in text and "Traceback" not in text
