"""JPEG file to embedding: PyTorch eager against the engine, same backbone, same pictures, in one run.

    MOVIE_TAGGER_DATA=... python benchmarks/features.py [--pictures 1500] [--rounds 3]

The bound is 1 / (1 / decode-only + 1 / model-only), each measured alone on all cores. Ours is `features.embed` as
users call it: hashing, decoding, computing and writing the cache. Rounds alternate between the contestants; the
median counts.
"""

import argparse
import os
import tempfile
import time

os.environ["MOVIE_TAGGER_CACHE"] = tempfile.mkdtemp()

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch
from common import real_data, report
from PIL import Image

from movie_tagger import features, images
from movie_tagger.features import engine

SIZE = 224


class Posters(torch.utils.data.Dataset):
    "What PyTorch users write: Pillow, resize, tensor."

    def __init__(self, paths):
        self.paths = paths

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, i):
        picture = (
            Image.open(self.paths[i]).convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        )
        return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def eager(paths, module, workers, batch=32):
    loader = torch.utils.data.DataLoader(Posters(paths), batch_size=batch, num_workers=workers)
    with torch.inference_mode():
        return torch.cat([module(x.float()) for x in loader]).numpy()


def timed(f):
    start = time.perf_counter()
    result = f()
    return result, time.perf_counter() - start


def decode_only(paths):
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(partial(images.decode, size=SIZE), paths))


def model_only(run, n):
    batch = np.random.default_rng(0).integers(0, 255, (run.batch, SIZE, SIZE, 3), np.uint8)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda _: run(batch), range(n // run.batch)))


def embed(paths, **how):
    for file in (features.cache_dir() / "embeddings").glob("*"):
        file.unlink()
    return features.embed(paths, **how)[0]


def main():
    parse = argparse.ArgumentParser(description=__doc__)
    parse.add_argument("--pictures", type=int, default=1500)
    parse.add_argument("--rounds", type=int, default=3)
    args = parse.parse_args()
    paths = sorted((real_data() / "posters" / "images").glob("*.jpg"))[: args.pictures]
    n, some = len(paths), paths[:256]
    module, model = features.find("lite0").module(), features.export("lite0")
    table = engine.measure(model.read_bytes(), seconds=2)
    run = engine.ready(model, pictures=n)
    contestants = {
        "eager, no workers": (lambda: eager(some, module, 0), len(some)),
        "eager, a worker a core": (lambda: eager(some, module, os.cpu_count()), len(some)),
        "decode only": (lambda: decode_only(paths), n),
        "model only": (lambda: model_only(run, n), n),
        "ours": (lambda: embed(paths), n),
    }
    if "openvino" in engine.installed():
        contestants["ours, bf16"] = (lambda: embed(paths, precision="bf16"), n)
    speed, results = {name: [] for name in contestants}, {}
    for _ in range(args.rounds):
        for name, (work, count) in contestants.items():
            results[name], seconds = timed(work)
            speed[name].append(count / seconds)
    v = {name: float(np.median(s)) for name, s in speed.items()}
    peer = max(v["eager, no workers"], v["eager, a worker a core"])
    bound = 1 / (1 / v["decode only"] + 1 / v["model only"])
    theirs = results["eager, no workers"]

    def cosine(name):
        ours = results[name][: len(theirs)]
        c = (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
        return f"{c.mean():.5f} (least {c.min():.5f})"

    rows = [
        f"| {name} | {x:.0f} | {x / peer:.2f} | {x / bound:.2f} | "
        f"{cosine(name) if name.startswith('ours') else ''} |"
        for name, x in v.items()
    ]
    report(
        "Features: JPEG to embedding, EfficientNet-Lite0",
        [
            f"{n} posters, {args.rounds} rounds. Engine chosen: {run.backend}, {run.batch} a call.",
            "",
            "| what | images/s | against eager | against the bound | cosine to eager |",
            "|---|---|---|---|---|",
            *rows,
            "",
            f"Bound: {bound:.0f} images/s. Ours is {v['ours'] / peer:.2f}× eager at fp32 and {v['ours'] / bound:.0%} of "
            "the bound.",
            "",
            "Engines measured alone:",
            "",
            "```",
            table.round(0).to_string(index=False),
            "```",
        ],
    )


if __name__ == "__main__":
    main()
