"Keys and secrets: what changes at the same moment is not lost, what is no key is one sentence."

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import REPO, movie_tagger

pytest.importorskip("fastapi")

from movie_tagger.core import MovieTaggerError
from movie_tagger.serve.feedback import Receipts
from movie_tagger.serve.keys import Keys, add_key, read_keys, revoke_key

NOW = "2026-11-28T00:00:00+00:00"


def entry(name="site", key="mt_site", **more):
    return {"name": name, "hash": hashlib.sha256(key.encode()).hexdigest(), "created": NOW} | more


def together(code, *arguments):
    "Runs a program once for each tuple of arguments, all from the same moment on; what they print."
    started = [
        subprocess.Popen(
            [sys.executable, "-c", f"{code}\n", *map(str, given)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPO,
        )
        for given in arguments
    ]
    try:
        for program in started:
            assert program.stdout.readline() == "ready\n"
        for program in started:
            program.stdin.write("go\n")
            program.stdin.flush()
        said = [program.communicate(timeout=120)[0] for program in started]
        assert [program.returncode for program in started] == [0] * len(started)
        return said
    finally:
        for program in started:
            program.kill()
            program.wait()


CHANGE = """
import sys
from movie_tagger.serve.keys import add_key, revoke_key
path, what, mine = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
for k in range(15):
    if what == "add": add_key(path, f"new-{mine}-{k}")
    else: revoke_key(path, f"old-{mine}-{k}")
"""


def test_keys_made_and_taken_back_at_the_same_moment_are_all_kept(tmp_path):
    path = tmp_path / "keys.json"
    for mine in "ab":
        for k in range(15):
            add_key(path, f"old-{mine}-{k}")
    together(CHANGE, *((path, what, mine) for what in ("add", "revoke") for mine in "ab"))
    keys = read_keys(path)
    assert len(keys) == 60
    assert all(bool(key.revoked) == name.startswith("old") for name, key in keys.items())


def test_a_link_to_the_file_stays_a_link_and_its_target_keeps_its_mode(tmp_path):
    file, link = tmp_path / "secrets" / "keys.json", tmp_path / "keys.json"
    add_key(file, "a")
    file.chmod(0o640)
    link.symlink_to(file)
    revoke_key(link, "a")
    assert link.is_symlink() and read_keys(file)["a"].revoked
    assert file.stat().st_mode & 0o777 == 0o640


def test_taking_back_a_key_makes_no_folder(tmp_path):
    with pytest.raises(MovieTaggerError, match="There is no key 'a'"):
        revoke_key(tmp_path / "typo" / "keys.json", "a")
    assert not (tmp_path / "typo").exists()


@pytest.mark.parametrize("rate", ["nan", "inf", "-inf", "0", "-1", "1e999", "5e-324"])
def test_a_rate_that_is_no_number_is_one_sentence(tmp_path, rate):
    done = movie_tagger("keys", "add", "a", "--file", tmp_path / "k.json", f"--rate={rate}")
    assert done.code == 1 and "give a positive number" in done.err
    assert not (tmp_path / "k.json").exists()


@pytest.mark.parametrize("rate", ["60", True, float("nan"), 10**400])
def test_a_rate_from_python_is_held_to_the_same(tmp_path, rate):
    with pytest.raises(MovieTaggerError, match="No key was made"):
        add_key(tmp_path / "k.json", "a", rate)


GARBLED = {
    "empty": b"",
    "cut": b'{"keys": [{"name": "a", "ha',
    "no text": b"\xff\xfe\x00\x01",
    "a list": b"[]",
    "null": b"null",
    "keys are null": b'{"keys": null}',
    "keys are a number": b'{"keys": 5}',
    "a key is a text": b'{"keys": ["site"]}',
    "deep": b'{"keys": ' + b"[" * 100_000,
    "no hash": b'{"keys": [{"name": "a", "created": ""}]}',
    "a number of 5,000 digits": b'{"keys": [' + b"9" * 5000 + b"]}",
    "something more": json.dumps({"keys": [entry(admin=True)]}).encode(),
    "a name that is none": json.dumps({"keys": [entry("a b")]}).encode(),
    "a name that is a list": json.dumps({"keys": [entry(["a"])]}).encode(),
    "a hash that is a number": json.dumps({"keys": [entry() | {"hash": 5}]}).encode(),
    "a rate that is a text": json.dumps({"keys": [entry(rate="60")]}).encode(),
    "a rate that is NaN": json.dumps({"keys": [entry(rate=float("nan"))]}).encode(),
    "a rate that is true": json.dumps({"keys": [entry(rate=True)]}).encode(),
    "revoked: false": json.dumps({"keys": [entry(revoked=False)]}).encode(),
    "revoked: nothing": json.dumps({"keys": [entry(revoked="")]}).encode(),
    "twice": json.dumps({"keys": [entry(revoked=NOW), entry()]}).encode(),
}


@pytest.mark.parametrize("content", GARBLED.values(), ids=list(GARBLED))
def test_a_file_that_is_not_understood_is_one_sentence_and_is_not_changed(tmp_path, content):
    path = tmp_path / "keys.json"
    path.write_bytes(content)
    for act in (
        lambda: read_keys(path),
        lambda: Keys(path),
        lambda: add_key(path, "b"),
        lambda: revoke_key(path, "site"),
    ):
        with pytest.raises(MovieTaggerError, match="Cannot read the keys in .*Mend the file"):
            act()
    assert path.read_bytes() == content


def test_a_place_where_no_file_can_be_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for path in ("file/keys.json", "folder", "pipe", "x" * 300, "a\0b"):
        with pytest.raises(MovieTaggerError, match="Cannot read the keys"):
            read_keys(tmp_path / path)


def test_a_running_server_knows_of_a_change_that_leaves_date_and_size(tmp_path):
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"keys": [entry(key="mt_one")]}))
    stamp = path.stat().st_mtime_ns
    keys = Keys(path)
    assert keys.who("mt_one")
    with open(path, "r+") as f:
        f.write(json.dumps({"keys": [entry(key="mt_two")]}))
    os.utime(path, ns=(stamp, stamp))
    time.sleep(0.6)
    assert keys.who("mt_two") and not keys.who("mt_one")


