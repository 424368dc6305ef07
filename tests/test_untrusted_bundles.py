"Bundles made to harm: refused in one sentence, wherever they are opened; a server goes on."

import json
import math
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import draw_poster, movie_tagger
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper

from movie_tagger.core import MovieTaggerError, cache_dir, sha256, write_json
from movie_tagger.models import bundle as bundles
from movie_tagger.models import load, shelf, vetting

SIZE = [16, 24]
TAGS = ["car", "hat", "dog"]
node = h.make_node
MEAN = [
    node("Cast", ["images"], ["pixels"], to=T.FLOAT),
    node("ReduceMean", ["pixels"], ["mean"], axes=[1, 2, 3], keepdims=0),
    node("Unsqueeze", ["mean", "one"], ["column"]),
]
ROW = [*MEAN, node("MatMul", ["column", "weight"], ["row"])]
GOOD = [*MEAN, node("MatMul", ["column", "weight"], ["logits"])]
ARRAYS = {"one": np.array([1]), "weight": np.float32([[0.1, 0.2, 0.3]])}


def onnx_model(nodes, arrays=None, tensors=(), pictures=None, logits=None, **more):
    "An ONNX file of pictures 16 pixels high and 24 wide, and three tags."
    ends = {"names": ("images", "logits"), "opset": 17, "kind": T.UINT8, "imports": ()} | more
    taken, given = ends["names"]
    graph = h.make_graph(
        nodes,
        "g",
        [h.make_tensor_value_info(taken, ends["kind"], pictures or ["n", *SIZE, 3])],
        [h.make_tensor_value_info(given, T.FLOAT, logits or ["n", 3])],
        [*tensors, *(numpy_helper.from_array(a, k) for k, a in (ARRAYS | (arrays or {})).items())],
    )
    imports = [h.make_opsetid("", ends["opset"]), *ends["imports"]]
    model = h.make_model(graph, opset_imports=imports, ir_version=8)
    model.functions.extend(more.get("functions", ()))
    return model.SerializeToString()


