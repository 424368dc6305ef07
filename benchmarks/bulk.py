"""Tagging many pictures: fastai's `get_preds`, Ray Data the obvious way, and ours, in one run.

    python benchmarks/bulk.py [--quick] [--pictures 1500] [--rounds 3] [--ray]

All answer with the same encoder and head on all cores. The bound is 1 / (1 / decode-only + 1 /
model-only), each measured alone. Ours is a whole run: list, hashes, parts, tables, with an empty
cache; "the next champion" is the same with the embeddings kept. Rounds alternate between the
contestants; the median counts. `--ray` adds Ray Data with a batch of pixels a row, as its guide
has it, and ours by `--backend ray`; starting Ray counts for neither. `--quick` is one round of 200.
"""

import argparse
import logging
import os
import shutil
import tempfile
import time

os.environ["MOVIE_TAGGER_CACHE"] = tempfile.mkdtemp()

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from common import report
from features import decode_only, model_only, pictures
from PIL import Image

from movie_tagger import data, features, learn, models
from movie_tagger.bulk import Picture, tag
from movie_tagger.core import cache_dir, counted
from movie_tagger.features import engine

SIZE = 224
WORK = Path(tempfile.mkdtemp())


def trained(paths):
    "A bundle with twenty tags, drawn by lot: the speed does not depend on what they are."
    some = pd.Series([str(path) for path in paths[:100]])
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"image": some, "tags": ""})
    tags = [", ".join(f"t{k}" for k in np.flatnonzero(rng.random(20) < 0.3)) for _ in some]
    table.assign(tags=tags).to_csv(WORK / "some.csv", index=False)
    items, labels = data.read(WORK / "some.csv", absent="no")
    return models.load(models.save(learn.recipes.train(items, labels), WORK / "bundle"))


def empty_cache():
    for file in cache_dir("embeddings").iterdir():
        file.unlink()


def ours(bundle, paths, backend="local", keep=False):
    if not keep:
        empty_cache()
    shutil.rmtree(WORK / "run", ignore_errors=True)
    listed = [Picture(str(path), str(path)) for path in paths]
    tag(bundle, listed, WORK / "run", ["all"], backend, tags=WORK / "t.csv", scores=WORK / "s.csv")


def fastai(paths, workers):
    "What fastai's guide has: a DataLoader over the files, and `get_preds`."
    from fastai.vision.all import DataBlock, ImageBlock, Learner, Resize

    block = DataBlock(blocks=ImageBlock, item_tfms=Resize(SIZE, method="squish"))
    loaders = block.dataloaders(paths, bs=32, num_workers=workers, verbose=False)
    module = torch.nn.Sequential(features.find("lite0").module(), torch.nn.Linear(2024, 20)).eval()
    learner = Learner(loaders, module, loss_func=torch.nn.functional.mse_loss)
    test = loaders.test_dl(paths, num_workers=workers)
    with learner.no_bar():
        return learner.get_preds(dl=test)


class Answer:
    "The obvious actor: a session, and a batch of pixels a call."

    def __init__(self, model):
        import onnxruntime

        self.session = onnxruntime.InferenceSession(model)

    def __call__(self, batch):
        batch["logits"] = self.session.run(None, {"images": batch.pop("pixels")})[0]
        return batch


def pixels(row):
    with Image.open(row["path"]) as picture:
        small = picture.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    return {"path": row["path"], "pixels": np.array(small)}


def ray_data(bundle, paths):
    "Decode in one stage, answer in the next, as Ray's guide to batch inference has it."
    import ray

    rows = ray.data.from_items([{"path": str(path)} for path in paths])
    strategy = ray.data.ActorPoolStrategy(size=1)
    told = rows.map(pixels).map_batches(
        Answer,
        fn_constructor_args=((bundle.path / "model.onnx").read_bytes(),),
        batch_size=16,
        compute=strategy,
    )
    told.write_parquet(str(WORK / "ray"))


def contestants(bundle, paths, run, with_ray):
    "By name, what is done and with how many pictures."
    some = paths[:256]
    cores = os.cpu_count()
    found = {
        "fastai get_preds, no workers": (lambda: fastai(some, 0), len(some)),
        "fastai get_preds, a worker a core": (lambda: fastai(some, cores), len(some)),
        "decode only": (lambda: decode_only(paths), len(paths)),
        "model only": (lambda: model_only(run, len(paths)), len(paths)),
        "ours": (lambda: ours(bundle, paths), len(paths)),
        "ours, the next champion": (lambda: ours(bundle, paths, keep=True), len(paths)),
    }
    if with_ray:
        found["Ray Data, the obvious way"] = (lambda: ray_data(bundle, paths), len(paths))
        found["ours, on Ray"] = (lambda: ours(bundle, paths, "ray"), len(paths))
    return found


def begin_ray():
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    import ray

    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    ray.init(address="local", include_dashboard=False, **quiet)
    import ray.data

    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)


def measured(works, rounds):
    "By name, pictures a second, in the middle of the rounds."
    speed = {name: [] for name in works}
    for _ in range(rounds):
        for name, (work, count) in works.items():
            start = time.perf_counter()
            work()
            speed[name].append(count / (time.perf_counter() - start))
    return {name: float(np.median(v)) for name, v in speed.items()}


def main():
    parse = argparse.ArgumentParser(description=__doc__)
    parse.add_argument("--quick", action="store_true", help="one round of 200 pictures")
    parse.add_argument("--pictures", type=int, default=1500)
    parse.add_argument("--rounds", type=int, default=3)
    parse.add_argument("--ray", action="store_true", help="with Ray, which must be installed")
    args = parse.parse_args()
    torch.set_num_threads(os.cpu_count())  # also where OMP_NUM_THREADS says less
    rounds = 1 if args.quick else args.rounds
    paths, what = pictures(200 if args.quick else args.pictures)
    bundle = trained(paths)
    if args.ray:
        begin_ray()
    run = engine.ready(features.export("lite0"), pictures=1500)
    load = os.getloadavg()[0]
    speed = measured(contestants(bundle, paths, run, args.ray), rounds)
    peer = max(v for name, v in speed.items() if name.startswith("fastai"))
    bound = 1 / (1 / speed["decode only"] + 1 / speed["model only"])
    rows = [f"| {name} | {v:.0f} | {v / peer:.2f} | {v / bound:.2f} |" for name, v in speed.items()]
    report(
        "Bulk: files to tables, EfficientNet-Lite0 with a linear head",
        [
            f"{len(paths)} {what}, {counted(rounds, 'round')}; the load before it was {load:.1f} "
            f"on {os.cpu_count()} cores. Engine chosen: {run.backend}, {run.batch} a call.",
            "",
            "| what | pictures/s | against fastai | against the bound |",
            "|---|---|---|---|",
            *rows,
        ],
    )


if __name__ == "__main__":
    main()