def test_a_file_broken_while_a_server_runs_leaves_its_keys_and_is_told_once(tmp_path, caplog):
    path = tmp_path / "keys.json"
    key, gone = add_key(path, "a"), add_key(path, "b")
    keys, whole = Keys(path), path.read_bytes()
    revoke_key(path, "b")
    revoked = path.read_bytes()
    for content, known in ((whole[:-9], True), (b"{", True), (revoked, False), (b"", False)):
        path.write_bytes(content)
        keys._looked = 0.0
        assert keys.who(key) and bool(keys.who(gone)) == known
        assert bool(keys.problem) == (content != revoked)
    path.unlink()
    keys._looked = 0.0
    assert not keys.who(key)
    assert keys.who("\ud800") is None


BEGIN = """
import sys
from pathlib import Path
from movie_tagger.serve.feedback import Receipts
print("ready", flush=True)
for path in sys.stdin:
    for k in range(40): print(Receipts.kept(Path(f"{sys.argv[1]}/{k}.secret")).sign("still"))
    break
"""


def test_servers_that_start_together_have_one_secret(tmp_path):
    signed = together(BEGIN, *[(tmp_path,)] * 4)
    assert len({*signed}) == 1 and len({*signed[0].split()}) == 40
    assert (tmp_path / "0.secret").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"", b"\n", b"cut off"])
def test_a_secret_that_is_not_whole_is_one_sentence(tmp_path, content):
    path = tmp_path / "ledger.db.secret"
    path.write_bytes(content)
    with pytest.raises(MovieTaggerError, match="is not whole: remove it"):
        Receipts.kept(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_a_secret_that_cannot_be_read_is_one_sentence(tmp_path, make):
    make(tmp_path / "ledger.db.secret")
    with pytest.raises(MovieTaggerError, match="Cannot read the secret"):
        Receipts.kept(tmp_path / "ledger.db.secret")
