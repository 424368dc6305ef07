"The code of the pages for people who come from elsewhere runs as it stands."

import os
import re
import shutil

import pytest
from conftest import REPO

pytest.importorskip("fastai")
import matplotlib

from movie_tagger import sample

matplotlib.use("Agg")


def code_of(name):
    text = (REPO / "docs" / name).read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, re.S)


def run(name, told, names):
    "Runs the page's code, block by block, as if `told` had been typed in."
    pieces = code_of(name)
    for number, piece in enumerate(pieces, 1):
        for is_said, is_meant in told:
            piece = piece.replace(is_said, is_meant)
        exec(compile(piece, f"{name}, block {number}", "exec"), names)
    return names


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_the_page_for_people_from_fastai(here, posters):
    shutil.copytree(posters, here / "site")
    (here / "site" / "horror" / "000.jpg").write_text("<html>not found</html>")
    with sample.site.web(here / "site") as address:
        lists = []
        for genre in sorted(p.name for p in posters.iterdir()):
            lists.append(here / f"urls_{genre}.csv")
            found = sorted((here / "site" / genre).iterdir())
            lists[-1].write_text("\n".join(f"{address}/{genre}/{p.name}" for p in found))
        told = [('"posters")\nprint', '"posters", allow_private=True)\nprint')]
        said = run("from_fastai.md", told, {"lists": lists})
    assert len(said["outcomes"]) == 60 and len(said["items"]) == 59
    assert len(said["clean_items"]) == 58  # one excluded; the relabelling was taken back
    assert said["answers"].shape == (3, 3)


def test_the_page_for_people_from_the_write_ups(here, posters):
    os.symlink(posters, here / "posters")
    sample.draw_stills(here / "drawn", 60, 12, seed=3, keep=0.7)
    shutil.copytree(here / "drawn" / "images", here / "images")
    told = [("site.sql", "drawn/export")]  # the same tables, as CSV
    said = run("from_the_writeups.md", told, {})
    assert said["labels"].isna().any(axis=None) and not said["labels"].eq(False).any(axis=None)
    assert len(said["after"]) == len(said["before"]) - 1
    assert "/v1/tags" in said["app"].openapi()["paths"]
