"JupyterLab as people meet it: one of its own for a test, in a real browser."

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest
from browser import HOW, need_chromium
from conftest import REPO

pytest.importorskip("ipywidgets")
pytest.importorskip("jupyterlab")
sync_api = pytest.importorskip("playwright.sync_api")
sync_api.expect.set_options(timeout=30_000)


@contextmanager
def jupyterlab(folder, more=None):
    "The address of a JupyterLab of its own, which ends with the test."
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    token, home = secrets.token_hex(8), folder.parent / "home"
    home.mkdir()
    own = {
        f"JUPYTER{name}_DIR": str(home / name.strip("_").lower())
        for name in ("_CONFIG", "_DATA", "_RUNTIME", "LAB_SETTINGS", "LAB_WORKSPACES")
    }
    for name, setting in {
        "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
        # all cells are on the page, seen or not
        "notebook-extension/tracker": {"windowingMode": "none"},
    }.items():
        file = home / "lab_settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(setting))
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--allow-root",
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={token}",
        f"--ServerApp.root_dir={folder}",
    ]
    env = (
        os.environ
        | own
        | (more or {})
        | {
            "HOME": str(home),
            "IPYTHONDIR": str(home / "ipython"),
            "PYTHONPATH": str(REPO),
        }
    )
    with open(home / "jupyter.log", "wb") as log:
        server = subprocess.Popen(
            command, cwd=folder, env=env, stdout=log, stderr=log, start_new_session=True
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/api/status?token={token}", server, home / "jupyter.log")
        yield f"http://127.0.0.1:{port}/lab/tree/clean.ipynb?token={token}"
    finally:
        end(server)


def wait_for(url, server, log):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in range(900):
        assert server.poll() is None, log.read_text()[-2000:]
        try:
            return opener.open(url, timeout=5).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise AssertionError(f"JupyterLab did not answer in 90 s:\n{log.read_text()[-2000:]}")


def end(server):
    "End the server and its kernels: the group of processes that was started here."
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, sign)
        except ProcessLookupError:
            break
        try:
            server.wait(5)
        except subprocess.TimeoutExpired:
            continue


@contextmanager
def page_of(url, folder):
    "The address opened in Debian's Chromium."
    with sync_api.sync_playwright() as p:
        context = p.chromium.launch_persistent_context(
            str(folder / "profile"),
            viewport={"width": 1360, "height": 1000},
            **HOW,
        )
        try:
            page = context.new_page()
            page.set_default_timeout(30_000)
            page.goto(url)
            yield page
        finally:
            page.screenshot(path=folder / "last.png")
            context.close()


@pytest.fixture
def lab(request, tmp_path):
    """JupyterLab in a browser with the notebook `clean.ipynb` that `request.param` writes.

    What that function returns, if anything, is added to the environment."""
    need_chromium()
    folder = tmp_path / "work"
    folder.mkdir()
    with jupyterlab(folder, request.param(folder)) as url, page_of(url, tmp_path) as page:
        page.get_by_text("| Idle").wait_for()  # JupyterLab drops what one asks for before
        yield page, folder, tmp_path


def menu(page, *path):
    for name in path:
        page.locator(".lm-MenuBar-itemLabel, .lm-Menu-itemLabel").get_by_text(
            name, exact=True
        ).click()


def choose(page, name, option):
    page.locator(".mt-bar label", has_text=re.compile(f"^{name}")).locator("select").select_option(
        label=option
    )


def marks_of(page):
    return page.locator(".mt-card").evaluate_all(
        "all => all.map(c => [c.dataset.item, c.querySelector('.mt-mark').textContent])"
    )


def expect_decided(page, expected):
    "The marks on the page, once they are there."
    for _ in range(200):
        found = {item: mark for item, mark in marks_of(page) if mark != "· undecided"}
        if found == expected:
            return
        time.sleep(0.1)
    assert found == expected
