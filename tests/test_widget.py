"The ImageCleaner as people meet it: a real JupyterLab, a real browser, a mouse."

import json
import os
import re
import signal
import time

import nbformat
import pytest
from lab import choose, expect_decided, marks_of, menu, sync_api

from movie_tagger.curate.decisions import Decisions
from movie_tagger.ledger.ledger import Ledger

pytest_plugins = ["lab"]


DRAW = """
import numpy as np, pandas as pd
from pathlib import Path
from PIL import Image, ImageDraw, ImageFont

colours = {"horror": "#23233b", "romance": "#e8a0a8", "superhero": "#2f6fb3"}
rng, rows = np.random.default_rng(0), []
Path("posters").mkdir(exist_ok=True)
for k in range(30):
    label, path = list(colours)[k % 3], f"posters/{k:02}.jpg"
    poster = Image.new("RGB", (160, 240), colours[label])
    pen = ImageDraw.Draw(poster)
    for x, y, r in rng.integers([20, 20, 8], [140, 190, 40], (5, 3)).tolist():
        pen.ellipse((x - r, y - r, x + r, y + r), fill=tuple(rng.integers(0, 255, 3).tolist()))
    pen.text((80, 215), f"film {k}", fill="white", anchor="mm", font=ImageFont.load_default(22))
    poster.save(path)
    rows.append((path, label))
items = pd.DataFrame(rows, columns=["path", "label"], index=[f"{k:02}.jpg" for k in range(30)])
labels = pd.get_dummies(items.pop("label")).astype("boolean")
p = labels.to_numpy(float) * .7 + .1
for k in range(6):  # these labels surprise the model: it is sure of the next class
    p[k] = np.roll([.01 * (k + 1), .9, .09 - .01 * k], k % 3)


def explain(path, tag):
    from movie_tagger.judge.explanation import Explanation

    lead = np.zeros((1, 6, 4), np.float32)
    lead[0, :2], lead[0, 4:] = 1, -1
    return Explanation([tag], lead, lead)
"""
CELLS = (
    """
from drawn import explain, items, labels, p
from movie_tagger.curate.cleaner import ImageCleaner
split = [k % 5 == 0 for k in range(30)]
cleaner = ImageCleaner(items, labels, p, split, out="decisions.jsonl", explain=explain)
cleaner
""",
    """
table = ImageCleaner(items, labels, p, out="decisions.jsonl").decisions()
print("DECISIONS", table.reset_index().to_json(orient="values"))
""",
)
LEDGER_CELLS = (
    """
from drawn import items, labels, p
import pandas as pd
from movie_tagger.ledger.precedence import from_labels
from movie_tagger.curate.cleaner import ImageCleaner
from movie_tagger.ledger.ledger import Ledger
with Ledger("ledger.db") as book:
    book.add(items, actor="import:folders")
    book.single(list(labels), actor="import:folders")
    book.sync(items, from_labels(labels), actor="import:folders")
p = pd.DataFrame(p, labels.index, labels.columns)
ImageCleaner("ledger.db", probabilities=p, actor="curator:anna", page_size=12)
""",
    """
said = Ledger("ledger.db").events(actor="curator:anna").fillna("").astype(str)
print("DECISIONS", said.to_json(orient="values"))
""",
)


def notebook(folder, cells=CELLS, pictures=30):
    (folder / "drawn.py").write_text(DRAW.replace("range(30)", f"range({pictures})"))
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    cells = [nbformat.v4.new_code_cell(cell.strip()) for cell in cells]
    nbformat.write(
        nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}),
        folder / "clean.ipynb",
    )


REVIEW_CELLS = (
    """
from drawn import items, labels
import pandas as pd
from movie_tagger.curate.cleaner import ImageCleaner
from movie_tagger.ledger.ledger import Ledger
with Ledger("ledger.db") as book:
    book.add(items.assign(group=items.index), actor="import:site.sql")
    typed = pd.DataFrame({"item": items.index[::3], "tag": "blood", "state": True})
    book.decide(typed, actor="import:site.sql")
ImageCleaner("ledger.db", mode="review", tag="blood", actor="curator:anna", page_size=4)
""",
    """
said = Ledger("ledger.db").events(actor="curator:anna")[["item", "tag", "state"]].astype(str)
print("DECISIONS", said.to_json(orient="values"))
""",
)


def review_notebook(folder):
    notebook(folder, REVIEW_CELLS, 60)


