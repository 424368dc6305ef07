"A server process whose surroundings fail: stopped early, a log nobody reads, a full disk."

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from conftest import REPO, SCRIPT
from serving import httpx, lines, problem, process, serving, tags

from movie_tagger.core import MovieTaggerError
from movie_tagger.ledger.ledger import Ledger
from movie_tagger.serve.app import create_app
from movie_tagger.serve.feedback import Keep
from movie_tagger.serve.names import host_name, origin

pytest_plugins = ["serving"]


@contextlib.contextmanager
def command(*args, **how):
    "`movie-tagger serve` in a process of its own, on a free port."
    env = os.environ | {"PYTHONPATH": str(REPO)}
    served = subprocess.Popen([SCRIPT, "serve", *map(str, args), "--port", "0"], env=env, **how)
    try:
        yield served
    finally:
        if served.poll() is None:
            served.kill()
        served.wait(10)


def wait_for(happened, seconds=60):
    until = time.monotonic() + seconds
    while not (found := happened()):
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.05)
    return found


# --- told to stop

SLOW = """
import sys, time
from movie_tagger.serve import champion
def slow(*args, **more):
    print("loading", flush=True)
    {wait}
champion.serve_bundle = slow
from movie_tagger.cli.door import main
sys.argv[1:] = ["serve", {bundle!r}, "--port", "0"]
main()
"""


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "SIGHUP"])
@pytest.mark.parametrize("wait", ["time.sleep(600)", "while True: pass"])
def test_told_to_stop_while_a_model_loads_it_leaves_at_once(models, how, wait):
    code = SLOW.format(wait=wait, bundle=str(models))
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(REPO)},
    ) as served:
        assert served.stdout.readline() == b"loading\n"
        served.send_signal(getattr(signal, how))
        out, err = served.communicate(timeout=20)
    assert (served.returncode, b"Traceback" in err) == (0, False)


def test_told_to_stop_the_moment_it_listens_it_stops(models, tmp_path):
    with process(tmp_path, bundle=models) as server:
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0
    assert lines(tmp_path / "server.log")[-1]["event"] == "stopped"


def test_ctrl_c_is_a_stop_like_any_other(models, tmp_path):
    with open(tmp_path / "log", "wb") as log, command(models, stderr=log) as served:
        wait_for(lambda: "listening" in (tmp_path / "log").read_text())
        served.send_signal(signal.SIGINT)
        assert served.wait(20) == 0
    assert lines(tmp_path / "log")[-1]["event"] == "stopped"


STUCK = """
import sys, threading
from movie_tagger.serve import champion
def never(self, data):
    print("reading", flush=True)
    threading.Event().wait()
champion.Served.read, read = never, champion.Served.read
champion._grey, grey = lambda: grey(), champion._grey
made = champion.serve_bundle
def serve_bundle(*args, **more):
    champion.Served.read = read
    try: return made(*args, **more)
    finally: champion.Served.read = never
champion.serve_bundle = serve_bundle
from movie_tagger.cli.door import main
sys.argv[1:] = ["serve", {bundle!r}, "--port", "0"]
main()
"""


def test_a_thread_that_hangs_in_a_picture_does_not_hold_up_the_end(models, tmp_path, picture):
    "Whoever waits for it gets an answer, and then the process ends without it."
    log = tmp_path / "server.log"
    with (
        open(log, "wb") as err,
        subprocess.Popen(
            [sys.executable, "-c", STUCK.format(bundle=str(models))],
            stdout=subprocess.PIPE,
            stderr=err,
            env=os.environ | {"PYTHONPATH": str(REPO)},
        ) as served,
    ):
        wait_for(lambda: "listening" in log.read_text())
        url = next(line["url"] for line in lines(log) if line["event"] == "listening")
        with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
            problem(tags(client, picture), 503, "late")
        served.terminate()
        assert served.wait(20) == 0


# --- the log


def metric(client, what):
    found = [line for line in client.get("/metrics").text.splitlines() if what in line]
    return float(found[0].split()[-1])


def ask_often(client, times):
    for _ in range(times):
        assert client.get("/healthz/live").status_code == 200


@contextlib.contextmanager
def talking(models, port=None, **how):
    "A command, and a client for it once it answers."
    with command(models, **how) as served:
        address = f"/proc/{served.pid}/net/tcp"
        assert os.path.exists(address)
        port = wait_for(lambda: _listens(served))
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False
        ) as client:
            yield served, client


