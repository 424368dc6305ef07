"""The site is built from the notebooks without a warning, and every page of the course is there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path):
    pytest.importorskip("sphinx_book_theme")
    environment = os.environ | {
        "DOCS_SOURCE": str(tmp_path / "source"),
        "DOCS_REPOSITORY": "https://github.com/example/movie_tagger",
    }
    subprocess.run([sys.executable, ROOT / "docs" / "assemble.py"], env=environment, check=True)
    built = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
        + ["-c", ROOT / "docs", "-d", tmp_path / "trees", tmp_path / "source", tmp_path / "html"],
        env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    pages = {page.relative_to(tmp_path / "html").as_posix() for page in tmp_path.rglob("*.html")}
    notebooks = [
        path.relative_to(ROOT / "nbs").with_suffix(".html").as_posix()
        for path in (ROOT / "nbs").rglob("*.ipynb")
        if not {".ipynb_checkpoints", "exercises"} & {*path.parts}
    ]
    assert not {*notebooks, "reference/judge.html", "results.html"} - pages
    story = (tmp_path / "html" / "posters.html").read_text(encoding="utf-8")
    assert re.search(r"colab.*example/movie_tagger/blob/main/nbs/posters.ipynb", story)
    read = (tmp_path / "html" / "reference" / "index.html").read_text(encoding="utf-8")
    assert "a name in" in read and "RECIPES" in read  # what stands beside a parameter
