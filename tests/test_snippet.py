"The browser snippet on a page of results that loads more as one scrolls, in a real Chromium."

from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from browser import HOW, need_chromium
from web import picture

from movie_tagger.download import SNIPPET, download_images, read_urls

sync_api = pytest.importorskip("playwright.sync_api")

PAGE = b"""<!DOCTYPE html><html><head><base href="/pages/">
<style>img { width: 150px; height: 225px } .icon { width: 16px; height: 16px }</style></head>
<body><h1>Results</h1><img class="icon" src="/thumbs/900.jpg"><img src="/missing.jpg">
<div id="results"></div><script>
let next = 0;
const ways = [
  k => `<a href="/imgres?imgurl=${encodeURIComponent(
    `${location.origin}/full/${k}.jpg?size=l&sig=a%2Fb+c==`)}&q=x">
    <img src="/thumbs/${k}.jpg"></a>`,
  k => `<a href="/full/${k}.jpg"><img src="/thumbs/${k}.jpg"></a>`,
  k => `<img src="/thumbs/${k}.jpg" srcset="/thumbs/${k}.jpg 1x, /full/${k}.jpg 2x">`,
  k => `<a href="/about/${k}.html"><img data-src="/full/${k}.jpg"
    src="data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="></a>`,
  k => `<picture><img loading="lazy" src="../full/${k}.jpg"></picture>`];
const more = () => {
  for (let k = 0; k < 10 && next < 60; k++, next++)
    results.insertAdjacentHTML("beforeend", ways[next % 5](next));
  lazy();
};
const lazy = () => setTimeout(() => document.querySelectorAll("img[data-src]").forEach(i => {
  if (i.getBoundingClientRect().top < innerHeight) {
    i.src = i.dataset.src;
    i.removeAttribute("data-src");
  } }), 50);
addEventListener("scroll", () => {
  lazy();
  if (innerHeight + scrollY > document.body.scrollHeight - 300) more();
});
more();
</script></body></html>"""


class Results(SimpleHTTPRequestHandler):
    "A page of results, thumbnails and the pictures themselves."

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        folder, _, name = self.path.partition("?")[0].strip("/").rpartition("/")
        known = folder in ("thumbs", "full")
        body = (
            PAGE
            if self.path == "/"
            else picture(int(name[:-4]), "JPEG", (100, 150) if folder == "thumbs" else (300, 450))
            if known
            else b""
        )
        self.send_response(200 if body else 404)
        self.send_header("Content-Type", "image/jpeg" if known else "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def results():
    with ThreadingHTTPServer(("127.0.0.1", 0), Results) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def page(tmp_path):
    need_chromium()
    with sync_api.sync_playwright() as p:
        context = p.chromium.launch_persistent_context(
            str(tmp_path / "profile"),
            viewport={"width": 800, "height": 700},
            **HOW,
            accept_downloads=True,
        )
        try:
            yield context.new_page()
        finally:
            context.close()


def test_what_came_into_view_is_saved_and_can_be_fetched(page, results, tmp_path):
    page.goto(results)
    page.evaluate(SNIPPET)  # as if it had been pasted into the console
    button = page.get_by_role("button", name="addresses")
    sync_api.expect(button).to_contain_text("Save 10 addresses")
    for _ in range(40):
        page.mouse.wheel(0, 250)
        page.wait_for_timeout(300)
        if "Save 60 " in button.inner_text():
            break
    sync_api.expect(button).to_have_text("Save 60 addresses")
    with page.expect_download() as saved:
        button.click()
    assert saved.value.suggested_filename == "urls.csv"
    saved.value.save_as(tmp_path / "urls_results.csv")
    urls = read_urls(tmp_path / "urls_results.csv")
    expected = {
        f"{results}/full/{k}.jpg" + "?size=l&sig=a%2Fb+c==" * (k % 5 == 0) for k in range(60)
    }
    assert set(urls["url"]) == expected and len(urls) == 60
    table = download_images(urls, tmp_path / "out", allow_private=True)
    assert (
        set(table["status"]) == {"ok"}
        and set(table["width"]) == {300}
        and set(table["label"]) == {"results"}
    )


def test_what_was_not_looked_at_is_not_saved(page, results):
    page.goto(results)
    page.evaluate(SNIPPET)
    button = page.get_by_role("button", name="addresses")
    sync_api.expect(button).to_contain_text("Save 10 addresses")
    page.wait_for_timeout(600)
    sync_api.expect(button).to_have_text("Save 10 addresses")


def test_the_write_ups_own_snippet_no_longer_works(page, results):
    "Nothing is of that class any more, and browsers no longer open a page's data: address."
    page.goto(results)
    old = (
        "urls = Array.from(document.querySelectorAll('.rg_di .rg_meta'))"
        ".map(el => JSON.parse(el.textContent).ou)"
    )
    assert page.evaluate(old) == []
    with page.expect_popup() as opened:
        page.evaluate(
            "window.open('data:text/csv;charset=utf-8,' + escape('https://example.org/a.jpg'))"
        )
    assert opened.value.url in ("", "about:blank", ":")