def ledger_notebook(folder):
    notebook(folder, LEDGER_CELLS, 60)


def expect_cards(page, n, first):
    sync_api.expect(page.locator(".mt-card")).to_have_count(n)
    sync_api.expect(page.locator(".mt-card").first).to_have_attribute("data-item", first)


def read_decisions(page, prompt):
    "Runs the second cell, and what it printed."
    cell = page.locator(".jp-CodeCell").nth(1)
    cell.locator(".jp-InputArea-editor").click()
    page.locator('[data-command="notebook:run-cell-and-select-next"]').first.click()
    sync_api.expect(cell.locator(".jp-InputPrompt")).to_have_text(prompt)
    return json.loads(
        cell.locator(".jp-OutputArea-output", has_text="DECISIONS")
        .inner_text()
        .removeprefix("DECISIONS")
    )


def restart(page):
    "Restarts the kernel, runs all cells, and waits for the new panel."
    page.locator(".mt-cleaner").evaluate("panel => { panel.dataset.old = 'yes' }")
    menu(page, "Kernel", "Restart Kernel and Run All Cells…")
    page.get_by_role("button", name="Confirm Kernel Restart").or_(
        page.get_by_role("button", name="Restart", exact=True)
    ).click()
    sync_api.expect(page.locator(".mt-cleaner[data-old]")).to_have_count(0)
    sync_api.expect(page.locator(".mt-cleaner")).to_have_count(1)
    sync_api.expect(page.locator(".jp-CodeCell").nth(1).locator(".jp-InputPrompt")).to_have_text(
        "[2]:"
    )


@pytest.mark.parametrize("lab", [notebook], indirect=True)
def test_decisions_made_with_the_mouse_survive_whatever_is_shown(lab):
    page, folder, shots = lab
    menu(page, "Run", "Run All Cells")
    expect_cards(page, 24, "00.jpg")
    card, seen = page.locator(".mt-card"), sync_api.expect

    for k in range(3):
        card.nth(k).get_by_role("button", name="Exclude").click()
        seen(card.nth(k).locator(".mt-mark")).to_contain_text("✕ excluded")
    card.nth(3).get_by_role("button", name="→ romance").click()
    seen(card.nth(3).locator(".mt-mark")).to_contain_text("→ relabelled")
    card.nth(4).get_by_role("button", name="Label …").click()
    page.locator(".mt-dialog").get_by_role("option", name="horror").click()
    seen(card.nth(4).locator(".mt-mark")).to_contain_text("→ relabelled")
    made = {
        "00.jpg": "✕ excluded",
        "01.jpg": "✕ excluded",
        "02.jpg": "✕ excluded",
        "03.jpg": "→ relabelled",
        "04.jpg": "→ relabelled",
    }
    expect_decided(page, made)
    page.screenshot(path=shots / "decided.png")

    choose(page, "Decided", "all")
    choose(page, "Class", "horror (10)")
    expect_cards(page, 10, "00.jpg")
    expect_decided(page, {item: made[item] for item in ("00.jpg", "03.jpg")})
    choose(page, "Class", "all")
    expect_cards(page, 24, "00.jpg")
    expect_decided(page, made)
    choose(page, "Split", "valid")
    expect_cards(page, 6, "00.jpg")
    choose(page, "Split", "all")
    expect_cards(page, 24, "00.jpg")
    page.get_by_role("button", name="Next ›").click()
    expect_cards(page, 6, "24.jpg")
    page.get_by_role("button", name="‹ Previous").click()
    expect_cards(page, 24, "00.jpg")
    expect_decided(page, made)

    page.get_by_role("button", name="↶ Undo").click()
    seen(card.nth(4).locator(".mt-mark")).to_contain_text("undecided")
    expected = [
        ["00.jpg", "exclude", "horror", "", "loss 4.61"],
        ["01.jpg", "exclude", "romance", "", "loss 3.91"],
        ["02.jpg", "exclude", "superhero", "", "loss 3.51"],
        ["03.jpg", "relabel", "horror", "romance", "loss 3.22"],
    ]
    assert read_decisions(page, "[3]:") == expected
    page.locator(".mt-cleaner").screenshot(path=shots / "undone.png")

    restart(page)
    expect_cards(page, 24, "00.jpg")
    expect_decided(page, {item: mark for item, mark in made.items() if item != "04.jpg"})
    assert len((folder / "decisions.jsonl").read_text().splitlines()) == 7


