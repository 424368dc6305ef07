"The folder of models: what survives a power cut, who excludes whom, the way back, what stays."

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import REPO
from onnx import TensorProto, helper, numpy_helper

from movie_tagger.core import MovieTaggerError
from movie_tagger.models import bundle, shelf

NOW = datetime(2026, 7, 1, tzinfo=UTC)


def least_model():
    "An ONNX model that says the same two numbers of every picture."
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", 8, 8, 3])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 2])
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["pixels"], ["flat"]),
        helper.make_node("MatMul", ["flat", "nothing"], ["logits"]),
    ]
    nothing = numpy_helper.from_array(np.zeros((192, 2), np.float32), "nothing")
    graph = helper.make_graph(nodes, "least", [images], [logits], [nothing])
    opset = helper.make_opsetid("", 17)
    return helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()


def small(folder, *names):
    "Bundles that are whole, with nothing in them worth running."
    for name in names:
        made = SimpleNamespace(
            evaluation=None,
            kind="multi",
            tags=["car", name],
            input={"size": [8, 8], "crop_bars": False},
            thresholds=[0.5, 0.5],
            recipe="head",
            encoder="lite0",
            settings={},
            licence="",
            trained_on=[name],
            onnx=least_model(),
        )
        bundle.save(made, folder / name)
    return folder


@pytest.fixture
def folder(tmp_path):
    return small(tmp_path / "models", "a", "b", "c")


def python(code, *args, **more):
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
        cwd=REPO,
        **more,
    )


def champion(folder):
    return shelf.holder(folder).name


def events(folder):
    return [
        (e["event"], e["model"])
        for e in map(json.loads, (folder / "history.jsonl").read_text().splitlines())
    ]


def visible(folder):
    return sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))


# --- the lock

HOLD = (
    "import sys; from movie_tagger.models.shelf import locked\n"
    "with locked(sys.argv[1], sys.argv[2]): print('mine', flush=True); sys.stdin.read()"
)


def test_a_second_run_is_told_who_holds_the_lock_and_gets_it_when_the_holder_is_killed(tmp_path):
    other = python(HOLD, tmp_path / "new", "run")
    assert other.stdout.readline() == "mine\n"
    with pytest.raises(
        MovieTaggerError,
        match=rf"Another run is at work in .*new \(process {other.pid}, since 20.* UTC\): "
        r"wait until it is done\.$",
    ):
        with shelf.locked(tmp_path / "new"):
            pass
    other.kill(), other.communicate()
    with shelf.locked(tmp_path / "new"):
        pass


def test_the_lock_is_held_against_a_thread_of_the_same_process_too(tmp_path):
    with shelf.locked(tmp_path):
        with pytest.raises(MovieTaggerError, match="Another run"), shelf.locked(tmp_path):
            pass
    with shelf.locked(tmp_path):
        pass


