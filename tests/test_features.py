"What is computed once stays: under other names, between processes, killed, beside damaged files."

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from conftest import SCRIPT, draw_poster, files, movie_tagger, shell

from movie_tagger import features
from movie_tagger.core import MovieTaggerError
from movie_tagger.features import encoders, engine

ENCODER = {
    "encoder": "resnet10t@32",
    "weights": "random",
}  # small and quick; what is tested here is the keeping
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")


@pytest.fixture
def pictures(posters):
    return sorted(posters.rglob("*.jpg"))


@pytest.fixture(scope="module")
def small_encoder(cache):
    return features.export(ENCODER["encoder"], ENCODER["weights"])


@pytest.fixture
def own_cache(small_encoder, empty_cache):
    "A cache for one test that holds the small encoder and no embeddings."
    (empty_cache / "encoders").mkdir(parents=True)
    for file in small_encoder, small_encoder.with_suffix(".json"):
        shutil.copy(file, empty_cache / "encoders")
    return empty_cache


def embed(paths):
    rows, errors = features.embed(paths, **ENCODER)
    assert errors.isna().all()
    return rows


def kept(cache):
    return next((cache / "embeddings").glob("*.sqlite"))


def refuse(*args, **kwargs):
    raise AssertionError("something was computed again")


# --- once


def test_a_second_run_computes_nothing(own_cache, pictures, monkeypatch):
    first = embed(pictures)
    monkeypatch.setattr(engine, "stream", refuse)
    np.testing.assert_array_equal(embed(pictures[::-1]), first[::-1])


def test_a_second_training_computes_nothing(bundle, posters, tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "stream", refuse)
    monkeypatch.setattr(encoders, "to_onnx", refuse)
    done = movie_tagger("train", posters, "--out", tmp_path / "m")
    assert done.code == 0 and "; 0 to embed" in done.out


def test_a_training_reads_the_encoder_s_checksum_once(bundle, posters, tmp_path, monkeypatch):
    read, compute = [], encoders.sha256
    encoders._computed.cache_clear()
    monkeypatch.setattr(encoders, "sha256", lambda path: read.append(path) or compute(path))
    assert movie_tagger("train", posters, "--out", tmp_path / "m").code == 0
    assert [path.suffix for path in read] == [".onnx"]


def test_one_content_under_many_names_is_computed_once(own_cache, pictures, tmp_path, monkeypatch):
    names = [shutil.copy(pictures[0], tmp_path / f"{i}.jpg") for i in range(5)]
    asked, stream = [], engine.stream

    def counted(run, sources, read):
        sources = list(sources)
        asked.extend(sources)
        return stream(run, sources, read)

    monkeypatch.setattr(engine, "stream", counted)
    rows = embed([*names, pictures[1]])
    assert len(asked) == 2 and (rows[:5] == rows[0]).all() and (rows[5] != rows[0]).any()
    embed([pictures[0], pictures[2]])
    assert asked[2:] == [pictures[2]], "known by its content, wherever it lies"


def test_what_cannot_be_read_is_said_and_tried_again(own_cache, pictures, tmp_path):
    bad, gone = tmp_path / "bad.jpg", tmp_path / "gone.jpg"
    bad.write_text("<html>")
    for _ in range(2):
        rows, errors = features.embed([pictures[0], bad, gone, tmp_path, pictures[1]], **ENCODER)
        assert (
            list(np.isnan(rows).all(1)) == list(errors.notna()) == [False, True, True, True, False]
        )
        assert "web page" in errors[1] and "not there" in errors[2]


def test_letterbox_cropping_is_kept_apart(own_cache, pictures):
    embed(pictures[:2])
    features.embed(pictures[:2], crop_bars=True, **ENCODER)
    assert len(list((own_cache / "embeddings").glob("*.sqlite"))) == 2


# --- at the same time, and killed

CHILD = """
import sys, time, numpy as np
from movie_tagger import features, images
decode, pause = images.decode, float(sys.argv[3])
images.decode = lambda *args, **kwargs: time.sleep(pause) or decode(*args, **kwargs)
paths = sorted(open(sys.argv[1]).read().split())
rows, errors = features.embed(paths, encoder="resnet10t@32", weights="random")
assert errors.isna().all()
np.save(sys.argv[2], rows)
"""


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    "A list of 600 small pictures, enough for several of the batches that embeddings are kept in."
    folder = tmp_path_factory.mktemp("many")
    names = [
        draw_poster(folder / f"{i:04}.jpg", ("horror", "romance", "superhero")[i % 3], i, (48, 64))
        for i in range(600)
    ]
    (folder / "list.txt").write_text("\n".join(map(str, names)))
    return folder / "list.txt"


