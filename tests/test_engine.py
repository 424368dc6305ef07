"What running a model leaves behind, and whom it tells."

import os
import subprocess
import sys

RUN = """
import numpy as np
from movie_tagger.features import engine
from onnx import TensorProto, helper
graph = helper.make_graph([helper.make_node("Cast", ["images"], ["rows"], to=TensorProto.FLOAT)], "as it is",
    [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", 1, 1, 3])],
    [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["n", 1, 1, 3])])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()
assert engine.backends["onnxruntime"](model, "fp32", 1)(np.ones((1, 1, 1, 3), np.uint8)).sum() == 3
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