def test_a_run_does_not_keep_anybody_from_rolling_back(folder):
    shelf.promote(folder, "a"), shelf.promote(folder, "b")
    with shelf.locked(folder):
        assert shelf.rollback(folder).name == "a"


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_one_sentence(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with (
            pytest.raises(MovieTaggerError, match="Cannot write in"),
            shelf.locked(tmp_path / "x"),
        ):
            pass
    finally:
        tmp_path.chmod(0o700)


def test_a_file_in_the_place_of_the_folder_is_one_sentence(tmp_path):
    (tmp_path / "models").write_text("")
    for act in (
        lambda p: shelf.record(p, "kept", "a"),
        shelf.rollback,
        shelf.table,
        shelf.all_well,
        shelf.prune,
    ):
        with pytest.raises(MovieTaggerError, match="models"):
            act(tmp_path / "models")


# --- the history


def test_a_torn_last_line_is_ignored_and_then_removed(folder):
    shelf.record(folder, "trained", "a")
    with open(folder / "history.jsonl", "ab") as f:
        f.write(b'{"time": "2026-01-01T00:00:00+00:00", "event": "kept", "mod\x00\xff')
    assert list(shelf.history(folder)["event"]) == ["trained"]
    shelf.record(folder, "kept", "b")
    assert events(folder) == [("trained", "a"), ("kept", "b")]


def test_a_whole_last_line_without_its_end_is_kept(folder):
    shelf.record(folder, "trained", "a")
    path = folder / "history.jsonl"
    path.write_bytes(path.read_bytes().rstrip())
    shelf.record(folder, "kept", "b")
    assert events(folder) == [("trained", "a"), ("kept", "b")]


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"\n\n",
        b"null\n",
        b"[1]\n{}\n",
        b'{"event": "promoted"}\n',
        b"\x00\xff\xfe\n",
        b'{"time": 5, "event": 7, "model": null}\n',
    ],
)
def test_junk_in_the_history_stops_nobody(folder, junk):
    (folder / "history.jsonl").write_bytes(junk)
    shelf.history(folder), shelf.table(folder)
    shelf.promote(folder, "a"), shelf.promote(folder, "b")
    assert shelf.rollback(folder).name == "a"


@pytest.mark.skipif(sys.platform == "win32", reason="no limits on Windows")
def test_a_full_disk_leaves_the_history_as_it_was(folder):
    shelf.record(folder, "trained", "a")
    was = (folder / "history.jsonl").read_bytes()
    code = (
        "import resource, sys; from movie_tagger.models import shelf\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({len(was) + 50}, -1))\n"
        "try: shelf.record(sys.argv[1], 'kept', 'b', reason='x' * 500)\n"
        "except shelf.MovieTaggerError as e: print(e)"
    )
    assert "Free some space" in python(code, folder).communicate(timeout=120)[0]
    assert (folder / "history.jsonl").read_bytes() == was
    shelf.record(folder, "kept", "b")
    assert events(folder) == [("trained", "a"), ("kept", "b")]


def test_what_is_recorded_is_plain_json(folder):
    import numpy as np

    from movie_tagger.retrain.gates import Verdict

    shelf.record(
        folder,
        "kept",
        "a",
        gates=[Verdict("g", False, np.float32(0.5), float("nan"), "no", None, float("inf"))],
        path=folder,
        many=np.arange(2),
        time=NOW,
    )
    said = json.loads(
        (folder / "history.jsonl").read_text(), parse_constant=lambda c: pytest.fail(c)
    )
    assert said["gates"] == [
        {
            "gate": "g",
            "passed": False,
            "value": 0.5,
            "limit": None,
            "low": None,
            "high": None,
            "says": "no",
        }
    ]
    assert (said["time"], said["many"]) == ("2026-07-01T00:00:00+00:00", [0, 1])


def test_an_event_that_does_not_exist_is_refused(folder):
    with pytest.raises(MovieTaggerError, match="There is no event 'won'"):
        shelf.record(folder, "won", "a")


def test_many_writers_lose_no_line(folder):
    code = (
        "import sys; from movie_tagger.models import shelf\n"
        "for i in range(15):\n"
        "    shelf.record(sys.argv[1], 'kept', f'{sys.argv[2]} {i}', text='x' * 3000)"
    )
    for p in [python(code, folder, k) for k in range(3)]:
        assert (p.communicate(timeout=300), p.returncode)[1] == 0
    found = events(folder)
    assert sorted(found) == sorted(("kept", f"{k} {i}") for k in range(3) for i in range(15))
    assert all(
        [m for _, m in found if m[0] == str(k)] == [f"{k} {i}" for i in range(15)] for k in range(3)
    )


# --- names


