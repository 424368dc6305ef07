"A Chromium that tests may drive: where it is, and what keeps it from calling home."

import shutil

from conftest import lacking

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


HOW = {
    "executable_path": CHROMIUM,
    "args": FLAGS,
    "ignore_default_args": ["--headless"],
    "chromium_sandbox": False,
}


def need_chromium():
    if not CHROMIUM:
        lacking("Chromium is not installed: apt-get install chromium")
