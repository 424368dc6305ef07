"""JPEG file to embedding: PyTorch eager against the engine, same backbone and pictures, in one run.

    python benchmarks/features.py [--quick] [--pictures 1500] [--rounds 3]

The bound is 1 / (1 / decode-only + 1 / model-only), each measured alone on all cores. Ours is
`features.embed` as users call it: hashing, decoding, computing and writing the cache. Rounds
alternate between the contestants; the median counts. The pictures are the posters of
MOVIE_TAGGER_DATA, or drawn ones where it is not set. `--quick` is one round of 200.
"""

import argparse
import os
import tempfile
import time

os.environ["MOVIE_TAGGER_CACHE"] = tempfile.mkdtemp()

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from common import report
from PIL import Image

from movie_tagger import features, images
from movie_tagger.core import cache_dir, counted
from movie_tagger.features import engine
from movie_tagger.sample.make import draw_posters

SIZE = 224


class Posters(torch.utils.data.Dataset):
    "What PyTorch users write: Pillow, resize, tensor."

    def __init__(self, paths):
        self.paths = paths

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, i):
        picture = Image.open(self.paths[i]).convert("RGB")
        small = picture.resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(small)).permute(2, 0, 1)


def pictures(count):
    "Paths of real posters, or of drawn ones, and what they are."
    folder = os.environ.get("MOVIE_TAGGER_DATA")
    if folder:
        found = sorted((Path(folder) / "posters" / "images").glob("*.jpg"))[:count]
        return found, "posters"
    drawn = Path(tempfile.mkdtemp()) / "posters"
    draw_posters(drawn, count, wrong=0, copies=0)
    return images.find_images(drawn), "drawn posters"


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
    for file in cache_dir("embeddings").iterdir():
        file.unlink()
    return features.embed(paths, **how)[0]


def contestants(paths, run):
    "By name, what is done and with how many pictures."
    module = features.find("lite0").module()
    some = paths[:256]
    found = {
        "eager, no workers": (lambda: eager(some, module, 0), len(some)),
        "eager, a worker a core": (lambda: eager(some, module, os.cpu_count()), len(some)),
        "decode only": (lambda: decode_only(paths), len(paths)),
        "model only": (lambda: model_only(run, len(paths)), len(paths)),
        "ours": (lambda: embed(paths), len(paths)),
    }
    if "openvino" in engine.installed():
        found["ours, bf16"] = (lambda: embed(paths, precision="bf16"), len(paths))
    return found


def measured(works, rounds):
    "By name, pictures a second and the last result."
    speed = {name: [] for name in works}
    results = {}
    for _ in range(rounds):
        for name, (work, count) in works.items():
            results[name], seconds = timed(work)
            speed[name].append(count / seconds)
    return {name: float(np.median(v)) for name, v in speed.items()}, results


def cosine(ours, theirs):
    "How alike two sets of embeddings (n, d) are, in words."
    ours = ours[: len(theirs)]
    c = (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
    return f"{c.mean():.5f} (least {c.min():.5f})"


def main():
    parse = argparse.ArgumentParser(description=__doc__)
    parse.add_argument("--quick", action="store_true", help="one round of 200 pictures")
    parse.add_argument("--pictures", type=int, default=1500)
    parse.add_argument("--rounds", type=int, default=3)
    args = parse.parse_args()
    torch.set_num_threads(os.cpu_count())  # also where OMP_NUM_THREADS says less
    rounds = 1 if args.quick else args.rounds
    paths, what = pictures(200 if args.quick else args.pictures)
    model = features.export("lite0")
    table = engine.measure(model.read_bytes(), seconds=0.2 if args.quick else 2)
    run = engine.ready(model, pictures=1500)
    speed, results = measured(contestants(paths, run), rounds)
    peer = max(speed["eager, no workers"], speed["eager, a worker a core"])
    bound = 1 / (1 / speed["decode only"] + 1 / speed["model only"])
    theirs = results["eager, no workers"]
    rows = []
    for name, v in speed.items():
        alike = cosine(results[name], theirs) if name.startswith("ours") else ""
        rows.append(f"| {name} | {v:.0f} | {v / peer:.2f} | {v / bound:.2f} | {alike} |")
    report(
        "Features: JPEG to embedding, EfficientNet-Lite0",
        [
            f"{len(paths)} {what}, {counted(rounds, 'round')}. "
            f"Engine chosen: {run.backend}, {run.batch} a call.",
            "",
            "| what | images/s | against eager | against the bound | cosine to eager |",
            "|---|---|---|---|---|",
            *rows,
            "",
            f"Bound: {bound:.0f} images/s. Ours is {speed['ours'] / peer:.2f}× eager at fp32 and "
            f"{speed['ours'] / bound:.0%} of the bound.",
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
