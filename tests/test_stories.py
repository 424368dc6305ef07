"The stories on real data. On the drawn sample the notebooks' own run covers them."

import os
import re
import shutil
from pathlib import Path

import nbformat
import pytest
from conftest import REPO
from lab import choose, expect_decided, menu, sync_api
from nbclient import NotebookClient

pytest_plugins = ["lab"]


@pytest.mark.slow
def test_the_still_story_runs_on_real_stills(real_data):
    "Cell by cell, in a kernel of its own."
    story = nbformat.read(REPO / "nbs" / "stills.ipynb", as_version=4)
    client = NotebookClient(story, timeout=600, resources={"metadata": {"path": REPO / "nbs"}})
    client.execute(env=os.environ | {"MOVIE_TAGGER_STILLS": str(real_data)})
    text = "\n".join(str(output) for cell in story.cells for output in cell.get("outputs", []))
    assert "2028" in text and "mean average precision" in text and "Traceback" not in text


def story(folder):
    "The poster story as a reader opens it, on real posters where there are some."
    shutil.copytree(REPO / "nbs" / "images", folder / "images")
    shutil.copy(REPO / "nbs" / "posters.ipynb", folder / "clean.ipynb")
    data = os.environ.get("MOVIE_TAGGER_DATA")
    return data and {"MOVIE_TAGGER_POSTERS": str(Path(data) / "genre3" / "genres.csv")}


def counts_in(cell):
    return dict(
        zip(
            cell.locator("tbody th").all_inner_texts(),
            map(int, cell.locator("tbody td").all_inner_texts()),
        )
    )


@pytest.mark.slow
@pytest.mark.timeout(1200)  # fine-tunes 459 posters three times
@pytest.mark.parametrize("lab", [story], indirect=True)
def test_the_poster_story_is_run_and_cleaned_with_the_mouse(lab):
    page, _, shots = lab
    cells, seen = page.locator(".jp-CodeCell"), sync_api.expect
    played, last = (
        cells.filter(has_text="decisions = cleaner.decisions()"),
        cells.filter(has_text="ax.set_xlabel("),
    )
    prompt = last.locator(".jp-InputPrompt").inner_text()
    menu(page, "Run", "Run All Cells")
    seen(last.locator(".jp-InputPrompt")).not_to_have_text(prompt)
    seen(last.locator(".jp-InputPrompt")).to_have_text(re.compile(r"\[\d+\]:"), timeout=900_000)
    assert not page.locator(
        '[data-mime-type="application/vnd.jupyter.stderr"]', has_text="Traceback"
    ).count()
    assert page.locator(".jp-OutputArea-output", has_text="accuracy").count()
    before, card = counts_in(played), page.locator(".mt-card")

    choose(page, "Decided", "not yet")
    expect_decided(page, {})
    items = page.locator(".mt-card").evaluate_all("all => all.map(c => c.dataset.item)")[:5]
    for k in range(3):
        card.nth(k).get_by_role("button", name="Exclude").click()
        seen(card.nth(k).locator(".mt-mark")).to_contain_text("✕ excluded")
    for k in (3, 4):
        card.nth(k).get_by_role("button", name="Label …").click()
        page.locator(".mt-dialog li", has_not_text="✓").first.click()
        seen(card.nth(k).locator(".mt-mark")).to_contain_text("→ relabelled")
    made = dict(zip(items, ["✕ excluded"] * 3 + ["→ relabelled"] * 2))
    expect_decided(page, made)
    page.screenshot(path=shots / "story.png")

    label = page.locator(".mt-bar label", has_text="Class").locator("option").nth(1).inner_text()
    choose(page, "Decided", "already")
    choose(page, "Class", label)
    choose(page, "Class", "all")
    choose(page, "Decided", "all")
    choose(page, "Decided", "already")
    seen(card.first).to_be_visible()
    marks = page.locator(".mt-card .mt-mark")
    seen(marks.filter(has_text="✕ excluded")).to_have_count(3)

    played.locator(".jp-InputArea-editor").click()
    prompt = played.locator(".jp-InputPrompt").inner_text()
    page.locator('[data-command="notebook:run-cell-and-select-next"]').first.click()
    seen(played.locator(".jp-InputPrompt")).not_to_have_text(prompt)
    seen(played.locator("tbody th").filter(has_text="exclude")).to_have_count(1)
    assert counts_in(played) == {"relabel": before.get("relabel", 0) + 2, "exclude": 3}