CLOCK = """() => {
  const focused = () => document.querySelector('.mt-card:focus'), times = window.mtTimes = [];
  window.addEventListener('keydown', () => {
    const start = performance.now(), before = focused()?.dataset.item;
    const look = () => {
      const card = focused(), image = card?.querySelector('img');
      if (!before) return;
      const loaded = image?.getAttribute('src') && image.complete && image.naturalWidth;
      if (card && card.dataset.item !== before && loaded) times.push(performance.now() - start);
      else if (performance.now() - start < 30000) requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
  }, true);
}"""


def press(page, *keys):
    "Presses keys, each when the next picture is on the screen; the times, in milliseconds."
    for k, key in enumerate(keys, 1):
        page.keyboard.press(key)
        page.wait_for_function("n => window.mtTimes.length >= n", arg=k, polling=5)
    return page.evaluate("window.mtTimes")


@pytest.mark.parametrize("lab", [ledger_notebook], indirect=True)
def test_thirty_decisions_by_keyboard_are_events_in_the_ledger_and_survive(lab):
    page, folder, shots = lab
    page.evaluate(CLOCK)  # before the panel, which keeps its keys from all listeners behind it
    menu(page, "Run", "Run All Cells")
    expect_cards(page, 12, "00.jpg")
    seen, card, cells = sync_api.expect, page.locator(".mt-card"), page.locator(".jp-CodeCell")

    card.first.focus()
    times = press(page, "Enter", *("x", "k", "1", "3", "k") * 5, "x", "k", "1", "2")
    print(
        "30 decisions by keyboard: from the key to the next picture "
        f"{sorted(times)[len(times) // 2]:.0f} ms in the median, {max(times):.0f} ms at most"
    )
    seen(page.locator(".mt-status")).to_contain_text("30 to go")
    page.screenshot(path=shots / "keys.png")
    for key in ("d", "d", "Shift+D", "b", "y"):
        page.keyboard.press(key)  # would delete, add or change cells
    seen(cells).to_have_count(2)
    with Ledger(folder / "ledger.db") as book:
        before = book.events(actor="curator:anna")
    assert (
        before["batch"].nunique() == 30
        and not before["undone"].any()
        and before["batch"].str.startswith("cleaning: ").all()
    )

    choose(page, "Decided", "already")
    seen(page.locator(".mt-place")).to_have_text("page 1 of 3")
    choose(page, "Class", "horror (20)")
    choose(page, "Class", "all")
    choose(page, "Decided", "not yet")
    seen(page.locator(".mt-place")).to_have_text("page 1 of 3")
    restart(page)
    seen(page.locator(".mt-status")).to_contain_text("30 to go")
    with Ledger(folder / "ledger.db") as book:
        assert book.events(actor="curator:anna").equals(before)

    cells.first.locator(".jp-InputArea-editor").click()
    page.keyboard.press("Escape")
    for key in "ku":
        page.keyboard.press(key)  # the focus is in the notebook: nothing for the panel
    choose(page, "Decided", "all")
    expect_cards(page, 12, "00.jpg")
    card.first.focus()
    for left in range(31, 61):
        page.keyboard.press("u")
        seen(page.locator(".mt-status")).to_contain_text(f"{left} to go")
    seen(page.get_by_role("button", name="↶ Undo")).to_be_disabled()
    with Ledger(folder / "ledger.db") as book:
        assert (
            book.events(actor="curator:anna").loc[before.index, "undone"].all()
            and len(book.items()) == 60
        )
        assert book.labels().equals(book.labels(version=before.index[0] - 1))


