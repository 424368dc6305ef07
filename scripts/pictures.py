"""The pictures of the cleaner at work: a still one, and one that moves, on the drawn sample.

Usage: python scripts/pictures.py [FOLDER]    nbs/images by default; wants Chromium and [all,dev]
"""

import io
import sys
import tempfile
from pathlib import Path

import nbformat
from PIL import Image

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
from lab import jupyterlab, menu, page_of, sync_api  # noqa: E402

CELL = """
from movie_tagger import curate, data, features, judge, learn, sample

drawn = sample.make_sample("sample")
items, labels = data.usable(*data.read(drawn.posters))
embeddings, _ = features.embed(items)


def fitted(items_now, labels_now):
    rows = items.index.get_indexer(items_now.index)
    return learn.fit(embeddings[rows], labels_now, items_now["group"])[1]


seen = judge.interpret(items, labels, fitted(items, labels))
curate.ImageCleaner(seen, out="decisions.jsonl", retrain=fitted, page_size=5)
"""
# What is pressed, what that is, and what the panel then shows.
STEPS = (
    ("Enter", "Enter: take the model's answer", "→ 1 relabelled"),
    ("Enter", "Enter: take the model's answer", "→ 2 relabelled"),
    ("x", "x: exclude", "✕ 1 excluded"),
    ("k", "k: keep, it is right", "✓ 1 kept"),
    ("u", "u: undo, it was not", "✓ 0 kept"),
    ("u", "u: undo", "✕ 0 excluded"),
    ("Enter", "Enter: take the model's answer", "→ 3 relabelled"),
    ("3", "3: it is a superhero film", "→ 4 relabelled"),
    ("Enter", "Enter: take the model's answer", "→ 5 relabelled"),
)
STILL = 4  # the picture that does not move is taken after so many steps
KEY = """told => {
  const key = document.querySelector('.key-told') || document.body.appendChild(
    Object.assign(document.createElement('div'), {className: 'key-told'}));
  const panel = document.querySelector('.mt-cleaner').getBoundingClientRect();
  key.style.cssText = 'position: fixed; z-index: 99; padding: 10px 18px; border-radius: 8px;' +
    'background: #222d; color: white; font: 600 20px system-ui, sans-serif;' +
    `left: ${panel.left + panel.width / 2}px; top: ${panel.bottom - 52}px;` +
    'transform: translateX(-50%)';
  key.textContent = told;
  key.hidden = !told;
}"""
# Only the panel, without the furniture around it.
ALONE = """
.jp-InputArea, .jp-OutputPrompt, .jp-OutputArea-promptOverlay, .mt-static { display: none }
.mt-cleaner { background: white; padding: 8px }
"""


def notebook(folder):
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    cells = [nbformat.v4.new_code_cell(CELL.strip())]
    book = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    folder.mkdir()
    nbformat.write(book, folder / "clean.ipynb")


def picture(page):
    "The panel as it is now."
    shot = page.locator(".mt-cleaner").screenshot(animations="disabled")
    return Image.open(io.BytesIO(shot)).convert("RGB")


def worked(page):
    "The panel as somebody works in it: frames, for each the milliseconds, and the one to keep."
    status = page.locator(".mt-status")
    page.locator(".mt-card").first.focus()
    frames, times = [picture(page)], [1800]
    for step, (key, told, then) in enumerate(STEPS, 1):
        page.evaluate(KEY, told)
        frames.append(picture(page))
        page.keyboard.press(key)
        sync_api.expect(status).to_contain_text(then)
        page.wait_for_timeout(400)
        frames.append(picture(page))
        times += [800, 900]
        if step == STILL:
            page.evaluate(KEY, "")
            still = picture(page)
    page.evaluate(KEY, "Train again: was it worth it?")
    frames.append(picture(page))
    page.get_by_role("button", name="↻ Train again").click()
    sync_api.expect(page.locator(".mt-measured")).not_to_be_empty()
    page.wait_for_timeout(600)
    page.evaluate(KEY, "")
    frames.append(picture(page))
    return frames, [*times, 1500, 5000], still


def save(frames, times, file):
    "All frames as large as the largest, so that nothing jumps."
    width, height = (max(frame.size[k] for frame in frames) for k in (0, 1))
    grounds = [Image.new("RGB", (width, height), "white") for _ in frames]
    for ground, frame in zip(grounds, frames):
        ground.paste(frame)
    first, *others = grounds
    options = {"quality": 60, "method": 6, "duration": times, "loop": 0}
    first.save(file, save_all=True, append_images=others, **options)


def main(out):
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home) / "work"
        notebook(folder)
        with jupyterlab(folder) as url, page_of(url, Path(home)) as page:
            page.set_viewport_size({"width": 1150, "height": 1000})
            page.get_by_text("| Idle").wait_for()
            menu(page, "View", "Appearance", "Show Left Sidebar")
            page.add_style_tag(content=ALONE)
            menu(page, "Run", "Run All Cells")
            page.locator(".mt-card").nth(4).wait_for(timeout=300_000)
            page.mouse.move(0, 0)
            page.wait_for_timeout(1500)
            frames, times, still = worked(page)
    save(frames, times, out / "image_cleaner.webp")
    still.quantize(128).save(out / "image_cleaner.png", optimize=True)
    print(f"{len(frames)} frames of {frames[0].width} x {frames[0].height} in {out}.")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "nbs" / "images")