def test_a_name_is_never_used_twice(folder):
    when = datetime(2026, 11, 22, 4, 0, 30)
    assert (
        shelf.new_name(folder, when)
        == shelf.new_name(folder / "none", when.replace(tzinfo=UTC))
        == "2026-11-22T0400Z"
    )
    small(folder, "2026-11-22T0400Z")
    assert shelf.new_name(folder, when) == "2026-11-22T0400Z-2"
    shelf.record(folder, "pruned", "2026-11-22T0400Z-2")
    (folder / "2026-11-22T0400Z-3").symlink_to("nowhere")
    assert shelf.new_name(folder, when) == "2026-11-22T0400Z-4"


# --- promote and roll back


def test_rolling_back_twice_goes_back_further(folder):
    for name in "abc":
        shelf.promote(folder, name)
    assert [shelf.rollback(folder).name, shelf.rollback(folder).name, champion(folder)] == [
        "b",
        "a",
        "a",
    ]
    with pytest.raises(
        MovieTaggerError,
        match="knows no champion before a: name one with movie-tagger models promote NAME",
    ):
        shelf.rollback(folder)
    shelf.promote(folder, "c")
    assert shelf.rollback(folder).name == "a"


def test_promoting_the_champion_again_changes_nothing(folder):
    shelf.promote(folder, "a"), shelf.promote(folder, "b"), shelf.promote(folder, "b")
    assert events(folder) == [("promoted", "a"), ("promoted", "b")]
    assert shelf.rollback(folder).name == "a"


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda p: shutil.rmtree(p), "no longer in"),
        (lambda p: (p / "model.onnx").write_bytes(b""), "damaged"),
        (lambda p: (p / "manifest.json").unlink(), "not a bundle"),
    ],
)
def test_rolling_back_to_what_is_gone_or_damaged_is_refused_and_the_champion_stays(
    folder, harm, said
):
    shelf.promote(folder, "a"), shelf.promote(folder, "b")
    harm(folder / "a")
    with pytest.raises(MovieTaggerError, match=said):
        shelf.rollback(folder)
    assert champion(folder) == "b"
    assert len(events(folder)) == 2


@pytest.mark.parametrize("name", ["../models/a", "champion", "", ".", "nobody", "history.jsonl"])
def test_a_name_that_is_no_bundle_is_not_promoted(folder, name):
    shelf.promote(folder, "a")
    with pytest.raises(MovieTaggerError):
        shelf.promote(folder, name)
    assert champion(folder) == "a"


def test_a_champion_that_is_gone_can_be_rolled_back_from(folder):
    shelf.promote(folder, "a"), shelf.promote(folder, "b")
    shutil.rmtree(folder / "b")
    assert shelf.rollback(folder).name == "a"


def test_a_link_turned_by_hand_is_noticed(folder):
    shelf.promote(folder, "a")
    shelf.appoint(folder, "b")
    assert list(shelf.table(folder)["role"]) == ["champion before", "champion", ""]
    assert shelf.rollback(folder).name == "a"
    assert events(folder) == [("promoted", "a"), ("promoted", "b"), ("rolled back", "a")]
    shelf.promote(folder, "b"), shelf.promote(folder, "c")
    shelf.appoint(folder, "b")
    shelf.record(folder, "kept", "x")
    assert shelf.rollback(folder).name == "a"


def test_of_several_who_promote_at_once_the_last_line_tells_the_champion(folder):
    code = (
        "import sys; from movie_tagger.models import shelf\n"
        "for i in range(10): shelf.promote(sys.argv[1], 'abc'[(i + int(sys.argv[2])) % 3])"
    )
    for p in [python(code, folder, k) for k in range(3)]:
        assert (p.communicate(timeout=300), p.returncode)[1] == 0
    found = events(folder)
    assert all(one != other for one, other in zip(found, found[1:], strict=False))
    assert champion(folder) == found[-1][1]
    assert champion(folder) != shelf.rollback(folder).name == found[-2][1]


