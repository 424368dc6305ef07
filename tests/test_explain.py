"Where a model looked: the parts add up to its logits, on every engine, and lie where things are."

import json
import shutil

import numpy as np
import onnx
import pytest
from conftest import draw_poster
from onnx import TensorProto, helper, numpy_helper
from PIL import Image, ImageDraw

from movie_tagger import features, images
from movie_tagger.core import MovieTaggerError, sha256, write_json
from movie_tagger.features import engine
from movie_tagger.features.places import NoPlaces, shares, with_places
from movie_tagger.judge.explanation import Explanation
from movie_tagger.learn.head import Head, compose
from movie_tagger.models import answers
from movie_tagger.models.bundle import _checksum
from movie_tagger.models.explainer import Explainer

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")


def red(last="Identity", size=16):
    "A model of two tags, `red` and `not red`, that listens to average colours."
    constants = {
        "mean": np.array([50, 50, 50], np.float32),
        "spread": np.array([100, 100, 100], np.float32),
        "weight": np.array([[4, -4], [-4, 2], [-4, 2]], np.float32),
        "bias": np.array([-1, 0], np.float32),
        "axes": np.array([2, 3]),
    }
    nodes = [
        helper.make_node("Cast", ["images"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["real"], ["maps"], perm=[0, 3, 1, 2]),
        helper.make_node("ReduceMean", ["maps", "axes"], ["average"], keepdims=0),
        helper.make_node("Sub", ["average", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "spread"], ["standard"]),
        helper.make_node(last, ["standard"], ["heard"]),
        helper.make_node("Gemm", ["heard", "weight", "bias"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "red",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", size, size, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opset = [helper.make_opsetid("", 20)]
    return helper.make_model(graph, opset_imports=opset, ir_version=10).SerializeToString()


def explains_red(**given):
    manifest = {
        "tags": ["red", "not red"],
        "kind": "multi",
        "thresholds": [0.5, 0.5],
        "input": {"size": [16, 16], **given},
    }
    return Explainer.of(red(), manifest, "onnxruntime")


def noise(n, size):
    return np.random.default_rng(0).integers(0, 256, (n, *size, 3), np.uint8)


def assert_sums(model, pictures, backend):
    said = engine.ready(model, backend)(pictures)
    parts = engine.ready(with_places(model), backend)(pictures)
    assert parts.shape[:2] == said.shape
    assert np.abs(parts.sum((2, 3)) - said).max() < 1e-4 * max(1, np.abs(said).max() / 10)


# --- the parts add up


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_the_parts_add_up_to_the_logits(bundle, new_posters, backend):
    if backend not in engine.installed():
        pytest.skip(f"{backend} is not installed")
    model = answers.load(bundle)
    content = (bundle / "model.onnx").read_bytes()
    paths = sorted(new_posters.rglob("*.jpg"))[:4]
    pictures = np.stack([images.decode(p, **model.manifest["input"]) for p in paths])
    assert_sums(content, pictures, backend)
    assert_sums(content, noise(2, pictures.shape[1:3]), backend)


def test_encoders_of_other_makers_add_up():
    encoder = features.export("resnet10t@64", "random").read_bytes()
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(engine.shape(encoder)[1], 3)).astype(np.float32)
    model = compose(encoder, Head(["a", "b", "c"], "multi", weight / 20, weight[0], None))
    assert_sums(model, noise(2, (64, 64)), "onnxruntime")


def test_layers_before_the_logits_that_are_affine_are_carried_along():
    "Such as a calibration: another slope and another shift for each tag."
    model = onnx.load_model_from_string(red())
    graph = model.graph
    slope, shift = np.array([0.5, 2], np.float32), np.array([3, -1], np.float32)
    graph.initializer.append(numpy_helper.from_array(slope, "slope"))
    graph.initializer.append(numpy_helper.from_array(shift, "shift"))
    graph.node.append(helper.make_node("Mul", ["slope", "logits"], ["steep"]))
    graph.node.append(helper.make_node("Add", ["steep", "shift"], ["calibrated"]))
    graph.output[0].name = "calibrated"
    assert_sums(model.SerializeToString(), noise(3, (16, 16)), "onnxruntime")


def between(*more, size=16, **constants):
    "The model that listens to average colours, with these nodes between `average` and `centred`."
    model = onnx.load_model_from_string(red(size=size))
    graph = model.graph
    at = [node.output[0] for node in graph.node].index("average") + 1
    for node in reversed(more):
        graph.node.insert(at, node)
    graph.node[at + len(more)].input[0] = more[-1].output[0]
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph.initializer.extend(tensors)
    return model.SerializeToString()


def picked_anew(order):
    "The averages picked one after another, as torch writes a ResNet's, in an order of colours."
    return between(
        helper.make_node("Shape", ["images"], ["many"], end=1),
        helper.make_node("Squeeze", ["many"], ["n"]),
        helper.make_node("Range", ["zero", "n", "one"], ["pictures"]),
        helper.make_node("Mul", ["pictures", "three"], ["firsts"]),
        helper.make_node("Unsqueeze", ["firsts", "side"], ["column"]),
        helper.make_node("Add", ["column", "colours"], ["index"]),
        helper.make_node("Reshape", ["average", "all"], ["row"]),
        helper.make_node("Gather", ["row", "index"], ["picked"], axis=0),
        zero=np.array(0),
        one=np.array(1),
        three=np.array(3),
        side=np.array([1]),
        colours=np.array([order]),
        all=np.array([-1]),
    )


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_averages_that_are_picked_in_their_order_are_followed(backend):
    if backend not in engine.installed():
        pytest.skip(f"{backend} is not installed")
    assert_sums(picked_anew([0, 1, 2]), noise(3, (16, 16)), backend)


@pytest.mark.parametrize("order", [[2, 1, 0], [0, 0, 2], [1, 2, 3]])
def test_averages_that_are_picked_in_another_order_are_refused(order):
    with pytest.raises(NoPlaces, match="a choice among"):
        with_places(picked_anew(order))


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_layer_normalisation_of_the_averages_is_followed(backend):
    "As in a ConvNeXt, where the averages are laid out anew before."
    if backend not in engine.installed():
        pytest.skip(f"{backend} is not installed")
    model = between(
        helper.make_node("Unsqueeze", ["average", "sides"], ["tall"]),
        helper.make_node("Transpose", ["tall"], ["flat"], perm=[0, 2, 3, 1]),
        helper.make_node("LayerNormalization", ["flat", "gain", "more"], ["level"], epsilon=0.5),
        helper.make_node("Flatten", ["level"], ["normal"]),
        sides=np.array([2, 3]),
        gain=np.array([40, 10, 30], np.float32),
        more=np.array([5, 0, -3], np.float32),
    )
    assert_sums(model, noise(3, (16, 16)), backend)


@pytest.mark.parametrize("n, m", [(7, 28), (7, 16), (9, 33), (5, 3), (1, 4), (6, 6)])
def test_nothing_is_lost_between_grids(n, m):
    made = shares(n, m)
    assert made.shape == (m, n) and np.allclose(made.sum(0), 1, atol=1e-6) and (made >= 0).all()


@pytest.mark.parametrize("kind", ["Relu", "Softplus"])
def test_what_is_not_linear_is_named(kind):
    with pytest.raises(NoPlaces, match=kind):
        with_places(red(kind))


def test_a_bundle_from_before_explains_too_and_stays_as_it_is(bundle, new_posters, tmp_path):
    old = shutil.copytree(bundle, tmp_path / "old")
    before = {p.name: p.read_bytes() for p in old.iterdir()}
    model = answers.load(old)
    picture = next(new_posters.rglob("*.jpg"))
    found = model.explain(picture)
    assert found.tags == model.tags
    said = model.predict([picture]).to_numpy()[0]
    odds = np.exp(found.logits - found.logits.max())
    assert np.allclose(odds / odds.sum(), said, atol=1e-4)
    leads = found.lead.sum((1, 2))
    assert (leads > 0).tolist() == (said == said.max()).tolist()
    assert {p.name: p.read_bytes() for p in old.iterdir()} == before


# --- where they lie


def picture_with_red(size, box, bars=0):
    im = Image.new("RGB", size, "black" if bars else "#7a7a7a")
    pen = ImageDraw.Draw(im)
    if bars:
        pen.rectangle((0, bars, size[0] - 1, size[1] - 1 - bars), fill="#7a7a7a")
    pen.rectangle(box, fill="#ff0000")
    return im


def is_inside(point, box, size):
    x, y = point[0] * size[0], point[1] * size[1]
    return box[0] <= x <= box[2] and box[1] <= y <= box[3]


@pytest.mark.parametrize(
    "given, size, box, bars",
    [
        ({}, (300, 160), (220, 20, 280, 50), 0),
        ({}, (90, 400), (10, 300, 50, 380), 0),
        ({"resize": "squish exactly"}, (300, 160), (10, 100, 60, 150), 0),
        ({"resize": "crop"}, (400, 160), (240, 20, 275, 55), 0),
        ({"resize": "crop"}, (120, 400), (20, 140, 50, 170), 0),
        ({"crop_bars": True}, (300, 200), (230, 40, 280, 70), 30),
    ],
)
def test_the_warmest_place_is_in_the_coordinates_of_the_picture(given, size, box, bars):
    im = picture_with_red(size, box, bars)
    found = explains_red(**given).explain(im, "red")
    assert is_inside(found.warmest("red"), box, size)


@pytest.mark.parametrize("given", [{}, {"resize": "crop"}])
def test_a_photograph_that_lies_on_its_side_is_explained_upright(tmp_path, given):
    im = picture_with_red((400, 300), (170, 20, 230, 80))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    im.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    found = explains_red(**given).explain(tmp_path / "turned.jpg", "red")
    assert is_inside(found.warmest("red"), (220, 170, 280, 230), (300, 400))
    assert found.draw(tmp_path / "turned.jpg", "red", 200).size == (150, 200)


def test_the_drawing_says_its_sign_without_colours():
    lead = np.zeros((8, 8), np.float32)
    lead[:, :3], lead[:, 5:] = -0.1, 0.1
    found = Explanation(["red"], lead[None], lead[None])
    grey = np.asarray(found.draw(Image.new("RGB", (64, 64), "#808080"), "red", 64).convert("L"))
    against, nothing, spoke = (int(np.median(grey[:, x])) for x in (5, 31, 50))
    assert against < nothing - 25 and spoke > nothing + 25


def test_coarser_keeps_the_sums():
    parts = np.random.default_rng(0).normal(size=(2, 28, 33)).astype(np.float32)
    made = Explanation(["a", "b"], parts, parts).coarser(14)
    assert made.parts.shape == (2, 14, 14)
    assert np.allclose(made.logits, parts.sum((1, 2)), atol=1e-4)


# --- what is refused


@pytest.mark.parametrize("tags", ["rde", ["red", "green"], [""], [None]])
def test_a_tag_that_is_not_there_is_refused(tags):
    with pytest.raises(MovieTaggerError, match="There is no tag"):
        explains_red().explain(Image.new("RGB", (20, 20)), tags)


def test_no_tags_give_an_empty_explanation():
    found = explains_red().explain(Image.new("RGB", (20, 20)), [])
    assert found.parts.shape == (0, 16, 16) and found.logits.shape == (0,)


def test_what_is_no_picture_is_refused(bundle, tmp_path):
    (tmp_path / "no.jpg").write_text("no picture")
    with pytest.raises(images.BadPicture):
        answers.load(bundle).explain(tmp_path / "no.jpg")
    with pytest.raises(images.BadPicture):
        answers.load(bundle).explain(tmp_path / "nothing.jpg")


def test_a_model_that_changed_on_disk_is_not_explained(bundle, tmp_path):
    own = shutil.copytree(bundle, tmp_path / "own")
    model = answers.load(own)
    (own / "model.onnx").write_bytes(red())
    with pytest.raises(MovieTaggerError, match="has changed"):
        model.explain(draw_poster(tmp_path / "p.jpg", "horror", 1))


def not_a_sum(bundle, path):
    "A copy of a bundle whose model goes through something crooked behind its averages."
    shutil.copytree(bundle, path)
    (path / "model.onnx").write_bytes(red("Relu"))
    manifest = json.loads((path / "manifest.json").read_text())
    manifest |= {"tags": ["red", "not red"], "input": {"size": [16, 16], "crop_bars": False}}
    manifest["checksums"]["model.onnx"] = sha256(path / "model.onnx")
    manifest["evaluation"] = None
    write_json(path / "manifest.json", manifest | {"checksum": _checksum(manifest)})
    return path


def test_a_bundle_whose_logits_are_no_sums_says_so(tmp_path, bundle):
    model = answers.load(not_a_sum(bundle, tmp_path / "own"))
    picture = draw_poster(tmp_path / "p.jpg", "horror", 1)
    assert model.predict([picture]).notna().all(axis=None)
    with pytest.raises(NoPlaces, match="Relu"):
        model.explain(picture)