@pytest.fixture(scope="module")
def undisturbed(many, small_encoder):
    return embed(sorted(many.read_text().split()))


def start(many, out, pause=0):
    return subprocess.Popen(
        [sys.executable, "-W", "error::UserWarning", "-c", CHILD, str(many), str(out), str(pause)]
    )


def test_processes_share_an_empty_cache(own_cache, many, undisturbed, tmp_path):
    processes = [start(many, tmp_path / f"{i}.npy") for i in range(2)]
    assert [p.wait(timeout=600) for p in processes] == [0, 0]
    for i in range(2):
        np.testing.assert_allclose(
            np.load(tmp_path / f"{i}.npy"), undisturbed, rtol=1e-3, atol=1e-4
        )
    assert features.cache_table().set_index("what").loc["embeddings", "pictures"] == 600


def test_two_trainings_at_once_export_the_encoder_beside_each_other(empty_cache, posters, tmp_path):
    import timm
    import torch

    torch.save(timm.create_model("resnet10t").state_dict(), tmp_path / "mine.pth")
    command = [
        SCRIPT,
        "train",
        posters,
        "--encoder",
        "resnet10t@32",
        "--weights",
        tmp_path / "mine.pth",
        "--out",
    ]
    processes = [
        subprocess.Popen([*command, tmp_path / name], stdout=subprocess.DEVNULL)
        for name in ("one", "two")
    ]
    assert [p.wait(timeout=600) for p in processes] == [0, 0]
    assert (tmp_path / "one" / "model.onnx").read_bytes() == (
        tmp_path / "two" / "model.onnx"
    ).read_bytes()


def test_a_killed_process_leaves_a_usable_cache(own_cache, many, undisturbed, tmp_path):
    process = start(many, tmp_path / "killed.npy", pause=0.01)
    while process.poll() is None and not counted(own_cache):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it was done before it could be killed"
    done = counted(own_cache)
    assert 0 < done < 600
    np.testing.assert_allclose(
        embed(sorted(many.read_text().split())), undisturbed, rtol=1e-3, atol=1e-4
    )
    assert counted(own_cache) == 600


INTERRUPTED = f"""
import os, signal, sys
from movie_tagger import features, images

asked, decode = [], images.decode

def interrupted(*args, **kwargs):
    asked.append(args)
    if len(asked) == 40:
        os.kill(os.getpid(), signal.SIGINT)
    return decode(*args, **kwargs)

images.decode = interrupted
try:
    features.embed(sys.argv[1:], **{ENCODER})
except KeyboardInterrupt:
    print("interrupted")
"""