KILL = """
import os, signal, shutil, sys
from movie_tagger.models import shelf
folder, act, steps = sys.argv[1], sys.argv[2], iter(sys.argv[3:])
def go():
    if act == "promote": shelf.promote(folder, "c", "it passed")
    if act == "rollback": shelf.rollback(folder)
    if act == "prune": shelf.prune(folder, keep=1)
    if act == "record": shelf.record(folder, "kept", "c")
STEPS = {"open", "fcntl.flock"}
STEPS |= {f"os.{did}" for did in ("rename", "symlink", "truncate", "remove", "rmdir", "mkdir")}
def killed_at(step):
    left = [step]
    def count(event, args):
        if event not in STEPS: return
        left[0] -= 1
        if not left[0]: os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(count)
    go()
for step in range(1, 200):
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(folder + " before", folder, symlinks=True)
    child = os.fork()
    if not child:
        killed_at(step)
        os._exit(0)
    died = os.waitpid(child, 0)[1] != 0
    os.rename(folder, f"{folder} {step}")
    if not died: break
print(step)
"""


def killed_everywhere(tmp_path, act, *setup):
    "The folder after being killed at each step of what it does to files, and undisturbed."
    before = small(tmp_path / "m before", "a", "b", "c", "d")
    for name in setup:
        shelf.promote(before, name)
    found = python(KILL, tmp_path / "m", act)
    steps = int(found.communicate(timeout=300)[0])
    assert 3 < steps < 199
    return [tmp_path / f"m {i}" for i in range(1, steps)], tmp_path / f"m {steps}"


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


@needs_fork
def test_promoting_can_be_killed_at_any_step_and_done_again(tmp_path):
    cut, whole = killed_everywhere(tmp_path, "promote", "a", "b")
    assert events(whole) == [("promoted", "a"), ("promoted", "b"), ("promoted", "c")]
    assert {champion(f) for f in cut} == {"b", "c"}
    for f in cut:
        shelf.table(f), shelf.promote(f, "c", "it passed")
        assert (champion(f), events(f), shelf.rollback(f).name) == ("c", events(whole), "b")


@needs_fork
def test_rolling_back_can_be_killed_at_any_step_and_the_next_step_back_is_right(tmp_path):
    cut, whole = killed_everywhere(tmp_path, "rollback", "a", "b", "c")
    assert champion(whole) == "b"
    for f in cut:
        now = champion(f)
        assert now in ("b", "c")
        assert shelf.rollback(f).name == {"c": "b", "b": "a"}[now]


@needs_fork
def test_pruning_can_be_killed_at_any_step_and_done_again(tmp_path):
    cut, whole = killed_everywhere(tmp_path, "prune", "c")
    assert visible(whole) == ["c", "champion", "d", "history.jsonl"]
    for f in cut:
        assert all(bundle.check(f / name) for name in visible(f) if (f / name).is_dir())
        shelf.prune(f, keep=1)
        assert (visible(f), sorted(events(f))) == (visible(whole), sorted(events(whole)))
        assert not list(f.glob(".*.pruned"))


@needs_fork
def test_recording_can_be_killed_at_any_step(tmp_path):
    cut, whole = killed_everywhere(tmp_path, "record", "c")
    assert events(whole) == [("promoted", "c"), ("kept", "c")]
    for f in cut:
        assert events(f) in ([("promoted", "c")], events(whole))


# --- the table and making room


def test_the_table_shows_roles_and_damage(folder):
    (
        shelf.promote(folder, "a"),
        shelf.promote(folder, "b"),
        shelf.appoint(folder, "c", "challenger"),
    )
    (folder / "a" / "model.onnx").unlink()
    (folder / "notes").mkdir()
    found = shelf.table(folder)
    assert dict(found["role"]) == {"a": "champion before", "b": "champion", "c": "challenger"}
    assert "model.onnx" in found.at["a", "problem"] and found["problem"].notna().sum() == 1
    assert (found.at["b", "pictures"], found.at["b", "tags"]) == (1, 2)


