"A small bundle and many small pictures: in tests of bulk work the model is not what counts."

from types import SimpleNamespace

import numpy as np
from onnx import TensorProto, helper
from PIL import Image

from movie_tagger import models

TAGS = ["red", "green", "blue"]
SIZE = 16


def onnx_model(weight):
    "Mean colour, and a linear head on it."
    floats = TensorProto.FLOAT
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", SIZE, SIZE, 3])
    logits = helper.make_tensor_value_info("logits", floats, ["n", 3])
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], to=floats),
        helper.make_node("ReduceMean", ["float", "axes"], ["embedding"], keepdims=0),
        helper.make_node("Gemm", ["embedding", "weight", "bias"], ["logits"]),
    ]
    constants = [
        helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2]),
        helper.make_tensor("weight", floats, [3, 3], np.float32(weight).ravel()),
        helper.make_tensor("bias", floats, [3], np.float32([-2, -2, -2])),
    ]
    graph = helper.make_graph(nodes, "mean colour", [images], [logits], constants)
    opsets = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()


def small_bundle(path, scale=1.0, **more):
    "A bundle that tells colours; another `scale` is another head on the same encoder."
    model = SimpleNamespace(
        onnx=onnx_model(scale * np.eye(3) / 64),
        tags=TAGS,
        kind="multi",
        input={"size": [SIZE, SIZE], "crop_bars": False},
        thresholds=[0.5] * 3,
        evaluation=None,
        trained_on=[],
        encoder="colour",
        licence="Apache-2.0",
        recipe="head",
        settings={},
    )
    models.save(model, path)
    if more:
        models.amend(path, **more)
    return path


def small_pictures(folder, count):
    "So many different pictures; every fiftieth is a web page instead."
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i, colour in enumerate(rng.integers(0, 256, (count, 3), np.uint8)):
        path = folder / f"{i:05}.png"
        if i % 50 == 49:
            path.write_text(f"<html>{i}</html>")
        else:
            Image.new("RGB", (SIZE, SIZE), tuple(map(int, colour))).save(path)
    return folder