def test_an_interrupted_embedding_ends_and_keeps_what_it_has(own_cache, pictures):
    command = [sys.executable, "-W", "ignore", "-c", INTERRUPTED, *map(str, pictures)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.stdout == "interrupted\n", done.stderr
    under_way = 3 * os.cpu_count() * 4
    assert max(1, 40 - under_way) <= counted(own_cache) < len(pictures)
    again = embed(pictures)
    assert np.isfinite(again).all() and counted(own_cache) == len(pictures)


def counted(cache):
    "How many embeddings a cache holds."
    if not list((cache / "embeddings").glob("*.sqlite")):
        return 0
    return int(features.cache_table().set_index("what").loc["embeddings", "pictures"])


# --- damaged


def overwrite(path, at, with_):
    content = bytearray(path.read_bytes())
    content[at : at + len(with_)] = with_
    path.write_bytes(content)


@pytest.mark.parametrize(
    "harm",
    [
        "its beginning",
        "its middle",
        "its end",
        "zeros in it",
        "one byte",
        "half of it gone",
        "no database at all",
    ],
)
def test_a_damaged_cache_is_noticed_and_begins_anew(own_cache, pictures, harm):
    before, path = embed(pictures), kept(own_cache)
    size = path.stat().st_size
    {
        "its beginning": lambda: overwrite(path, 0, os.urandom(4096)),
        "its middle": lambda: overwrite(path, size // 2, os.urandom(4096)),
        "its end": lambda: overwrite(path, size - 4096, os.urandom(4096)),
        "zeros in it": lambda: overwrite(path, size // 4096 // 2 * 4096, bytes(8192)),
        "one byte": lambda: overwrite(
            path, path.read_bytes().index(before[7].tobytes()[:512]) + 100, b"\xaa"
        ),
        "half of it gone": lambda: path.write_bytes(path.read_bytes()[: size // 2]),
        "no database at all": lambda: path.write_text("movie" * 1000),
    }[harm]()
    with pytest.warns(UserWarning, match="is damaged .* and begins anew"):
        again = embed(pictures)
    np.testing.assert_allclose(again, before, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(embed(pictures), again)


def test_the_command_line_says_it_in_one_line(own_cache, pictures):
    embed(pictures[:3])
    overwrite(kept(own_cache), 0, bytes(100))
    done = shell("doctor")
    assert (
        done.code == 0
        and done.err.startswith("movie-tagger: The cache ")
        and done.err.count("\n") == 1
    )


def test_a_cache_in_use_is_not_thrown_away(own_cache, pictures):
    "A locked database is not a damaged one."
    import sqlite3

    embed(pictures[:30])
    with sqlite3.connect(kept(own_cache), isolation_level=None) as db:
        db.execute("BEGIN EXCLUSIVE")
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "from movie_tagger import features; "
                f"features.embed([{str(pictures[40])!r}], 'resnet10t@32', "
                "weights='random')",
            ]
        )
        time.sleep(3)
        assert process.poll() is None, "it waits"
        db.execute("COMMIT")
    db.close()
    assert process.wait(timeout=300) == 0 and counted(own_cache) == 31


def test_a_damaged_encoder_is_exported_again(own_cache, pictures):
    (path,) = (own_cache / "encoders").glob("*.onnx")
    whole = path.read_bytes()
    overwrite(path, len(whole) // 2, bytes([whole[len(whole) // 2] ^ 1]))
    embed(pictures[:3])
    assert len(path.read_bytes()) == len(whole) and path.read_bytes()[:1000] == whole[:1000]


def test_what_a_killed_export_leaves_is_not_taken_for_an_encoder(own_cache, pictures):
    (path,) = (own_cache / "encoders").glob("*.onnx")
    path.with_suffix(".json").unlink()
    embed(pictures[:3])
    assert files(own_cache / "encoders") == [path.with_suffix(".json").name, path.name]


@pytest.mark.parametrize(
    "content", ["", "[]", "[1]", "null", "{", '{"another model": ["onnxruntime", 1]}']
)
def test_damaged_measurements_are_measured_again(own_cache, small_encoder, monkeypatch, content):
    found = pd.DataFrame({"backend": ["onnxruntime"], "batch": [16], "images_per_second": [1e3]})
    monkeypatch.setattr(engine, "measure", lambda model, precision: found)
    (own_cache / "engines.json").write_text(content)
    assert engine.choose(small_encoder.read_bytes()) == ("onnxruntime", 16)
    monkeypatch.setattr(engine, "measure", refuse)
    assert engine.choose(small_encoder.read_bytes()) == ("onnxruntime", 16)


# --- other encoders


def test_any_timm_network_can_be_an_encoder(empty_cache, pictures):
    rows, errors = features.embed(pictures[:6], "resnet34@64", weights="random")
    assert (
        rows.shape == (6, 512)
        and np.isfinite(rows).all()
        and features.input_size("resnet34@64", "random") == [64, 64]
    )
    assert "resnet34@64-random.onnx" in files(empty_cache / "encoders")


def test_any_torchvision_network_too(empty_cache, pictures):
    rows, _ = features.embed(pictures[:2], "torchvision/resnet18@32", weights="random")
    assert rows.shape == (2, 512) and np.isfinite(rows).all()


def test_another_size_or_another_file_of_weights_makes_another_encoder(
    empty_cache, pictures, tmp_path
):
    import timm
    import torch

    rows = []
    for name, size in (("one", 32), ("one", 64), ("two", 32)):
        weights = tmp_path / f"{name}.pth"
        if not weights.exists():
            torch.save(timm.create_model("resnet10t").state_dict(), weights)
        rows.append(features.embed(pictures[:2], f"resnet10t@{size}", weights=weights)[0])
    assert not np.allclose(rows[0], rows[1]) and not np.allclose(rows[0], rows[2])
    assert len(list((empty_cache / "encoders").glob("*.onnx"))) == 3


@pytest.mark.parametrize("size", ["31", "2000", "x", "64x64", "-5"])
def test_sizes_that_make_no_sense(size):
    with pytest.raises(MovieTaggerError, match="from 32 to 1024"):
        features.find(f"lite0@{size}")


def test_the_exported_encoder_says_what_torch_says(cache, pictures):
    import torch

    from movie_tagger.images import decode

    images = np.stack([decode(p, 224) for p in pictures[:8]])
    with torch.inference_mode():
        theirs = (
            features.find("lite0")
            .module()(torch.from_numpy(images).permute(0, 3, 1, 2).float())
            .numpy()
        )
    ours = features.embed(pictures[:8])[0]
    cosine = (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
    assert cosine.min() > 0.999
