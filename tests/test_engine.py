"What running a model leaves behind, whom it tells, and that threads may ask it at once."

import os
import subprocess
import sys

import pandas as pd
import pytest

from movie_tagger.features import engine

MODEL = """
from onnx import TensorProto, helper

def information(name, type, *more):
    return helper.make_tensor_value_info(name, type, ["n", 1, 1, *more])

graph = helper.make_graph(
    [helper.make_node("Cast", ["images"], ["rows"], to=TensorProto.FLOAT)],
    "as it is",
    [information("images", TensorProto.UINT8, 3)],
    [information("rows", TensorProto.FLOAT, 3)],
)
opsets = [helper.make_opsetid("", 18)]
model = helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
"""

RUN = f"""
import numpy as np
from movie_tagger.features import engine
{MODEL}
run = engine.backends["onnxruntime"](model, "fp32", 1)
assert run(np.ones((1, 1, 1, 3), np.uint8)).sum() == 3
"""


def test_running_a_model_leaves_nothing_in_the_home_folder(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    there = {
        name: os.environ[name]
        for name in ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT")
        if name in os.environ
    }
    subprocess.run([sys.executable, "-c", RUN], env=there | {"HOME": str(home)}, check=True)
    assert not [*home.rglob("*")]


# Importing takes seconds, so it is done once; each fork of it is a process in which OpenVINO has
# answered nobody yet. A fork is safe where no other thread is at work, so those of pyarrow and of
# numpy's linear algebra stay away; OpenVINO's own cannot, and one fork in some ten thousand ends
# badly for it. What is looked for here locked out eight in a hundred.
TWO_AT_ONCE = f"""
import os, signal, sys, threading, time
sys.modules["pyarrow"] = None
os.environ["OPENBLAS_NUM_THREADS"] = "1"
import faulthandler
import numpy as np
from movie_tagger.features import engine
import openvino
{MODEL}
def ask():
    "Two threads ask a fresh engine at the same moment."
    opened = engine.ready(model, "openvino")
    start = threading.Barrier(2)
    answers = []

    def work():
        start.wait()
        answers.append(opened(np.ones((1, 1, 1, 3), np.uint8)).sum())

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [3, 3]

def forked():
    child = os.fork()
    if child:
        return child, time.monotonic() + LIMIT
    faulthandler.dump_traceback_later(LIMIT - 5)
    try:
        ask()
    except BaseException:
        faulthandler.dump_traceback()
        os._exit(1)
    os._exit(0)

time.sleep(1)
LIMIT, PROCESSES, TOGETHER = 30, 200, 4
ends, running = [], dict(forked() for _ in range(TOGETHER))
while running:
    time.sleep(0.005)
    for child, limit in list(running.items()):
        done, status = os.waitpid(child, os.WNOHANG)
        if not done and time.monotonic() > limit:
            os.kill(child, signal.SIGKILL)
            done, status = os.waitpid(child, 0)
        if done:
            del running[child]
            ends.append(status)
            if len(ends) + len(running) < PROCESSES and sum(map(bool, ends)) < 2:
                running |= [forked()]
print(len(ends), sum(map(bool, ends)))
print("signal or exit:", [*filter(None, ends)], file=sys.stderr)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes are forks")
def test_two_threads_that_ask_a_fresh_openvino_engine_do_not_lock_each_other_out():
    pytest.importorskip("openvino")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", TWO_AT_ONCE], capture_output=True, text=True
    )
    ended, badly = map(int, done.stdout.split())
    assert ended == 200 and badly <= 1, done.stderr


# --- which engine


def slower(backend, times):
    "A backend that does everything so many times."

    def opened(*how):
        run = backend(*how)
        return lambda images: [run(images) for _ in range(times)][-1]

    return opened


def spoilt(work):
    "What `work` answers while four processes do nothing but work."
    command = [sys.executable, "-c", "while True: pass"]
    others = [subprocess.Popen(command) for _ in range(4)]
    try:
        return work()
    finally:
        for other in others:
            other.kill()
            other.wait()


def test_a_busy_machine_does_not_mislead_the_choice(tmp_path, monkeypatch):
    space = {}
    exec(MODEL, space)
    honest = engine.backends["onnxruntime"]
    contestants = {"slow": slower(honest, 3), "fast": slower(honest, 2)}
    monkeypatch.setattr(engine, "backends", contestants)
    monkeypatch.setattr(engine, "installed", lambda: list(contestants))

    def chosen(cache):
        monkeypatch.setenv("MOVIE_TAGGER_CACHE", str(tmp_path / cache))
        return engine.choose(space["model"])

    assert chosen("at peace") == spoilt(lambda: chosen("busy")) == ("fast", 16)


def test_a_choice_made_by_the_clock_or_on_a_busy_machine_is_made_again(empty_cache, monkeypatch):
    space = {}
    exec(MODEL, space)
    loads = iter([9.0, 9.0, 0.1, 0.1, 0.1])
    monkeypatch.setattr(engine, "_load", lambda: next(loads))
    made = []
    found = pd.DataFrame({"backend": ["onnxruntime"], "batch": [4], "images_per_second": [1.0]})
    monkeypatch.setattr(engine, "measure", lambda *_: made.append(1) or found)
    assert [engine.choose(space["model"]) and len(made) for _ in range(4)] == [1, 1, 2, 2]
    monkeypatch.setattr(engine, "_METHOD", "the clock")
    engine.choose(space["model"])
    assert len(made) == 3