def outside(location):
    "A tensor whose numbers lie in another file."
    tensor = T(name="w", data_type=T.FLOAT, dims=[3], data_location=T.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


def adding(name):
    "Nodes that add something to the row of numbers."
    return [*ROW, node("Add", ["row", name], ["logits"])]


def with_sum(*nodes):
    "Nodes that add the sum of `big` to the row of numbers."
    total = node("ReduceSum", ["big"], ["sum"], keepdims=0)
    return [*ROW, *nodes, total, node("Add", ["row", "sum"], ["logits"])]


def looping(op, **attributes):
    "Nodes with a graph inside: one that goes on for ever, or branches."
    inner = h.make_graph(
        [node("Identity", ["c"], ["d"]), node("Identity", ["v"], ["w"])],
        "inner",
        [
            h.make_tensor_value_info("i", T.INT64, []),
            h.make_tensor_value_info("c", T.BOOL, []),
            h.make_tensor_value_info("v", T.FLOAT, []),
        ],
        [h.make_tensor_value_info("d", T.BOOL, []), h.make_tensor_value_info("w", T.FLOAT, [])],
    )
    return [node(op, ["trips", "yes", "zero"], ["w"], body=inner), *adding("w")]


def branching():
    def graph(name):
        constant = numpy_helper.from_array(np.float32(0), "v")
        out = h.make_tensor_value_info("w", T.FLOAT, [])
        return h.make_graph([node("Constant", [], ["w"], value=constant)], name, [], [out])

    return [
        node("If", ["yes"], ["w"], then_branch=graph("a"), else_branch=graph("b")),
        *adding("w"),
    ]


TRIPS = {"trips": np.int64(2**62), "yes": np.array(True), "zero": np.float32(0)}
FUNCTION = h.make_function(
    "ours", "Twice", ["x"], ["y"], [node("Evil", ["x"], ["y"], domain="com.evil")],
    [h.make_opsetid("", 17), h.make_opsetid("com.evil", 1)],
)  # fmt: skip
# more pixels than this, and a picture needs 400 GB
WHITE = [
    node("Cast", ["mean"], ["whole"], to=T.INT64),
    node("Mul", ["whole", "many"], ["shape"]),
    node("ConstantOfShape", ["shape"], ["big"]),
]
NONZERO = [
    node("NonZero", ["pixels"], ["places"]),
    node("Shape", ["places"], ["shape"]),
    node("ConstantOfShape", ["shape"], ["big"]),
]

HOSTILE = {
    "outside, absolute": (onnx_model(adding("w"), tensors=[outside("/etc/hostname")]), "another"),
    "outside, above": (onnx_model(adding("w"), tensors=[outside("../secret")]), "another file"),
    "outside, here": (onnx_model(adding("w"), tensors=[outside("secret.bin")]), "another file"),
    "outside, in a node": (
        onnx_model([node("Constant", [], ["w"], value=outside("secret.bin")), *adding("w")]),
        "another file",
    ),
    "foreign operator": (
        onnx_model([node("Evil", ["images"], ["logits"], domain="com.evil")]),
        "'com.evil'",
    ),
    "foreign operator of the runtime": (
        onnx_model(
            [*ROW, node("Gelu", ["row"], ["logits"], domain="com.microsoft")],
            imports=[h.make_opsetid("com.microsoft", 1)],
        ),
        "'com.microsoft'",
    ),
    "foreign operator in a function": (
        onnx_model(
            [*ROW, node("Twice", ["row"], ["logits"], domain="ours")],
            imports=[h.make_opsetid("ours", 1), h.make_opsetid("com.evil", 1)],
            functions=[FUNCTION],
        ),
        "com.evil|ONNX format",
    ),
    "too narrow": (
        onnx_model(GOOD, {"weight": np.float32([[1, 2]])}),
        "cannot be run|does not answer with 3",
    ),
    "too narrow, and says so": (
        onnx_model(GOOD, {"weight": np.float32([[1, 2]])}, logits=["n", 2]),
        "does not answer with 3 numbers",
    ),
    "one answer for all": (
        onnx_model([*ROW, node("ReduceMean", ["row"], ["logits"], axes=[0], keepdims=1)]),
        "does not answer with 3 numbers",
    ),
    "NaN": (onnx_model(GOOD, {"weight": np.float32([[1, np.nan, 2]])}), "no number"),
    "infinite": (onnx_model(GOOD, {"weight": np.float32([[1, np.inf, 2]])}), "no number"),
    "NaN on black alone": (
        onnx_model([*ROW, node("Log", ["row"], ["log"]), node("Add", ["log", "row"], ["logits"])]),
        "no number",
    ),
    "text in": (onnx_model(GOOD, kind=T.STRING), "does not take pictures|cannot be run"),
    "other pictures": (onnx_model(GOOD, pictures=["n", 8, 8, 3]), "does not take pictures of 16"),
    "one picture only": (onnx_model(GOOD, pictures=[1, *SIZE, 3]), "any number at once"),
    "other names": (
        onnx_model([node("Identity", ["x"], ["images"]), *GOOD], names=("x", "logits")),
        "does not take `images`",
    ),
    "another output": (
        onnx_model([*GOOD, node("Identity", ["logits"], ["y"])], names=("images", "y")),
        "answer with `logits`",
    ),
    "a loop for ever": (onnx_model(looping("Loop"), TRIPS), "loops or branches"),
    "a branch": (onnx_model(branching(), TRIPS), "loops or branches"),
    "a constant of 360 GB": (
        onnx_model(
            with_sum(node("ConstantOfShape", ["shape"], ["big"])),
            {"shape": np.array([300_000, 300_000])},
        ),
        "cannot be run|memory",
    ),
    "a picture repeated": (
        onnx_model(
            with_sum(node("Tile", ["pixels", "times"], ["big"])),
            {"times": np.array([5000, 50, 50, 1])},
        ),
        "cannot be run|memory",
    ),
    "a weight of 4 TB that is not there": (
        onnx_model(with_sum(), tensors=[T(name="big", data_type=T.FLOAT, dims=[2**40])]),
        "cannot be run|memory",
    ),
    "large only where the picture is bright": (
        onnx_model(with_sum(*WHITE), {"many": np.array([999])}),
        "by what the picture shows",
    ),
    "large only where something is not black": (
        onnx_model(with_sum(*NONZERO)),
        "by what the picture shows",
    ),
    "the same, written backwards": (
        onnx_model(with_sum(*WHITE[::-1]), {"many": np.array([999])}),
        "the order in which",
    ),
    "an opset to come": (onnx_model(GOOD, opset=999), "cannot be run"),
    "an operator that is none": (
        onnx_model([node("Evil", ["images"], ["logits"])]),
        "cannot be run",
    ),
    "no protobuf": (b"not a model", "ONNX format"),
    "nothing": (b"", "ONNX format"),
    "cut off": (onnx_model(GOOD)[:-20], "ONNX format|cannot be run|does not"),
    "nested protobuf": (b"\x3a\x80\x01" * 40_000, "ONNX format"),
}  # fmt: skip


@pytest.fixture
def make(tmp_path):
    "Makes a bundle that is what was saved, whatever its model is and its manifest says."

    def made(name="bundle", model=None, **said):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(onnx_model(GOOD) if model is None else model)
        (folder / "card.md").write_text(name)
        manifest = {
            "format": 1,
            "movie_tagger": "1.0",
            "created": "2026-11-01T00:00:00+00:00",
            "kind": "multi",
            "tags": TAGS,
            "input": {"size": SIZE, "crop_bars": False},
            "thresholds": [0.5] * 3,
            "recipe": "head",
            "encoder": "lite0",
            "settings": {},
            "licences": {"encoder": "MIT"},
            "calibration": None,
            "evaluation": None,
            "data": {"pictures": 1, "version": "0" * 16, "sha256": ["0" * 64]},
            "checksums": {f: sha256(folder / f) for f in ("model.onnx", "card.md")},
        } | said
        write_json(folder / "manifest.json", manifest | {"checksum": bundles._checksum(manifest)})
        return folder

    return made


def refused(act, words=""):
    with pytest.raises(MovieTaggerError, match=words) as found:
        act()
    said = str(found.value)
    assert said[-1] == "." and "\n" not in said
    return said


# --- models


def test_a_good_one_is_tried_once_for_each_machine(make, tmp_path, empty_cache, monkeypatch):
    first = make("first")
    assert load(first).predict([np.zeros((16, 24, 3), np.uint8)]).shape == (1, 3)
    assert len(list(cache_dir("vetted").iterdir())) == 1
    monkeypatch.setattr(vetting, "_start", lambda asked: pytest.fail("tried again"))
    load(first), load(make("copy"))
    refused_later = make("other", onnx_model(GOOD, {"weight": np.float32([[1, 2, 3]])}))
    with pytest.raises(pytest.fail.Exception, match="tried again"):
        load(refused_later)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_model_is_refused_when_it_is_loaded(make, tmp_path, monkeypatch, name):
    model, words = HOSTILE[name]
    (tmp_path / "secret.bin").write_bytes(np.float32([1, 2, 3]).tobytes())
    monkeypatch.chdir(tmp_path)
    folder = make(model=model)
    refused(lambda: load(folder), words)


def test_every_command_refuses_it(make, tmp_path):
    draw_poster(tmp_path / "posters" / "car" / "1.jpg", "horror", 1)
    models = make("models/bad", HOSTILE["NaN"][0]).parent
    (models / "champion").symlink_to("bad")
    good = make("models/good", encoder="lite1")
    for args in (
        ("tag", models / "bad", tmp_path / "posters", "--out", tmp_path / "tags.csv"),
        ("evaluate", models / "bad", tmp_path / "posters"),
        ("serve", models),
        ("models", "check", "--dir", models),
        ("models", "promote", "bad", "--dir", models),
    ):
        done = movie_tagger(*args)
        assert done.code == 1 and "answers with what is no number" in done.err, done
        assert len(done.err.splitlines()) == 1
    assert shelf.promote(models, good.name) == good


def test_a_trial_that_takes_too_long_is_given_up(make, monkeypatch):
    slow = [node("MatMul", ["m", "m"], ["m0"])]
    slow += [node("MatMul", [f"m{k}", "m"], [f"m{k + 1}"]) for k in range(2000)]
    slow += [node("ReduceSum", ["m2000"], ["sum"], keepdims=0), *MEAN]
    slow += [node("MatMul", ["column", "weight"], ["row"]), node("Add", ["row", "sum"], ["logits"])]
    grown = [node("RandomUniform", [], ["m"], shape=[3000, 3000]), *slow]
    monkeypatch.setattr(vetting, "SECONDS", -8)  # the trial's own limit is its own
    refused(lambda: load(make(model=onnx_model(grown))), "did not answer within")
    assert not vetting._running


def test_a_model_changed_after_it_was_loaded_is_not_run(make):
    folder = make()
    found = load(folder)
    (folder / "model.onnx").write_bytes(HOSTILE["outside, here"][0])
    refused(found.open, "has changed: load it again")


def test_an_answer_that_is_no_number_is_an_error_of_its_picture(make):
    # finite in the trial, and not for a picture of one single brightness
    nodes = [*ROW, node("Sub", ["row", "bad"], ["d"]), node("Reciprocal", ["d"], ["logits"])]
    arrays = {"weight": np.float32([[1, 1, 1]]), "bad": np.float32(77)}
    found = load(make(model=onnx_model(nodes, arrays), kind="single", thresholds=None))
    pictures = [np.full((16, 24, 3), value, np.uint8) for value in (5, 77, 200)]
    p = found.predict(pictures)
    assert p.isna().all(axis=1).tolist() == [False, True, False]
    assert [bool(e) for e in p.attrs["errors"]] == [False, True, False]
    refused(lambda: found.open().answer(pictures), "is no number")


# --- manifests


PROMISE = {"threshold": 0.5, "recall": 0.9, "confidence": 0.95, "reviewed": 9, "positives": 5}
MANIFESTS = {
    "tags twice": {"tags": ["car", "hat", "car"]},
    "no tags": {"tags": []},
    "tags are a text": {"tags": "car"},
    "an empty tag": {"tags": ["car", " ", "dog"]},
    "a tag is a number": {"tags": ["car", 5, "dog"]},
    "another kind": {"kind": "many"},
    "no size": {"input": {}},
    "a size of nothing": {"input": {"size": [0, 16]}},
    "a size of a million": {"input": {"size": [10**6, 10**6]}},
    "a size in words": {"input": {"size": ["16", "24"]}},
    "something more in input": {"input": {"size": SIZE, "source": "/etc/passwd"}},
    "few thresholds": {"thresholds": [0.5]},
    "no thresholds": {"thresholds": None},
    "thresholds in words": {"thresholds": ["0.5"] * 3},
    "no time": {"created": "yesterday"},
    "no data": {"data": None},
    "data without digests": {"data": {"pictures": 1, "version": "0"}},
    "digests are numbers": {"data": {"pictures": 1, "version": "0", "sha256": [1]}},
    "metrics are a list": {"evaluation": {"metrics": [1]}},
    "a metric is a text": {"evaluation": {"metrics": {"accuracy": "good"}}},
    "sensitive are numbers": {"sensitive": [1]},
    "settings are a list": {"settings": []},
    "an encoder is a number": {"encoder": 5},
    "a path out": {"checksums": {"../model.onnx": "0" * 64, "card.md": "0" * 64}},
    "a path": {"checksums": {"/etc/passwd": "0" * 64}},
    "no checksums": {"checksums": {}},
    "checksums are a list": {"checksums": []},
    "another way to resize": {"input": {"size": SIZE, "resize": "fold"}},
    "bars in words": {"input": {"size": SIZE, "crop_bars": "no"}},
    "a tag without end": {"tags": ["car", "h" * 1001, "dog"]},
    "sensitive without end": {"sensitive": [f"tag {k}" for k in range(1001)]},
    "a threshold no float can hold": {"thresholds": [10**400] * 3},
    "metrics of nobody knows how many": {"evaluation": {"metrics": {}}},
    "promises are a list": {"promises": [1]},
    "a promise is a text": {"promises": {"car": "always"}},
    "a promise in words": {"promises": {"car": PROMISE | {"threshold": "low"}}},
    "a promise of nothing": {"promises": {"car": PROMISE | {"threshold": None}}},
    "a promise that is no number": {"promises": {"car": PROMISE | {"threshold": math.nan}}},
}


@pytest.mark.parametrize("said", MANIFESTS.values(), ids=list(MANIFESTS))
def test_a_manifest_that_makes_no_sense_is_refused(make, said):
    folder = make(**said)
    assert f"see {next(iter(said))!r}" in refused(lambda: load(folder), "makes no sense")
    problem = shelf.table(folder.parent).loc["bundle", "problem"]
    assert "makes no sense" in problem


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"null",
        b"[" * 200_000,
        b'{"a": ' * 50_000,
        b"\xff\xfe",
        b'{"checksum": "\\ud800", "tags": ["\\ud800"]}',
        b"[" + b"9" * 5000 + b"]",
        b'{"a": [' + b"[]," * 1_000_001 + b"[]]}",
    ],
    ids=range(9),
)
def test_a_manifest_that_is_none_is_refused(make, content):
    folder = make()
    (folder / "manifest.json").write_bytes(content)
    refused(lambda: load(folder), "is damaged: manifest.json")


