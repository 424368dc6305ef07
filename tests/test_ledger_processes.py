"Several programs at once, some of them killed: what was acknowledged is there, the file sound."

import os
import signal
import sqlite3
import subprocess
import sys

import pandas as pd
import pytest

from movie_tagger.ledger.ledger import Ledger

EVENTS = int(os.environ.get("MOVIE_TAGGER_LEDGER_EVENTS", 200))  # 2,000 once, before a release
WORKER = """
import sys
import pandas as pd
from movie_tagger.ledger.ledger import Ledger
path, name = sys.argv[1], int(sys.argv[2])
print("ready", flush=True)
count = int(sys.stdin.readline())
with Ledger(path) as ledger:
    k = 0
    while k < count:
        if k % 10 == 9 and k + 5 <= count:  # now and then several at once, all or nothing
            items = [f"{j}.jpg" for j in range(5)]
            rows = pd.DataFrame({"item": items, "tag": f"batch {name} {k}", "state": True})
            ledger.decide(rows, f"curator:{name}", batch=f"{name} {k}")
            print("batch", k, flush=True)
            k += 5
        else:
            tag = f"tag {name} {k}"
            number = ledger.set(f"{k % 5}.jpg", tag, bool(k % 2), f"user:{name}")
            print("event", number, k, flush=True)
            k += 1
        if k % 50 == 0: ledger.labels()
print("done", flush=True)
"""


@pytest.fixture
def workers(tmp_path):
    "Starts eight programs that write to one ledger; none outlives the test."
    path, started = tmp_path / "ledger.db", []
    with Ledger(path) as ledger:
        ledger.add(
            pd.DataFrame(
                {"path": [f"/p/{k}.jpg" for k in range(5)]},
                index=pd.Index([f"{k}.jpg" for k in range(5)], name="item"),
            ),
            "import:a",
        )
    for name in range(8):
        out = open(tmp_path / f"out {name}", "w")
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", WORKER, str(path), str(name)],
                stdin=subprocess.PIPE,
                stdout=out,
                text=True,
            )
        )
        out.close()
    yield path, started
    for worker in started:
        worker.kill()
        worker.wait()
        worker.stdin.close()


def lines(path, name):
    return [
        line.split()
        for line in (path.parent / f"out {name}").read_text().splitlines(keepends=True)
        if line.endswith("\n")
    ]


def wait_for(condition, worker):
    "Looks until the condition holds or the program has ended."
    while not condition() and worker.poll() is None:
        try:
            worker.wait(0.01)
        except subprocess.TimeoutExpired:
            pass


@pytest.mark.parametrize("killed", [0, 3])
def test_every_acknowledged_event_is_there(workers, killed):
    path, started = workers
    for name, worker in enumerate(started):
        wait_for(lambda name=name: lines(path, name), worker)
    for name, worker in enumerate(started):
        worker.stdin.write(
            f"{10**6 if name < killed else EVENTS}\n"
        )  # who is to be killed never ends by itself
        worker.stdin.flush()
    for name in range(killed):
        wait_for(lambda name=name: len(lines(path, name)) > 20 * (name + 1), started[name])
        os.kill(started[name].pid, signal.SIGKILL)
    codes = [worker.wait(600) for worker in started]
    assert codes == [-signal.SIGKILL] * killed + [0] * (8 - killed)
    with Ledger(path) as ledger:
        ledger.verify()
        events = ledger.events()
        labels = ledger.labels()
    happened = events["tag"].to_dict()
    batches = events["batch"].value_counts()
    for name in range(8):
        acknowledged = lines(path, name)[1:]
        for what, *numbers in acknowledged:
            if what == "event":
                number, k = map(int, numbers)
                assert happened[number] == f"tag {name} {k}"
                known = labels[f"tag {name} {k}"].dropna().to_dict()
                assert known == {f"{k % 5}.jpg": bool(k % 2)}
            elif what == "batch":
                assert batches[f"{name} {numbers[0]}"] == 5
        mine = events["actor"].isin([f"user:{name}", f"curator:{name}"]).sum()
        if name >= killed:
            assert acknowledged[-1] == ["done"] and mine == EVENTS
        else:
            assert mine > 20
    assert (batches.drop("unnamed 1") == 5).all()  # no batch is there by half
    assert_sound(path)


def assert_sound(path):
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert not db.execute("PRAGMA foreign_key_check").fetchall()
    db.close()


MAKER = """
import sys
from movie_tagger.ledger.ledger import Ledger
print("ready", flush=True)
for name in sys.stdin:
    with Ledger(name.strip()) as ledger:
        number = ledger.set_rules("min_count = 1\\n", "curator:" + sys.argv[1])
    print(number, flush=True)
"""


def test_several_programs_make_the_same_new_ledger(tmp_path):
    started = [
        subprocess.Popen(
            [sys.executable, "-c", MAKER, str(k)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for k in range(6)
    ]
    try:
        for worker in started:
            assert worker.stdout.readline() == "ready\n"
        for path in [tmp_path / f"{k}.db" for k in range(30)]:
            for worker in started:
                worker.stdin.write(f"{path}\n"), worker.stdin.flush()
            assert sorted(worker.stdout.readline() for worker in started) == ["0\n"] * 5 + ["1\n"]
            with Ledger(path) as ledger:
                ledger.verify()
    finally:
        for worker in started:
            worker.stdin.close(), worker.wait(60), worker.stdout.close()
