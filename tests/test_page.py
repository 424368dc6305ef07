"The page as people meet it: a real browser, as wide as a phone and a desk; and the ledger after."

import socket
import threading
import time
from contextlib import contextmanager

import pytest
from browser import HOW, need_chromium
from conftest import draw_poster
from serving import serving, with_promises

sync_api = pytest.importorskip("playwright.sync_api")
see = sync_api.expect
see.set_options(timeout=20_000)


from movie_tagger.ledger.ledger import Ledger  # noqa: E402
from movie_tagger.serve.app import create_app  # noqa: E402
from movie_tagger.serve.champion import Looks  # noqa: E402
from movie_tagger.serve.desk import Limits  # noqa: E402
from movie_tagger.serve.keys import add_key  # noqa: E402
from movie_tagger.serve.listen import Server  # noqa: E402
from movie_tagger.serve.sensitive import Detector  # noqa: E402

pytest_plugins = ["serving"]

WIDTHS = {
    "phone": {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True},
    "desk": {"viewport": {"width": 1280, "height": 900}},
}


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    need_chromium()
    with sync_api.sync_playwright() as p:
        found = p.chromium.launch(**HOW)
        yield found
        found.close()


@contextmanager
def page_of(browser, url, width, shots):
    "The page at a width; fails on any error in its console and on any request to elsewhere."
    context = browser.new_context(**WIDTHS[width])
    page = context.new_page()
    troubles, requests = [], []
    page.on("pageerror", lambda e: troubles.append(str(e)))
    page.on(
        "console",
        lambda m: (
            troubles.append(m.text)
            if m.type == "error" and "Failed to load resource" not in m.text
            else None
        ),
    )
    page.on("request", lambda r: requests.append(r.url))
    page.goto(url)
    try:
        yield page
        assert troubles == []
        assert all(r.startswith((url.partition("/docs")[0], "blob:", "data:")) for r in requests), (
            requests
        )
        assert page.evaluate(
            "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        ), "the page scrolls sideways"
    finally:
        page.screenshot(path=shots / f"{width}-last.png", full_page=True)
        context.close()


@pytest.fixture(scope="module")
def stills(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uploads")
    for k, genre in enumerate(("romance", "superhero", "horror")):
        draw_poster(folder / f"{genre}.jpg", genre, 900 + k, (640, 360))
    (folder / "diary.jpg").write_text("Dear diary")
    return folder


def drop(page, *paths):
    "Drops files on the page, as a mouse would."
    import base64

    data = page.evaluate_handle(
        """files => { const t = new DataTransfer();
      for (const [name, content] of files) t.items.add(
        new File([Uint8Array.from(atob(content), c => c.charCodeAt(0))], name, {type: "image/jpeg"})
      );
      return t; }""",
        [[p.name, base64.b64encode(p.read_bytes()).decode()] for p in paths],
    )
    page.dispatch_event("body", "dragover", {"dataTransfer": data})
    page.dispatch_event("body", "drop", {"dataTransfer": data})


def card(page, name):
    return page.locator(".card", has=page.get_by_role("heading", name=name, exact=True))


def chip(page, name, tag):
    return card(page, name).locator(".chip", has=page.locator(".name", has_text=tag))


def labels(ledger, path):
    from movie_tagger.core import sha256

    with Ledger(ledger) as book:
        frame = book.labels()
        row = frame.loc[sha256(path)] if sha256(path) in frame.index else {}
        return {
            tag: bool(v) for tag, v in row.items() if v is not None and v == v and str(v) != "<NA>"
        }


@pytest.mark.parametrize("width", WIDTHS)
def test_drop_accept_reject_undo(browser, models, stills, tmp_path, width):
    ledger, path = tmp_path / "l.db", stills / "romance.jpg"
    app = create_app(models, ledger, sensitive=["blood"])
    with serving(app) as client, page_of(browser, str(client.base_url), width, tmp_path) as page:
        see(page.locator("#model")).to_contain_text("first, 5 tags")
        page.screenshot(path=tmp_path / f"{width}-empty.png")
        drop(page, path, stills / "diary.jpg")
        see(card(page, "diary.jpg").locator(".status")).to_contain_text("it is text")
        see(card(page, "romance.jpg").locator(".verdict")).to_contain_text("Low scores for blood.")
        page.screenshot(path=tmp_path / f"{width}-answered.png", full_page=True)

        chip(page, "romance.jpg", "pink").locator(".yes").click()
        see(chip(page, "romance.jpg", "pink")).to_have_class("chip accepted")
        chip(page, "romance.jpg", "round").locator(".no").click()
        see(chip(page, "romance.jpg", "round")).to_have_class("chip rejected")
        chip(page, "romance.jpg", "blood").get_by_role("button", name="Reject blood").click()
        see(page.locator("#last")).to_have_text("blood rejected")
        see(page.locator("#saved")).to_have_text("saved")
        assert labels(ledger, path) == {"pink": True, "round": False, "blood": False}

        page.get_by_role("button", name="Undo").click()
        see(page.locator("#last")).to_have_text("blood undone")
        chip(page, "romance.jpg", "pink").locator(".yes").click()  # the same again takes it back
        see(chip(page, "romance.jpg", "pink")).to_have_class("chip")
        see(page.locator("#saved")).to_have_text("saved")
        assert labels(ledger, path) == {"round": False}

        add = card(page, "romance.jpg").get_by_placeholder("Add a tag")
        add.fill("violet")
        card(page, "romance.jpg").get_by_role("button", name="Add", exact=True).click()
        see(card(page, "romance.jpg").locator(".add-problem")).to_contain_text("does not know")
        add.fill("dark")
        page.keyboard.press("Enter")
        see(chip(page, "romance.jpg", "dark")).to_have_class("chip accepted")
        see(page.locator("#saved")).to_have_text("saved")
        assert labels(ledger, path) == {"round": False, "dark": True}
        page.screenshot(path=tmp_path / f"{width}-decided.png", full_page=True)


def test_a_veil_where_the_score_is_not_low_a_notice_where_it_is(browser, models, stills, tmp_path):
    app = create_app(models, sensitive=["blood"])
    with serving(app) as client, page_of(browser, str(client.base_url), "desk", tmp_path) as page:
        drop(page, stills / "horror.jpg", stills / "romance.jpg")
        grave, calm = card(page, "horror.jpg"), card(page, "romance.jpg")
        see(grave.locator(".verdict")).to_contain_text("Somebody must look")
        see(grave.locator("figure")).to_have_class("veiled")
        grave.get_by_role("button", name="Show the picture").click()
        see(grave.locator("figure")).not_to_have_class("veiled")
        see(calm.locator(".verdict")).to_contain_text("Nothing is promised yet")
        see(calm.locator("figure")).not_to_have_class("veiled")
        still = (stills / "romance.jpg").read_bytes()
        answer = client.post("/v1/tags", files={"still": ("romance.jpg", still)}).json()
        assert answer["stills"][0]["action"] == "review", "programs are told as strictly as ever"


def test_what_is_likely_says_from_where_on(browser, models, stills, tmp_path):
    with (
        serving(create_app(models)) as client,
        page_of(browser, str(client.base_url), "phone", tmp_path) as page,
    ):
        drop(page, *(stills / f"{genre}.jpg" for genre in ("romance", "superhero", "horror")))
        rows = {row["tag"]: row["threshold"] for row in client.get("/v1/vocabulary").json()}
        see(page.locator("#why")).to_contain_text("Each tag has its own threshold")
        for box, words in ((".likely", "{} % is enough"), (".perhaps", "it takes {} %")):
            chips = page.locator(f"{box} .chip")
            see(chips.first).to_be_visible()
            tag = chips.first.locator(".name").inner_text()
            see(chips.first.locator(".strength")).to_contain_text(
                words.format(f"{100 * rows[tag]:.0f}")
            )
        see(page.locator("#no-feedback")).to_contain_text("--ledger ledger.db")


def test_refused_files_are_shown_with_the_reason(browser, models, tmp_path):
    refused = {
        "notes.pdf": (b"%PDF-1.4", "application/pdf", "no picture but application/pdf"),
        "empty.png": (b"", "image/png", "is empty"),
        "huge.jpg": (bytes(3 << 20), "image/jpeg", "3 MB, more than the 2 MB taken here"),
        "web.jpg": (b"<!doctype html><p>gone", "image/jpeg", "web page"),
        "no ending": (b"Dear diary", "", "it is text"),
        "<b>bold.txt": (b"x", "text/plain", "no picture but text/plain"),
    }
    limits = Limits(looks=Looks(size=2 << 20))
    with (
        serving(create_app(models, limits=limits)) as client,
        page_of(browser, str(client.base_url), "phone", tmp_path) as page,
    ):
        see(page.locator("#model")).to_contain_text("5 tags")
        page.locator("#files").set_input_files(
            [
                {"name": name, "buffer": data, "mimeType": kind}
                for name, (data, kind, _) in refused.items()
            ]
        )
        for name, (_, _, why) in refused.items():
            see(card(page, name).locator(".status")).to_contain_text(why)
            see(card(page, name).get_by_role("button", name="Try again")).to_be_hidden()


def test_by_keyboard_alone(browser, models, stills, tmp_path):
    ledger, path = tmp_path / "l.db", stills / "superhero.jpg"
    with (
        serving(create_app(models, ledger)) as client,
        page_of(browser, str(client.base_url), "desk", tmp_path) as page,
    ):
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "files"
        page.locator("#files").set_input_files([path])
        see(card(page, "superhero.jpg").locator(".status")).to_contain_text("likely")
        first = page.locator(".chip .name").first.inner_text()
        page.locator(".chip .yes").first.focus()
        page.keyboard.press("a")
        page.keyboard.press("ArrowRight")
        second = page.evaluate(
            "document.activeElement.closest('.chip').querySelector('.name').textContent"
        )
        page.keyboard.press("r")
        see(page.locator("#saved")).to_have_text("saved")
        assert labels(ledger, path) == {first: True, second: False} and first != second
        page.keyboard.press("u")
        see(page.locator("#last")).to_have_text(f"{second} undone")
        see(page.locator("#saved")).to_have_text("saved")
        assert labels(ledger, path) == {first: True}
        see(page.locator("#say")).to_have_text(f"{second} undone")


def test_what_screen_readers_are_told(browser, models, stills, tmp_path):
    with (
        serving(create_app(models, tmp_path / "l.db", sensitive=["blood"])) as client,
        page_of(browser, str(client.base_url), "desk", tmp_path) as page,
    ):
        drop(page, stills / "horror.jpg")
        see(card(page, "horror.jpg").locator(".status")).to_contain_text("likely")
        article = page.get_by_role("article", name="horror.jpg")
        see(article.get_by_role("button", name="Reject blood")).to_be_visible()
        see(article.get_by_role("img", name="horror.jpg")).to_be_visible()
        accept = article.get_by_role("button", name="Accept dark")
        see(accept).to_have_attribute("aria-pressed", "false")
        accept.click()
        see(accept).to_have_attribute("aria-pressed", "true")
        assert (
            page.locator("button:visible").evaluate_all(
                "all => all.filter(b => !(b.textContent.trim() || b.ariaLabel)).length"
            )
            == 0
        )
        assert (
            page.locator("input").evaluate_all(
                "all => all.filter(i => !i.labels.length).map(i => i.id)"
            )
            == []
        )
        assert (
            page.locator("html").get_attribute("lang") == "en" and page.locator("h1").count() == 1
        )


def test_a_picture_that_must_be_hidden_is_hidden(browser, models, stills, tmp_path):
    promise = {
        "threshold": 0.2,
        "recall": 0.95,
        "confidence": 0.95,
        "reviewed": 800,
        "positives": 70,
    }
    path = with_promises(models / "first", tmp_path / "promised", ["blood"], {"blood": promise})
    app = create_app(
        path,
        detectors={
            "blood": Detector(
                lambda image: (
                    0.95
                    if image.getpixel((3, 3))[0] < 100 and image.getpixel((3, 3))[2] < 100
                    else 0.0
                )
            )
        },
    )
    with serving(app) as client, page_of(browser, str(client.base_url), "desk", tmp_path) as page:
        drop(page, stills / "horror.jpg", stills / "romance.jpg")
        see(card(page, "horror.jpg").locator(".verdict")).to_contain_text("This must be hidden.")
        see(card(page, "horror.jpg").locator("figure")).to_have_class("veiled")
        see(card(page, "romance.jpg").locator(".status")).to_contain_text("likely")
        see(card(page, "romance.jpg").locator("figure")).to_have_class("")
        see(card(page, "romance.jpg").locator(".warning")).to_be_hidden()
        assert page.locator(".chip button:enabled").count() == 0  # this server keeps no feedback


class Restartable:
    "A server that goes away and comes back at the same address."

    def __init__(self, make):
        self.make, self.sock = make, socket.create_server(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]

    def start(self):
        sock = self.sock or socket.create_server(("127.0.0.1", self.port))
        self.sock = None
        self.server = Server(self.make())
        self.thread = threading.Thread(target=self.server.run, args=([sock],), daemon=True)
        self.thread.start()
        while not self.server.started:
            assert self.thread.is_alive()
            time.sleep(0.02)

    def stop(self):
        self.server.should_exit = True
        self.thread.join(20)
        assert not self.thread.is_alive()


@pytest.mark.parametrize("width", WIDTHS)
def test_when_the_server_is_gone_nothing_is_lost(browser, models, stills, tmp_path, width):
    ledger, path = tmp_path / "l.db", stills / "romance.jpg"
    server = Restartable(lambda: create_app(models, ledger))
    server.start()
    with page_of(browser, f"http://127.0.0.1:{server.port}", width, tmp_path) as page:
        drop(page, path)
        see(card(page, "romance.jpg").locator(".status")).to_contain_text("likely")
        server.stop()
        chip(page, "romance.jpg", "pink").locator(".yes").click()
        chip(page, "romance.jpg", "round").locator(".no").click()
        drop(page, stills / "superhero.jpg")
        see(page.locator("#gone")).to_contain_text(
            "2 decisions are kept in this browser, 1 picture is waiting"
        )
        page.screenshot(path=tmp_path / f"{width}-gone.png", full_page=True)
        server.start()
        see(page.locator("#gone")).to_be_hidden()
        see(card(page, "superhero.jpg").locator(".status")).to_contain_text("likely")
        see(page.locator("#saved")).to_have_text("saved")
        assert labels(ledger, path) == {"pink": True, "round": False}
        server.stop()
        chip(page, "romance.jpg", "round").locator(".yes").click()
        see(page.locator("#gone")).to_contain_text("1 decision is kept")
        server.start()
        page.reload()  # even so
        see(page.locator("#model")).to_contain_text("first")
        for _ in range(100):
            if labels(ledger, path)["round"]:
                break
            time.sleep(0.1)
        assert labels(ledger, path) == {"pink": True, "round": True}
    server.stop()


def test_a_key_is_asked_for_once(browser, models, stills, tmp_path):
    key = add_key(tmp_path / "keys.json", "curators")
    with (
        serving(create_app(models, tmp_path / "l.db", tmp_path / "keys.json")) as client,
        page_of(browser, str(client.base_url), "phone", tmp_path) as page,
    ):
        for given in ("mt_wrong", key):
            see(page.get_by_label("API key")).to_be_visible()
            page.get_by_label("API key").fill(given)
            page.screenshot(path=tmp_path / "key.png")
            page.get_by_role("button", name="Continue").click()
        see(page.locator("#model")).to_contain_text("first")
        drop(page, stills / "romance.jpg")
        see(card(page, "romance.jpg").locator(".status")).to_contain_text("likely")


def test_the_docs_page_shows_the_whole_api(browser, models, tmp_path):
    with (
        serving(create_app(models)) as client,
        page_of(
            browser, f"{str(client.base_url).rstrip('/')}/docs#busy", "phone", tmp_path
        ) as page,
    ):
        for path in client.get("/openapi.json").json()["paths"]:
            see(page.locator("summary code", has_text=path).first).to_be_visible()
        see(page.locator("tr#busy")).to_contain_text("429")
        page.locator("details").evaluate_all("all => all.forEach(part => { part.open = true })")
        examples = page.locator("pre").all_inner_texts()
        assert "8000" not in "".join(examples)
        assert f":{client.base_url.port}/v1/tags" in examples[0]
        exec(examples[1].partition("\n")[0], {})  # the line that imports the client


def test_the_colours_can_be_read(browser, models, tmp_path):
    "Contrast of text and ground, WCAG 2.2 AA, in light and dark."

    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        return sum(
            w * (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4)
            for w, c in zip((0.2126, 0.7152, 0.0722), parts)
        )

    pairs = [
        ("ink", "paper"),
        ("ink", "card"),
        ("soft", "card"),
        ("soft", "paper"),
        ("wine", "card"),
        ("wine-ink", "wine"),
        ("yes", "yes-soft"),
        ("no", "card"),
        ("warn", "warn-soft"),
        ("soft", "fill"),
    ]
    with (
        serving(create_app(models)) as client,
        page_of(browser, str(client.base_url), "desk", tmp_path) as page,
    ):
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            page.screenshot(path=tmp_path / f"{scheme}.png")
            colour = {
                n: page.evaluate(
                    "n => getComputedStyle(document.documentElement).getPropertyValue('--' "
                    "+ n).trim()",
                    n,
                )
                for n in {x for p in pairs for x in p}
            }
            colour = {
                n: c if len(c) == 7 else "#" + "".join(x * 2 for x in c[1:])
                for n, c in colour.items()
            }
            for text, ground in pairs:
                low, high = sorted(luminance(colour[n]) for n in (text, ground))
                assert (high + 0.05) / (low + 0.05) >= 4.5, (
                    scheme,
                    text,
                    ground,
                    (high + 0.05) / (low + 0.05),
                )