@pytest.mark.parametrize("name", ["model.onnx", "manifest.json", "card.md"])
@pytest.mark.parametrize("what", ["a link", "a pipe", "a folder", "endless", "huge"])
def test_what_is_no_plain_file_of_a_fair_size_is_refused_unread(make, name, what):
    folder = make()
    file = folder / name
    moved = file.rename(folder.parent / "moved")
    if what == "a link":
        file.symlink_to(moved)
    elif what == "a pipe":
        os.mkfifo(file)
    elif what == "a folder":
        file.mkdir()
    elif what == "endless":
        file.symlink_to("/dev/zero")
    else:
        with open(file, "wb") as f:
            f.truncate(500 << 30 if name == "model.onnx" else 500 << 20)
    refused(lambda: load(folder), f"is damaged: {name}")


# --- while people are asking


@pytest.fixture
def changing(make):
    "A folder of models whose champion answers, and how it is exchanged by hand."
    pytest.importorskip("fastapi")
    from movie_tagger.serve.champion import Champion

    models = make("models/good").parent
    shelf.appoint(models, "good")

    class Hasty(Champion):
        pauses = 0.05, 0.2

    champion = Hasty(models)
    assert champion.look()

    def turn(name):
        (models / "link").symlink_to(name)
        os.replace(models / "link", models / "champion")
        return champion.look()

    return champion, turn, make