def _listens(served):
    import psutil

    assert served.poll() is None
    with contextlib.suppress(psutil.AccessDenied):
        for connection in psutil.Process(served.pid).net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN:
                return connection.laddr.port


def test_a_log_that_nobody_reads_costs_lines_and_no_answers(models, picture):
    reader, writer = os.pipe()
    with talking(models, stderr=writer) as (served, client):
        os.close(writer)
        wait_for(lambda: ask_often(client, 500) or metric(client, '{what="log lines"}'))
        assert tags(client, picture).status_code == 200
        served.terminate()
        assert served.wait(20) == 0
    os.close(reader)


def test_a_log_that_is_read_again_tells_how_much_is_missing(models):
    reader, writer = os.pipe()
    with talking(models, stderr=writer) as (served, client):
        os.close(writer)
        wait_for(lambda: ask_often(client, 500) or metric(client, '{what="log lines"}'))
        with open(reader) as log:
            for line in log:
                if '"lost"' in line:
                    break
        assert '"event": "lost"' in line and int(line.rpartition(": ")[2].rstrip("}\n")) > 0


@pytest.mark.parametrize("end", ["the reader has gone", "closed", "both closed"])
def test_without_anywhere_to_write_to_it_answers_and_stops(models, picture, end):
    if end == "the reader has gone":
        reader, writer = os.pipe()
        os.close(reader)
        how = {"stderr": writer}
    else:
        gone = (2,) if end == "closed" else (0, 1, 2)
        how = {"preexec_fn": lambda: [os.close(k) for k in gone]}
    with talking(models, **how) as (served, client):
        ask_often(client, 50)
        assert tags(client, picture).status_code == 200
        served.terminate()
        assert served.wait(20) == 0


# --- disks


@pytest.fixture
def small_disk(tmp_path):
    "A folder with room for 256 kB."
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = not subprocess.call(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], stderr=subprocess.DEVNULL
    )
    if not mounted:
        pytest.skip("mounting a small disk takes root on Linux")
    yield folder
    subprocess.check_call(["umount", "-l", folder])


def fill(folder):
    with open(folder / "filler", "wb", buffering=0) as f, contextlib.suppress(OSError):
        while True:
            f.write(bytes(4096))


def test_a_log_on_a_full_disk_costs_lines_and_no_answers(models, picture, small_disk):
    fill(small_disk)
    with (
        open(small_disk / "log", "wb") as log,
        talking(models, stderr=log) as (served, client),
    ):
        ask_often(client, 50)
        wait_for(lambda: metric(client, '{what="log lines"}'))
        assert tags(client, picture).status_code == 200
        (small_disk / "filler").unlink()
        ask_often(client, 5)
        wait_for(lambda: '"lost"' in (small_disk / "log").read_text())
        served.terminate()
        assert served.wait(20) == 0


def accept(client, still, key):
    event = {"still": still["still"], "receipt": still["receipt"], "tag": "pink"}
    said = {"key": key, "events": [event | {"action": "accept"}]}
    return client.post("/v1/feedback", json=said)


def test_a_full_disk_costs_the_picture_and_not_the_answer(
    models, tmp_path, picture, new_posters, small_disk
):
    kept = small_disk / "kept"
    with serving(create_app(models, tmp_path / "l.db", keep=kept)) as client:
        fill(small_disk)
        still = tags(client, picture).json()["stills"][0]
        ready = client.get("/healthz/ready")
        assert ready.status_code == 200 and "No space left" in ready.json()["detail"]
        assert metric(client, '{what="pictures"}') == 1
        assert accept(client, still, "k1").json() == {"written": 1}
        (small_disk / "filler").unlink()
        other = next(new_posters.rglob("*.jpg")).read_bytes()
        still = tags(client, other).json()["stills"][0]
        assert client.get("/healthz/ready").json() == {"status": "ready"}
        assert accept(client, still, "k2").json() == {"written": 1}
    assert [p.read_bytes() for p in kept.iterdir() if p.is_file()] == [other]
    with Ledger(tmp_path / "l.db") as ledger:
        assert sorted(map(bool, ledger.items()["path"])) == [False, True]


