"""Encoders of others: ONNX files from here, and from a hub that fails in the ways a hub fails."""

import hashlib
import re

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from movie_tagger.cli import door  # noqa: F401, its commands
from movie_tagger.cli.shared import run
from movie_tagger.core import MovieTaggerError
from movie_tagger.features import catalogue, embed, encoders, engine, onnx_file

pytest_plugins = ["hub"]

ADDRESS = "hf:film/towers@v1/onnx/tower.onnx"
TOML = 'mean = [0.5, 0.5, 0.5]\nstd = [0.25, 0.25, 0.25]\nlicence = "MIT"\n'


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MOVIE_TAGGER_CACHE", str(tmp_path / "cache"))


def tower(kind=TensorProto.FLOAT, shape=("n", 3, 32, 32), name="pixels", extra=(), weights=None):
    "Averages of eight random mixtures of the colours, and an output that nobody wants."
    mix = np.random.default_rng(0).normal(size=(8, 3, 1, 1)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", [name], ["x"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["x", "mix"], ["y"]),
        helper.make_node("GlobalAveragePool", ["y"], ["rows"]),
        helper.make_node("ReduceMax", ["rows"], ["most"], keepdims=0),
        *extra,
    ]
    graph = helper.make_graph(
        nodes,
        "tower",
        [helper.make_tensor_value_info(name, kind, shape)],
        [
            helper.make_tensor_value_info("most", TensorProto.FLOAT, []),
            helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["n", 8, 1, 1]),
        ],
        [weights or numpy_helper.from_array(mix, "mix")],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9), mix[:, :, 0, 0]


def written(folder, model, said=TOML + 'output = "rows"\n'):
    folder.mkdir(exist_ok=True, parents=True)
    onnx.save(model, folder / "tower.onnx")
    (folder / "tower.toml").write_text(said)
    return folder / "tower.onnx"


def rows_of(content, pictures):
    return engine.ready(content, "onnxruntime")(pictures)


@pytest.mark.parametrize("channels", ["RGB", "BGR"])
@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.FLOAT16])
@pytest.mark.parametrize("name", ["pixels", "images"])
def test_what_it_wants_is_what_it_gets(tmp_path, channels, kind, name):
    model, mix = tower(kind, name=name)
    file = written(tmp_path, model, TOML + f'output = "rows"\nchannels = "{channels}"\n')
    content, size, licence = onnx_file.adapted(file)
    assert size == (32, 32) and licence == "MIT"
    pictures = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3), np.uint8)
    values = (pictures / 255 - 0.5) / 0.25
    values = values[..., ::-1] if channels == "BGR" else values
    wanted = values.mean((1, 2)) @ mix.T
    rows = engine.ready(content, "onnxruntime")(pictures)
    assert rows.shape == (3, 8)
    assert np.allclose(rows, wanted, atol=1e-4 if kind == TensorProto.FLOAT else 1e-2)


def test_one_that_takes_our_pictures_needs_no_toml(tmp_path):
    model, _ = tower(TensorProto.UINT8, ("n", 32, 32, 3))
    del model.graph.node[1].attribute[:]
    turn = helper.make_node("Transpose", ["x"], ["turned"], perm=[0, 3, 1, 2])
    model.graph.node.insert(1, turn)
    model.graph.node[2].input[0] = "turned"
    del model.graph.output[0]
    onnx.save(model, tmp_path / "ours.onnx")
    content, size, _ = onnx_file.adapted(tmp_path / "ours.onnx")
    assert engine.shape(content) == ((32, 32), 8)


def other(**changes):
    return tower(**changes)[0]


def outside():
    tensor = TensorProto(name="mix", data_type=TensorProto.FLOAT, dims=[8, 3, 1, 1])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret.bin")
    return other(weights=tensor)


WRONG = {
    "its TOML": (other, TOML + "pixels = 3\n", "holds pixels"),
    "no TOML": (other, None, "is not known: write tower.toml"),
    "not TOML": (other, "mean = [", "is not TOML"),
    "mean": (other, "mean = [1, 2]", "mean must be three numbers"),
    "std": (other, "std = [1, 0, 1]", "none of them 0"),
    "layout": (other, 'layout = "HWC"', "layout must be NCHW or NHWC"),
    "size": (other, TOML + "size = 64\n", "takes [32, 32] pixels, and its TOML says [64, 64]"),
    "output": (other, TOML + 'output = "row"\n', "has no output 'row'; it has most, rows"),
    "first output": (other, TOML, "most gives no row a picture; name another: most, rows"),
    "one at a time": (lambda: other(shape=(1, 3, 32, 32)), TOML, "one picture at a time"),
    "any size": (lambda: other(shape=("n", 3, "h", "w")), TOML, "say which in its TOML"),
    "grey": (lambda: other(shape=("n", 1, 32, 32)), TOML, "takes 1 colours"),
    "not pictures": (lambda: other(shape=("n", 3)), TOML, "not pictures alone"),
    "outside": (outside, TOML, "is no file in its own folder"),
    "operators": (
        lambda: other(extra=[helper.make_node("Do", ["rows"], ["z"], domain="own")]),
        TOML,
        "operators of 'own'",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_file_that_is_no_encoder_is_one_sentence(tmp_path, case):
    make, said, sentence = WRONG[case]
    file = written(tmp_path, make(), said or "")
    if said is None:
        file.with_suffix(".toml").unlink()
    with pytest.raises(MovieTaggerError, match=re.escape(sentence)):
        encoders.export(str(file))


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n", b"PK\x03\x04", b"<html>"])
def test_what_is_no_onnx_at_all(tmp_path, content):
    (tmp_path / "tower.onnx").write_bytes(content)
    with pytest.raises(MovieTaggerError, match="not in the ONNX format"):
        encoders.find(str(tmp_path / "tower.onnx"))
    with pytest.raises(MovieTaggerError, match="cannot be read: No such file"):
        encoders.export(str(tmp_path / "nothing.onnx"))


def test_weights_in_the_same_folder_are_taken_in(tmp_path):
    model, _ = tower()
    whole = written(tmp_path / "whole", model)
    parts = tmp_path / "parts" / "tower.onnx"
    written(tmp_path / "parts", model)
    onnx.save(model, parts, save_as_external_data=True, location="w.bin", size_threshold=0)
    pictures = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3), np.uint8)
    alone = rows_of(onnx_file.adapted(whole)[0], pictures)
    assert np.array_equal(rows_of(onnx_file.adapted(parts)[0], pictures), alone)