def test_the_table_of_an_empty_folder_is_empty(tmp_path):
    assert list(shelf.table(tmp_path).index) == []
    with pytest.raises(MovieTaggerError, match="There is no folder of models"):
        shelf.table(tmp_path / "none")


def test_nothing_in_use_and_nothing_foreign_is_removed(tmp_path):
    folder = small(tmp_path / "models", *"abcdefgh")
    for name in "abc":
        shelf.promote(folder, name)
    shelf.appoint(folder, "d", "challenger")
    (folder / "best").symlink_to("e")
    (folder / "f" / "model.onnx").write_bytes(b"")
    (folder / "notes").mkdir()
    (folder / "notes" / "text").write_text("mine")
    (folder / "elsewhere").symlink_to(small(tmp_path / "other", "x") / "x")
    assert shelf.prune(folder, keep=1) == ["a", "g"]
    assert visible(folder) == [
        "b",
        "best",
        "c",
        "challenger",
        "champion",
        "d",
        "e",
        "elsewhere",
        "f",
        "h",
        "history.jsonl",
        "notes",
    ]
    assert (tmp_path / "other" / "x" / "model.onnx").exists()
    assert shelf.prune(folder, keep=1) == []
    assert shelf.rollback(folder).name == "b"


def test_at_least_one_model_is_kept(folder):
    for keep in (0, -3):
        with pytest.raises(MovieTaggerError, match="At least one"):
            shelf.prune(folder, keep)


# --- check


def test_check_is_silent_where_all_is_well_and_otherwise_says_what_is_wrong(folder):
    def wrong(said, **more):
        with pytest.raises(MovieTaggerError, match=said):
            shelf.all_well(folder, now=NOW, **more)

    wrong("There is no champion")
    shelf.appoint(folder, "a")
    wrong("No run in .* has ended")
    shelf.record(folder, "refused", "x", time=NOW)
    wrong("No run in .* has ended")
    shelf.promote(folder, "b", time=NOW - timedelta(days=39))
    assert shelf.all_well(folder, now=NOW).name == "b"
    wrong("39 days ago, on 2026-05-23, and 30 are allowed", days=30)
    shelf.record(folder, "kept", "c", time=NOW - timedelta(days=10))
    assert shelf.all_well(folder, days=30, now=NOW).name == "b"
    shelf.record(folder, "refused", "c", time=NOW)
    wrong("10 days ago", days=5)
    (folder / "b" / "card.md").write_text("changed")
    wrong("card.md is not what was saved.*rollback")
    shutil.rmtree(folder / "b")
    wrong("is gone: go back")


def test_a_run_that_is_yet_to_come_is_a_wrong_clock(folder):
    shelf.promote(folder, "a", time=NOW + timedelta(days=3))
    with pytest.raises(MovieTaggerError, match="yet to come"):
        shelf.all_well(folder, now=NOW)
    shelf.record(folder, "kept", "b", time=NOW)
    shelf.all_well(folder, now=NOW)


def test_a_champion_found_by_chance_is_no_run(folder):
    shelf.promote(folder, "a", time=NOW - timedelta(days=100))
    shelf.appoint(folder, "b")
    with pytest.raises(MovieTaggerError, match="knows no champion|day"):
        shelf.all_well(folder, now=NOW)
    shelf.prune(folder, keep=9), shelf.promote(folder, "c", time=NOW - timedelta(days=90))
    assert events(folder) == [("promoted", "a"), ("promoted", "b"), ("promoted", "c")]
    with pytest.raises(MovieTaggerError, match="90 days ago"):
        shelf.all_well(folder, now=NOW)


def test_looking_needs_no_right_to_write(folder):
    shelf.promote(folder, "a", time=NOW)
    for lock in folder.glob(".*.lock"):
        lock.unlink()
    shelf.table(folder), shelf.history(folder), shelf.all_well(folder, now=NOW)
    assert not list(folder.glob(".*.lock"))
