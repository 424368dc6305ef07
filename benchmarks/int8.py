"""An encoder in eight bits: is it faster on this host, and what does it cost?

    python benchmarks/int8.py [--encoder lite0] [--calibrate 128] [--seeds 3]

ONNX Runtime's static quantisation, calibrated on film stills. Both engines take turns, and count by
the processor's seconds, so that others at work mislead nobody. Quality: five folds by film of 960
stills, mean average precision of tags with 25 or more, the head learnt on the embeddings of each.
The quantised one is worth having only if it is faster here and costs at most 0.003.
"""

import argparse
import os
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
from common import real_data, report
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from recipes import SETS, folds_of

from movie_tagger import data, features, images
from movie_tagger.features import engine

COST = 0.003  # of mean average precision, at most


class Stills(CalibrationDataReader):
    "Decoded pictures, four a call."

    def __init__(self, pixels, name):
        calls = range(0, len(pixels), 4)
        self.rest = iter([{name: pixels[i : i + 4]} for i in calls])

    def get_next(self):
        return next(self.rest, None)


def quantised(model, pixels):
    "An encoder whose convolutions compute in eight bits, a scale for each channel."
    folder = Path(tempfile.mkdtemp())
    prepared = folder / "prepared.onnx"
    quant_pre_process(str(model), str(prepared), skip_symbolic_shape=True)
    name = onnxruntime.InferenceSession(prepared, providers=["CPUExecutionProvider"])
    name = name.get_inputs()[0].name
    quantize_static(
        str(prepared),
        str(folder / "int8.onnx"),
        Stills(pixels, name),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["Conv", "Gemm", "MatMul"],
    )
    return folder / "int8.onnx"


def embedded(run, paths, read):
    return np.concatenate([rows for rows, _ in engine.stream(run, paths, read)])


def speeds(runs, rounds=5):
    "Pictures a second of each engine, had it all cores for itself."
    for run in runs:
        run(np.zeros((run.batch, *run.size, 3), np.uint8))
    speed = np.array([[engine._speed(run, run.batch, 0.1) for run in runs] for _ in range(rounds)])
    return engine.compared(speed) * np.median(speed.mean(axis=1))


def main():
    parse = argparse.ArgumentParser(description=__doc__)
    parse.add_argument("--encoder", default="lite0")
    parse.add_argument("--calibrate", type=int, default=128, help="stills to calibrate on")
    parse.add_argument("--seeds", type=int, default=3)
    args = parse.parse_args()
    table = real_data() / SETS["stills"].table
    items, labels = data.usable(*data.read(table, absent=SETS["stills"].absent))
    labels, _ = data.enough(labels, SETS["stills"].least)
    model = features.export(args.encoder)
    size, _ = engine.shape(model.read_bytes())
    read = partial(images.decode, size=size)
    some = items["path"].sample(args.calibrate, random_state=0)
    small = quantised(model, np.stack([read(path) for path in some]))
    names = {"fp32": model, "int8": small}
    runs = {name: engine.ready(path, "onnxruntime") for name, path in names.items()}
    if "openvino" in engine.installed():
        runs |= {f"{name}, OpenVINO": engine.ready(names[name], "openvino") for name in names}
    speed = dict(zip(runs, speeds(list(runs.values()))))
    groups, paths = items["group"], list(items["path"])
    lines = ["| what | MB | pictures/s | mean average precision |", "|---|---|---|---|"]
    for name, run in runs.items():
        x = embedded(run, paths, read)
        seeds = range(args.seeds)
        score = [np.mean(folds_of(x, labels, groups, "squared", seed)) for seed in seeds]
        megabytes = names[name.partition(",")[0]].stat().st_size / 1e6
        each = ", ".join(f"{s:.4f}" for s in score)
        lines.append(
            f"| {name} | {megabytes:.1f} | {speed[name]:.0f} | {np.mean(score):.4f} ({each}) |"
        )
    load = os.getloadavg()[0]
    about = (
        f"{len(items)} stills, {labels.shape[1]} tags, calibrated on {len(some)}; load {load:.0f}."
    )
    report("Encoders in eight bits", [about, "", *lines])


if __name__ == "__main__":
    main()