@pytest.mark.parametrize("name", ["NaN", "a loop for ever", "a constant of 360 GB", "no protobuf"])
def test_a_hostile_challenger_leaves_the_old_model_and_the_next_good_one_is_taken(changing, name):
    champion, turn, make = changing
    make("models/bad", HOSTILE[name][0])
    assert not turn("bad")
    assert "is not used: its model" in champion.problem and champion.served.name == "good"
    assert str(champion.path) not in champion.trouble
    make("models/better", onnx_model(GOOD, {"weight": np.float32([[3, 2, 1]])}))
    assert turn("better") and champion.served.name == "better" and not champion.problem


def test_what_failed_is_tried_again_ever_more_rarely(changing, monkeypatch):
    champion, turn, make = changing
    tries, now = [], [1000.0]
    monkeypatch.setattr("movie_tagger.serve.champion.time.monotonic", lambda: now[0])

    def fail(path):
        tries.append(now[0])
        raise OSError("full")

    champion.make = fail
    make("models/other")
    turn("other")
    for _ in range(150):
        now[0] += 0.01
        champion.look()
    gaps = np.diff(tries)
    assert gaps[:3] == pytest.approx([0.05, 0.1, 0.2], abs=0.015) and max(gaps) < 0.22
    assert "full" in champion.problem and champion.served.name == "good"


