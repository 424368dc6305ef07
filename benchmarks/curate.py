"""The speed of the ImageCleaner: 5,000 pictures opened, and 200 decisions by keyboard, in a real
JupyterLab and Debian's Chromium.

    python benchmarks/curate.py [--quick] [--pictures 5000] [--decisions 200]

The pictures are the posters of MOVIE_TAGGER_DATA, again and again until there are enough of them,
or drawn ones where it is not set. They lie in a ledger, with labels and probabilities drawn by lot.
*Opening* is the time from running the cell to a page of pictures on the screen, with the library
imported and the ledger filled before. *A decision* is the time from the key to the moment when
another picture has the focus and is on the screen; each key is pressed when the picture after the
last one is there. Memory is what the kernel's process takes with everything in it, and what the
page's scripts hold in the browser. `--quick` is 240 pictures and 20 decisions.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import nbformat
import numpy as np
from common import report

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
try:
    import playwright.sync_api  # noqa: F401
    import test_widget as widget
except ImportError as e:
    sys.exit(f"{e.name} is missing: pip install 'movie-tagger[notebook,dev]'")

SETUP = """
import os, numpy as np, pandas as pd, psutil
from pathlib import Path
from movie_tagger import data
from movie_tagger.ledger.precedence import from_labels
from movie_tagger.curate.cleaner import ImageCleaner
from movie_tagger.ledger.ledger import Ledger
from movie_tagger.sample.make import draw_posters
n, r, folder = {pictures}, np.random.default_rng(0), os.environ.get("MOVIE_TAGGER_DATA")
if not folder: draw_posters(Path("drawn"), 500)
found = sorted(Path(folder, "posters/images").iterdir() if folder else Path("drawn").rglob("*.jpg"))
names, genres = [f"{{k:05}}.jpg" for k in range(n)], [f"genre {{k}}" for k in range(25)]
items = pd.DataFrame({{"path": [str(found[k % len(found)]) for k in range(n)]}}, index=names)
labels = data.from_array(np.eye(25)[r.integers(0, 25, n)], items.index, genres)
p = pd.DataFrame(r.dirichlet(np.ones(25) * .3, n), items.index, labels.columns)
with Ledger("ledger.db") as book:
    book.add(items, actor="import:folders")
    book.single(list(labels), actor="import:folders")
    book.decide(from_labels(labels, no=False), actor="import:folders")
before = psutil.Process().memory_info().rss
"""
OPEN = "cleaner = ImageCleaner('ledger.db', probabilities=p, actor='curator:anna')\ncleaner"
MEMORY = "print('MEMORY', before, psutil.Process().memory_info().rss)"


def notebook(folder, pictures):
    cells = [
        nbformat.v4.new_code_cell(cell.strip())
        for cell in (SETUP.format(pictures=pictures), OPEN, MEMORY)
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(
        nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}),
        folder / "clean.ipynb",
    )


SEEN = """() => {
  const all = [...document.querySelectorAll('.mt-card img')];
  return all.length === 24 && all.every(i => i.src && i.complete && i.naturalWidth) }"""


def run_cell(page, k):
    cell = page.locator(".jp-CodeCell").nth(k)
    cell.locator(".jp-InputArea-editor").click()
    page.keyboard.press("Shift+Enter")
    return cell


class Measured(NamedTuple):
    opened: float  # seconds
    times: np.ndarray  # milliseconds of each decision
    before: float  # megabytes of the kernel before the cleaner was opened
    after: float
    heap: float  # megabytes of the page's scripts


def measured(folder, pictures, decisions):
    "A `Measured`, in a JupyterLab of its own."
    work = Path(folder, "work")
    work.mkdir()
    notebook(work, pictures)
    with widget.jupyterlab(work) as url, widget.page_of(url, Path(folder)) as page:
        page.set_default_timeout(300_000)
        page.get_by_text("| Idle").wait_for()
        page.evaluate(widget.CLOCK)
        widget.sync_api.expect(run_cell(page, 0).locator(".jp-InputPrompt")).to_have_text(
            "[1]:", timeout=300_000
        )
        cell = page.locator(".jp-CodeCell").nth(1)
        cell.locator(".jp-InputArea-editor").click()
        page.evaluate("window.mtStart = performance.now()")
        page.keyboard.press("Shift+Enter")
        page.wait_for_function(SEEN, polling=10)
        opened = page.evaluate("performance.now() - window.mtStart") / 1000
        page.locator(".mt-card").first.focus()
        times = widget.press(page, *(["k", "x", "1", "2", "k"] * decisions)[:decisions])
        widget.sync_api.expect(page.locator(".mt-status")).to_contain_text(
            f"{pictures - decisions} to go"
        )
        output = run_cell(page, 2).locator(".jp-OutputArea-output", has_text="MEMORY")
        before, after = map(int, output.inner_text().split()[1:])
        heap = page.evaluate("performance.memory.usedJSHeapSize")
    return Measured(opened, np.array(times), before / 1e6, after / 1e6, heap / 1e6)


def main():
    parse = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parse.add_argument("--pictures", type=int, default=5000)
    parse.add_argument("--decisions", type=int, default=200)
    parse.add_argument("--quick", action="store_true")
    args = parse.parse_args()
    if args.quick:
        args.pictures, args.decisions = 240, 20
    if not widget.CHROMIUM:
        sys.exit("Chromium is missing: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder:
        many = measured(folder, args.pictures, args.decisions)
    with tempfile.TemporaryDirectory() as folder:
        few = measured(folder, 24, 1)
    posters = "posters" if os.environ.get("MOVIE_TAGGER_DATA") else "drawn posters"
    times = many.times
    report(
        "ImageCleaner: opening, and from the key to the next picture",
        [
            f"{args.pictures:,} {posters} in a ledger, 25 classes, 24 pictures a page.",
            "",
            f"- opening: {many.opened:.1f} s to a page of pictures on the screen "
            f"(24 pictures altogether: {few.opened:.1f} s)",
            f"- kernel: {many.after:.0f} MB at the end, {many.before:.0f} MB of them before "
            f"the cleaner was opened; scripts of the page in the browser: {many.heap:.0f} MB",
            f"- {len(times)} decisions by keyboard: from the key to the next picture "
            f"{np.median(times):.0f} ms in the median, {np.quantile(times, 0.95):.0f} ms for "
            f"95 of 100, {times.max():.0f} ms at most",
        ],
    )


if __name__ == "__main__":
    main()