@pytest.mark.parametrize("lab", [notebook], indirect=True)
def test_what_can_be_clicked_can_be_pressed(lab):
    page, folder, shots = lab
    menu(page, "Run", "Run All Cells")
    expect_cards(page, 24, "00.jpg")
    card = page.locator(".mt-card")
    seen = sync_api.expect
    dialog = page.locator(".mt-dialog")
    press = page.keyboard.press

    def focused(item):
        seen(page.locator(".mt-card:focus")).to_have_attribute("data-item", item)

    card.first.focus()
    press("ArrowRight"), press("ArrowDown"), press("ArrowLeft")
    columns = page.evaluate(
        "[...document.querySelectorAll('.mt-card')].filter((c, _, "
        "all) => c.offsetTop === all[0].offsetTop).length"
    )
    focused(f"{columns:02}.jpg")
    press("Home")
    press("z")
    seen(dialog.locator("img.mt-large")).to_have_attribute("alt", "00.jpg")
    press("w")
    seen(dialog.locator(".mt-caption")).to_contain_text("yellow spoke for romance, blue against")
    seen(dialog.locator(".mt-where")).to_have_attribute("aria-pressed", "true")
    page.screenshot(path=shots / "where it looked.png")
    press("w")
    seen(dialog.locator(".mt-caption")).not_to_contain_text("yellow")
    press("Enter")  # accepts, also in the large view, which goes on to the next picture
    seen(dialog.locator("img.mt-large")).to_have_attribute("alt", "01.jpg")
    page.screenshot(path=shots / "zoom.png")
    press("Escape")
    seen(dialog).to_be_hidden()
    focused("01.jpg")
    seen(card.first.locator(".mt-mark")).to_have_text("→ relabelled")

    press("Space"), press("Shift+ArrowRight"), press("Shift+ArrowRight")
    seen(page.locator(".mt-chosen")).to_have_count(3)
    press("t")
    page.keyboard.type("super")
    press("Enter")
    expect_decided(
        page,
        {
            "00.jpg": "→ relabelled",
            "01.jpg": "→ relabelled",
            "02.jpg": "✓ kept",
            "03.jpg": "→ relabelled",
        },
    )
    press("u")
    expect_decided(page, {"00.jpg": "→ relabelled"})
    press("Shift+U")
    seen(card.nth(3).locator(".mt-mark")).to_have_text("→ relabelled")
    press("Shift+?")
    seen(dialog).to_contain_text("this help")
    press("x")  # decides nothing while one reads
    press("Escape")
    press("a")
    seen(page.locator(".mt-chosen")).to_have_count(24)
    press("Escape")
    seen(page.locator(".mt-chosen")).to_have_count(0)
    press("Shift+K")
    seen(page.locator(".mt-status")).to_contain_text(
        "✓ 21 kept · ✕ 0 excluded · → 3 relabelled · 6 to go"
    )
    focused("24.jpg")
    press("p")
    expect_cards(page, 24, "00.jpg")
    assert Decisions(folder / "decisions.jsonl").state()["23.jpg"].decision == "keep"

    page.locator(".jp-CodeCell").nth(1).locator(".jp-InputArea-editor").click()
    press("Control+A")
    page.keyboard.type('cleaner.keep("29.jpg")')
    press("Shift+Enter")
    # what a program does is shown, and takes no focus from anybody
    seen(page.locator(".mt-status")).to_contain_text("✓ 22 kept")
    assert not page.evaluate(
        "document.querySelector('.mt-cleaner').contains(document.activeElement)"
    )


@pytest.mark.parametrize("lab", [review_notebook], indirect=True)
def test_a_review_is_answered_by_key_and_shows_no_label(lab):
    page, folder, shots = lab
    menu(page, "Run", "Run All Cells")
    card, seen, press = page.locator(".mt-card"), sync_api.expect, page.keyboard.press
    seen(card).to_have_count(4)
    items = [item for item, _ in marks_of(page)]
    assert set(card.locator(".mt-label, .mt-says").all_inner_texts()) <= {"", "\xa0", " "}
    card.first.focus()
    press("t")  # would show which tags there are
    seen(page.locator(".mt-dialog")).to_be_hidden()
    press("y"), press("n"), press("Shift+N")
    seen(page.locator(".mt-place")).to_contain_text("page 2 of")
    seen(page.locator(".mt-estimate")).to_contain_text(
        "“blood”, drawn by lot: 4 reviewed, 1 yes in 1 film; 59 films with a yes are needed"
    )
    press("PageUp")
    expect_decided(page, {items[0]: "✓ blood"} | dict.fromkeys(items[1:], "− no blood"))
    card.nth(2).locator(".mt-picture").click()
    seen(card.nth(2).locator(".mt-mark")).to_have_text("✓ blood")
    page.screenshot(path=shots / "review.png")
    said = {item: state for item, _, state in read_decisions(page, "[3]:")}
    assert said == dict(zip(items, ["True", "False", "True", "False"]))

    page.get_by_role("button", name="Next ›").click()
    second = [item for item, _ in marks_of(page)]
    with Ledger(folder / "ledger.db") as book:
        book.set(second[1], "blood", True, "curator:bob")
    card.first.focus()
    press("Shift+N")  # the panel is on the third page when it hears that nothing of this was kept
    seen(page.locator(".mt-alert")).to_contain_text(
        f"curator:bob has said yes to 'blood' of {second[1]} since you looked: look again"
    )
    seen(page.locator(".mt-place")).to_contain_text("page 2 of")
    expect_decided(page, {})
    press("Shift+N")
    seen(page.locator(".mt-place")).to_contain_text("page 3 of")
    seen(page.locator(".mt-alert")).to_have_text("")
    with Ledger(folder / "ledger.db") as book:
        assert book.labels().loc[second, "blood"].eq(False).all()