def test_a_model_whose_rights_were_mended_is_tried_at_once(changing, monkeypatch):
    champion, turn, make = changing
    folder = make("models/other")
    (folder / "model.onnx").chmod(0o000)
    make_it, champion.make = champion.make, lambda path: refuse_unreadable(path) or make_it(path)
    champion.pauses = champion._pause, 1000.0
    assert not turn("other") and "Permission denied" in champion.problem
    champion._again = float("inf")
    assert not champion.look()
    (folder / "model.onnx").chmod(0o644)
    assert champion.look() and champion.served.name == "other"


def refuse_unreadable(path):
    "As the system does for anybody but root."
    if not (shelf.find(path) / "model.onnx").stat().st_mode & 0o400:
        raise MovieTaggerError("Cannot read the bundle: Permission denied.")


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may read anything")
def test_what_may_not_be_read_is_one_sentence(make):
    folder = make()
    (folder / "model.onnx").chmod(0o000)
    refused(lambda: load(folder), "Cannot read the bundle.*Permission denied")


def test_trials_end_when_the_server_stops(changing):
    champion, turn, make = changing
    from concurrent.futures import ThreadPoolExecutor

    slow = [node("RandomUniform", [], ["m"], shape=[4000, 4000])]
    slow += [node("MatMul", ["m", "m"], ["m0"])]
    slow += [node("MatMul", [f"m{k}", "m"], [f"m{k + 1}"]) for k in range(3000)]
    slow += [node("ReduceSum", ["m3000"], ["sum"], keepdims=0), *adding("sum")]
    make("models/slow", onnx_model(slow))
    with ThreadPoolExecutor(1) as pool:
        swap = pool.submit(turn, "slow")
        while not vetting._running:
            time.sleep(0.01)
        champion.give_up()
        assert swap.result() is False
    assert champion.served.name == "good"


def test_the_manifest_of_the_fixture_is_what_the_package_itself_accepts(make, bundle):
    ours, made = (json.loads(Path(p, "manifest.json").read_text()) for p in (bundle, make()))
    assert {*ours} == {*made}
    shutil.rmtree(make("again"))
