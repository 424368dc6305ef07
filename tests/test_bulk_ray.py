"Bulk work on Ray: two workers, one of them killed; and either backend goes on after the other."

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from bulk import small_bundle, small_pictures
from conftest import SCRIPT, files, movie_tagger

from movie_tagger.bulk import Run, local

pytest.importorskip("ray", reason="movie_tagger[scale] is not installed")
COUNT = 1500


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    "A folder with a bundle, pictures, and the table that one machine makes of them."
    folder = tmp_path_factory.mktemp("ray")
    small_bundle(folder / "champion")
    small_pictures(folder / "stills", COUNT)
    command = ("tag", folder / "champion", folder / "stills", "--run", folder / "local")
    assert movie_tagger(*command, "--out", folder / "local.csv").code == 0
    return folder


def begun(place, name, backend):
    "A run in a process of its own."
    command = [SCRIPT, "tag", place / "champion", place / "stills", "--run", place / name]
    options = ["--out", place / f"{name}.csv", "--backend", backend]
    with (place / f"{name}.log").open("w") as log:
        return subprocess.Popen([*command, *options], stdout=log, stderr=log)


def ended(run, place, name):
    "The table of a run that ended well."
    assert run.wait(200) == 0, (place / f"{name}.log").read_text()
    return (place / f"{name}.csv").read_bytes()


def parts(place, name):
    return len(list((place / name / "parts").glob("0*")))


def wait_for(run, is_so):
    while not is_so():
        assert run.poll() is None, "it ended too soon"
        time.sleep(0.002)


def workers(run):
    "The processes of Ray's actors, which it names."
    below = psutil.Process(run.pid).children(recursive=True)
    return [p for p in below if " ".join(_words(p)).startswith("ray::MapWorker")]


def _words(process):
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def listening(run):
    "The addresses at which Ray's processes listen."
    found = set()
    for process in psutil.Process(run.pid).children(recursive=True):
        try:
            sockets = process.net_connections("tcp")
        except psutil.Error:
            continue
        found |= {s.laddr.ip for s in sockets if s.status == psutil.CONN_LISTEN}
    return found


@pytest.mark.timeout(300)
def test_a_killed_worker_costs_nothing_and_ray_listens_to_nobody_else(place):
    run = begun(place, "ray", "ray")
    wait_for(run, lambda: parts(place, "ray") >= 3)
    addresses = listening(run)
    victim = workers(run)[0]
    victim.send_signal(signal.SIGKILL)
    assert ended(run, place, "ray") == (place / "local.csv").read_bytes()
    assert addresses and addresses <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("first, second", [("local", "ray"), ("ray", "local")])
def test_either_goes_on_where_the_other_stopped(place, first, second):
    name = f"{first} then {second}"
    run = begun(place, name, first)
    wait_for(run, lambda: parts(place, name) >= 5)
    below = psutil.Process(run.pid).children(recursive=True)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    psutil.wait_procs(below, 60)
    done = parts(place, name)
    assert 5 <= done < len(list(Run(place / name).parts()))
    assert ended(begun(place, name, second), place, name) == (place / "local.csv").read_bytes()
    assert "Going on with the run" in (place / f"{name}.log").read_text()


def test_a_ray_that_is_not_there_leaves_nothing(place, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    out = place / "out" / "none.csv"
    out.parent.mkdir()
    command = ("tag", place / "champion", place / "stills", "--out", out)
    done = movie_tagger(*command, "--backend", "ray")
    assert done.code == 1 and "pip install 'movie_tagger[scale]'" in done.err.splitlines()[-1]
    assert files(out.parent) == []


def test_a_backend_that_nobody_knows(place):
    done = movie_tagger("tag", place / "champion", place / "stills", "--backend", "abacus")
    assert done.code == 1 and "no backend 'abacus'" in done.err
    assert set(local.BACKENDS) == {"local", "ray"}