TWO_CELLS = (
    """
import os
from pathlib import Path
from drawn import items, labels, p
from movie_tagger.curate.cleaner import ImageCleaner
Path("kernel.pid").write_text(str(os.getpid()))
ImageCleaner(items, labels, p)
""",
    """
ImageCleaner(items, labels, p, page_size=6)
""",
)


def two_panels(folder):
    notebook(folder, TWO_CELLS)


def expect_marks(panel, marks):
    "The marks of the first cards of a panel, once they are there."
    for k, mark in enumerate(marks):
        card = panel.locator(".mt-card").nth(k)
        sync_api.expect(card.locator(".mt-mark")).to_contain_text(mark)


def kill_kernel(page, folder):
    "The kernel ends as if it had run out of memory; JupyterLab starts another."
    os.kill(int((folder / "kernel.pid").read_text()), signal.SIGKILL)
    page.locator(".jp-Dialog").get_by_role("button").last.click()
    page.get_by_text("| Idle").wait_for()


@pytest.mark.parametrize("lab", [two_panels], indirect=True)
def test_a_kernel_that_is_killed_loses_no_decision_and_two_panels_see_each_other(lab):
    page, folder, shots = lab
    menu(page, "Run", "Run All Cells")
    seen, one = sync_api.expect, page.locator(".mt-cleaner").first
    two = page.locator(".mt-cleaner").nth(1)
    seen(one.locator(".mt-card")).to_have_count(24)
    seen(two.locator(".mt-card")).to_have_count(6)
    made = ["✕ excluded", "✕ excluded", "→ relabelled", "✓ kept"]
    for k in range(2):
        one.locator(".mt-card").nth(k).get_by_role("button", name="Exclude").click()
        expect_marks(two, made[: k + 1])
    two.locator(".mt-card").nth(2).get_by_role("button", name="→ superhero").or_(
        two.locator(".mt-card").nth(2).get_by_role("button", name="→ horror")
    ).first.click()
    expect_marks(one, made[:3])
    one.locator(".mt-card").nth(3).get_by_role("button", name="Keep").click()
    expect_marks(two, made)
    [file] = folder.rglob("*.jsonl")
    place = f"kept in movie_tagger_decisions/{file.name}"
    assert file.name.startswith("posters-")
    for panel in (one, two):
        seen(panel.locator(".mt-status")).to_contain_text(place)
    page.screenshot(path=shots / "two.png")

    before = (folder / "kernel.pid").read_text()
    kill_kernel(page, folder)
    page.screenshot(path=shots / "killed.png")
    page.locator(".mt-cleaner").evaluate_all("all => all.forEach(p => { p.dataset.old = 'yes' })")
    menu(page, "Run", "Run All Cells")
    seen(page.locator(".mt-cleaner[data-old]")).to_have_count(0)
    seen(page.locator(".mt-cleaner")).to_have_count(2)
    assert (folder / "kernel.pid").read_text() != before
    for panel in (one, two):
        choose(panel, "Decided", "all")
        expect_marks(panel, made)
        seen(panel.locator(".mt-status")).to_contain_text(
            "✓ 1 kept · ✕ 2 excluded · → 1 relabelled · 26 to go"
        )
        seen(panel.locator(".mt-status")).to_contain_text(place)
    page.screenshot(path=shots / "again.png")
    one.get_by_role("button", name="↶ Undo").click()
    expect_marks(two, [*made[:3], "undecided"])
    assert len(Decisions(file).state()) == 3


ELSEWHERE = (
    CELLS[0],
    """
cleaner.exclude("00.jpg")
""",
)


def elsewhere_notebook(folder):
    notebook(folder, ELSEWHERE)