def test_a_changed_file_is_another_encoder(tmp_path):
    from PIL import Image

    model, _ = tower()
    file = written(tmp_path / "a", model)
    Image.new("RGB", (64, 48), "orange").save(tmp_path / "orange.png")
    first, errors = embed([tmp_path / "orange.png"], encoder=str(file))
    assert first.shape == (1, 8) and errors.isna().all()
    file.with_suffix(".toml").write_text(TOML.replace("0.25", "0.5") + 'output = "rows"\n')
    second, _ = embed([tmp_path / "orange.png"], encoder=str(file))
    assert np.allclose(first, 2 * second, atol=1e-4)
    with pytest.raises(MovieTaggerError, match="not trained further"):
        encoders.find(str(file)).module()
    with pytest.raises(MovieTaggerError, match="its size and its weights are fixed"):
        encoders.find(f"{file}@64")


# --- a hub


@pytest.fixture
def hub(empty_hub):
    empty_hub.files["tower.onnx"] = tower()[0].SerializeToString()
    return empty_hub


def wants_file(tmp_path):
    (tmp_path / "wants.toml").write_text(TOML + 'output = "rows"\n')
    return tmp_path / "wants.toml"


def test_a_file_of_the_hub_is_fetched_once_and_tried(tmp_path, hub):
    toml = wants_file(tmp_path)
    digest = hashlib.sha256(hub.files["tower.onnx"]).hexdigest()
    said = run(f"encoders get {ADDRESS} --as mine --wants {toml} --sha256 {digest}")
    assert "mine is here: 32 x 32 pixels; licence: MIT" in said
    assert engine.shape(encoders.export("mine").read_bytes()) == ((32, 32), 8)
    asked = len(hub.asked)
    catalogue.get(ADDRESS, "again", toml, offline=True)
    assert len(hub.asked) == asked, "the network was asked although it must not be"
    assert {"mine", "again"} <= {*catalogue.table().index}
    assert "forgotten" in run("encoders forget again") and catalogue.got() == ["mine"]


def test_a_fetch_that_was_cut_off_goes_on_where_it_was(tmp_path, hub, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 100)
    hub.cuts = [250]
    catalogue.get(ADDRESS, "mine", wants_file(tmp_path))
    assert catalogue.got() == ["mine"]
    starts = [begin for method, path, begin in hub.asked if method == "GET" and "store" in path]
    assert starts == [None, "bytes=200-"]


@pytest.mark.parametrize(
    "what, said",
    [
        ("hf:gated/towers/tower.onnx", "accepted its terms"),
        ("hf:film/nothing/tower.onnx", "no such repository, or it is private"),
        ("hf:film/towers@v1/other.onnx", "has no file other.onnx"),
        ("hf:film/towers@v2/tower.onnx", "no revision 'v2'"),
        ("hf:film/towers", "not of the form"),
        ("hf:film/towers@v1/tower.bin", "not of the form"),
        ("hf:film/../../etc/tower.onnx", "cannot be fetched"),
    ],
)
def test_what_the_hub_refuses_is_one_sentence(tmp_path, hub, what, said):
    with pytest.raises(MovieTaggerError, match=said):
        catalogue.get(what, "mine", wants_file(tmp_path))


def test_a_checksum_a_name_and_a_network_that_are_wrong(tmp_path, hub, monkeypatch):
    toml = wants_file(tmp_path)
    with pytest.raises(MovieTaggerError, match="has the SHA-256 .*it is not used"):
        catalogue.get(ADDRESS, "mine", toml, sha256="0" * 64)
    with pytest.raises(MovieTaggerError, match="is the name of another encoder"):
        catalogue.get(ADDRESS, "lite0", toml)
    with pytest.raises(MovieTaggerError, match="is no name"):
        catalogue.get(ADDRESS, "../mine", toml)
    with pytest.raises(MovieTaggerError, match="is no file"):
        catalogue.get("lite0", "mine")
    with pytest.raises(MovieTaggerError, match="No encoder was got under the name 'mine'"):
        catalogue.forget("mine")
    with pytest.raises(MovieTaggerError, match="not fetched before"):
        catalogue.get("hf:film/towers@v1/late.onnx", "mine", toml, offline=True)
    with pytest.raises(MovieTaggerError, match="cannot be reached"):
        catalogue.get("datacomp", offline=True)