@pytest.mark.parametrize("what", ["gone", "a file", "read-only"])
def test_a_folder_that_is_lost_costs_the_picture_and_not_the_answer(
    models, tmp_path, picture, small_disk, what
):
    kept = small_disk / "kept"
    with serving(create_app(models, tmp_path / "l.db", keep=kept)) as client:
        early = tags(client, picture).json()["stills"][0]
        if what == "read-only":
            subprocess.check_call(["mount", "-o", "remount,ro", small_disk])
        else:
            shutil.rmtree(kept)
        if what == "a file":
            kept.write_text("no folder")
        assert tags(client, picture + b"\0").status_code == 200
        assert "cannot be kept" in client.get("/healthz/ready").json()["detail"]
        assert accept(client, early, "k").json() == {"written": 1}
        assert metric(client, '{what="pictures"}') >= 1


def test_a_folder_that_could_never_be_written_is_told_at_the_start(tmp_path, small_disk):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(MovieTaggerError, match="Cannot keep pictures"):
        Keep(tmp_path / "file")
    (small_disk / "kept" / ".waiting").mkdir(parents=True)
    subprocess.check_call(["mount", "-o", "remount,ro", small_disk])
    with pytest.raises(MovieTaggerError, match="cannot be written"):
        Keep(small_disk / "kept")


# --- names


def test_the_machine_itself_may_always_ask_how_the_server_is(models):
    with serving(create_app(models, hosts=["Quiz.example:443"])) as client:

        def status(path, host):
            return client.get(path, headers={"host": host}).status_code

        for path in ("/healthz/live", "/healthz/ready", "/metrics"):
            for host in (
                "127.0.0.1:8000",
                "localhost",
                "[::1]:8000",
                "quiz.example",
                "QUIZ.example.",
            ):
                assert status(path, host) == 200, (path, host)
            assert status(path, "evil.example") == 421
        assert status("/v1/model", "quiz.example:8000") == 200
        assert status("/v1/model", "127.0.0.1") == 421


def test_the_health_check_of_the_image_works_by_whatever_name_the_server_goes(models):
    check = next(
        line.strip() for line in (REPO / "Dockerfile").read_text().splitlines() if "urlopen" in line
    )
    with serving(create_app(models, hosts=["quiz.example"])) as client:
        code = check.partition('"-c", "')[2].removesuffix('"]')
        code = code.replace("127.0.0.1:8000", f"127.0.0.1:{client.base_url.port}")
        assert subprocess.call([sys.executable, "-c", code]) == 0


@pytest.mark.parametrize(
    "given, sent",
    [
        ("https://quiz.example", "https://quiz.example"),
        ("https://quiz.example/", "https://quiz.example"),
        (" HTTPS://Quiz.Example:443 ", "https://quiz.example"),
        ("http://localhost:3000/", "http://localhost:3000"),
        ("http://[::1]:80", "http://[::1]"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("capacitor://localhost", "capacitor://localhost"),
    ],
)
def test_an_origin_is_let_in_as_browsers_send_it(models, given, sent):
    assert origin(given) == sent
    with serving(create_app(models, cors=[given])) as client:
        answer = client.get("/v1/model", headers={"origin": sent})
        assert answer.headers["access-control-allow-origin"] == sent
        exposed = answer.headers["access-control-expose-headers"].lower().split(", ")
        assert {"retry-after", "x-request-id"} <= {*exposed}


@pytest.mark.parametrize(
    "wrong",
    [
        "*",
        "null",
        "",
        "quiz.example",
        "quiz.example:443",
        "//quiz.example",
        "https://",
        "https://quiz.example/upload",
        "https://quiz.example?x",
        "https://quiz.example#x",
        "https://me@quiz.example",
        "https://*.quiz.example",
        "https://a.example,https://b.example",
        "https://quiz.example:port",
        "https://[::1",
        "https://quiz .example",
    ],
)
def test_what_can_be_no_origin_is_one_sentence(models, wrong):
    with pytest.raises(MovieTaggerError, match="no origin") as said:
        create_app(models, cors=[wrong])
    assert str(said.value).count(". ") <= 1


@pytest.mark.parametrize("wrong", ["", "https://quiz.example", "quiz.example/", "*", "a b", "[::1"])
def test_what_can_be_no_name_is_one_sentence(models, wrong):
    with pytest.raises(MovieTaggerError, match="no name of a server"):
        create_app(models, hosts=[wrong])
    assert host_name("QUIZ.example:80") == "quiz.example"