def saved_as_html(folder):
    "The notebook as nbviewer shows it: what is saved, without a kernel and without widgets."
    from nbconvert import HTMLExporter

    found = nbformat.read(folder / "clean.ipynb", 4)
    found.metadata.pop("widgets", None)
    return HTMLExporter().from_notebook_node(found)[0]


@pytest.mark.parametrize("lab", [elsewhere_notebook], indirect=True)
def test_who_reads_the_notebook_elsewhere_sees_a_sheet_and_a_dead_panel_says_so(lab):
    page, folder, shots = lab
    menu(page, "Run", "Run All Cells")
    expect_cards(page, 24, "00.jpg")
    card, seen = page.locator(".mt-card"), sync_api.expect
    seen(card.first.locator(".mt-mark")).to_have_text("✕ excluded")
    card.nth(3).get_by_role("button", name="→ romance").click()
    seen(page.locator(".mt-status")).to_contain_text("→ 1 relabelled")
    sheet = page.locator(".mt-static")
    seen(sheet).to_contain_text("30 pictures, 2 decided")
    seen(sheet).to_be_hidden()  # where the panel lives
    menu(page, "File", "Save Notebook")
    for _ in range(100):
        if "2 decided" in (folder / "clean.ipynb").read_text():
            break
        time.sleep(0.1)
    shown = saved_as_html(folder)
    assert shown.count('src="data:image/jpeg;base64,') == 2
    for words in (
        "30 pictures, 2 decided",
        "✕ excluded",
        "horror → romance",
        "Is the label right?",
    ):
        assert words in shown
    (shots / "elsewhere.html").write_text(shown)
    assert (folder / "clean.ipynb").stat().st_size < 60_000

    menu(page, "Kernel", "Restart Kernel…")
    page.get_by_role("button", name="Confirm Kernel Restart").click()
    seen(page.locator(".mt-told")).to_contain_text("Run this cell again")
    seen(card.nth(5).get_by_role("button", name="Keep")).to_be_disabled()
    seen(page.get_by_role("button", name="✓ Keep the rest")).to_be_disabled()
    card.nth(5).focus()
    page.keyboard.press("x")
    seen(card.nth(5).locator(".mt-mark")).to_have_text("· undecided")
    page.screenshot(path=shots / "gone.png")
    restart(page)
    expect_decided(page, {})  # what is decided is not asked again
    seen(page.locator(".mt-status")).to_contain_text("✕ 1 excluded · → 1 relabelled · 28 to go")


PID_CELLS = (
    CELLS[0],
    """
import os
from pathlib import Path
_ = Path("kernel.pid").write_text(str(os.getpid()))
""",
)


def pid_notebook(folder):
    notebook(folder, PID_CELLS)


@pytest.mark.parametrize("lab", [pid_notebook], indirect=True)
def test_each_mode_asks_counts_and_says_when_to_stop_and_a_silent_kernel_is_told(lab):
    page, folder, shots = lab
    menu(page, "Run", "Run All Cells")
    expect_cards(page, 24, "00.jpg")
    seen, card = sync_api.expect, page.locator(".mt-card")
    for mode, question, left in (
        ("wrong labels", "Is the label right?", None),
        ("random audit", "Is the label right?", "30 to go"),
        ("near duplicates", "Is it the same picture?", "0 to go"),
        ("top losses", "Is the label right?", "30 to go"),
    ):
        choose(page, "Show", mode)
        seen(page.locator(".mt-question")).to_contain_text(question)
        seen(page.locator(".mt-status")).to_contain_text(left or re.compile(r"\d+ to go"))
        seen(page.locator(".mt-stop")).not_to_be_empty()
    expect_cards(page, 24, "00.jpg")
    cells = page.locator(".jp-CodeCell")
    # as Notebook 7 does by itself where an output is long
    cells.first.evaluate("cell => cell.classList.add('jp-mod-outputsScrolled')")
    panel, after = page.locator(".mt-cleaner").bounding_box(), cells.nth(1).bounding_box()
    assert panel["y"] + panel["height"] <= after["y"]
    card.nth(20).scroll_into_view_if_needed()
    for part in (".mt-question", ".mt-status", ".mt-hints"):  # stay in sight
        seen(page.locator(part)).to_be_in_viewport()
    seen(page.locator(".mt-hints")).to_contain_text("1 horror")

    kernel = int((folder / "kernel.pid").read_text())
    os.kill(kernel, signal.SIGSTOP)
    try:
        card.nth(2).get_by_role("button", name="Exclude").click()
        seen(page.locator(".mt-told")).to_contain_text("Waiting for the kernel")
        seen(page.locator(".mt-told")).to_contain_text("does not answer")
        seen(page.get_by_role("button", name="✓ Keep the rest")).to_be_disabled()
    finally:
        os.kill(kernel, signal.SIGCONT)
    seen(page.locator(".mt-told")).to_be_empty()
    seen(page.get_by_role("button", name="✓ Keep the rest")).to_be_enabled()
    expect_decided(page, {"02.jpg": "✕ excluded"})
    assert Decisions(folder / "decisions.jsonl").state()["02.jpg"].decision == "exclude"


FIND_CELLS = (
    """
import numpy as np
from drawn import items
from movie_tagger.curate.cleaner import ImageCleaner
from movie_tagger.ledger.ledger import Ledger
with Ledger("ledger.db") as book:
    book.add(items, actor="import:site.sql")
embeddings = np.random.default_rng(0).normal(size=(60, 8)) + 1.2 * np.eye(3, 8)[np.arange(60) % 3]
words = lambda said: np.tile(np.eye(8)[1], (len(said), 1))
how = {"embeddings": embeddings, "words": words, "page_size": 6}
ImageCleaner("ledger.db", mode="find", tag="cape", actor="curator:anna", **how)
""",
    """
said = Ledger("ledger.db").events(actor="curator:anna")[["item", "state", "undone"]].astype(str)
print("DECISIONS", said.to_json(orient="values"))
""",
)


def find_notebook(folder):
    notebook(folder, FIND_CELLS, 60)


@pytest.mark.parametrize("lab", [find_notebook], indirect=True)
def test_a_tag_is_found_by_example_and_by_words_and_the_answers_survive(lab):
    page, folder, shots = lab
    menu(page, "Run", "Run All Cells")
    card, seen, press = page.locator(".mt-card"), sync_api.expect, page.keyboard.press
    seen(card).to_have_count(6)
    seen(page.locator(".mt-question")).to_contain_text("There is nothing to go by yet")
    example = next(item for item, _ in marks_of(page) if int(item[:2]) % 3 == 2)
    page.locator(f'.mt-card[data-item="{example}"] .mt-select').click()
    page.get_by_role("button", name="≈ More like these").click()
    seen(page.locator(".mt-begun")).to_have_text("looking for what is like 1 example")
    seen(card.first).to_have_attribute("data-item", example)

    answers = {}
    card.first.focus()
    for number in range(12):
        if number == 6:
            seen(page.locator(".mt-place")).to_contain_text("page 2 of")
        item = page.locator(".mt-card:focus").get_attribute("data-item")
        answers[item] = int(item[:2]) % 3 == 2
        press("y" if answers[item] else "n")
        seen(page.locator(".mt-stop")).to_contain_text(f"{number + 1} answer")
    assert len(answers) == 12 and sum(answers.values()) > 6
    seen(page.locator(".mt-estimate")).to_contain_text("Of 12 answers held out")
    page.screenshot(path=shots / "find.png")
    press("u")
    seen(page.locator(".mt-stop")).to_contain_text("11 answers")
    item, _ = answers.popitem()
    seen(page.locator(".mt-card:focus")).to_have_attribute("data-item", item)
    said = read_decisions(page, "[3]:")
    now = {item: state == "True" for item, state, undone in said if undone == "False"}
    assert answers.items() <= now.items() and len([s for s in said if s[2] == "True"]) == 1

    restart(page)
    seen(page.locator(".mt-stop")).to_contain_text("11 answers")
    seen(page.locator(".mt-begun")).to_have_text("looking for what is like 1 example")
    page.get_by_label("words to look for").fill("a cape")
    press("Enter")
    seen(page.locator(".mt-begun")).to_contain_text("and “a cape”")
    page.locator(".mt-cleaner").evaluate(DROP)
    seen(page.locator(".mt-alert")).to_contain_text("That cannot be looked at")
    with Ledger(folder / "ledger.db") as book:
        labels = book.labels()["cape"].dropna()
    assert labels.astype(bool).to_dict() == answers


DROP = """panel => {
  const data = new DataTransfer();
  data.items.add(new File(["no picture"], "cape.jpg"));
  const how = { dataTransfer: data, bubbles: true, cancelable: true };
  panel.dispatchEvent(new DragEvent("drop", how));
}"""
