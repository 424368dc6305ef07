"""Training to the same accuracy: plain fastai `fine_tune(4)` against a head on frozen features, same backbone,
pictures and folds.

    MOVIE_TAGGER_DATA=... python benchmarks/train.py [--folds 5] [--only K ...] [--finetune] [--save FILE.npz]

Time for ours is from the files to the fitted head, embedding included, with no embedding in the cache; what is done
once a machine, the encoder's export to ONNX and the choice of an engine, is printed by itself. With --save, folds
that are in the file already are not run again, so that a run that was stopped goes on.
"""

import argparse
import os
import tempfile
import time

os.environ["MOVIE_TAGGER_CACHE"] = tempfile.mkdtemp()

import numpy as np
import pandas as pd
from common import lite0_weights, real_data, report
from fastai.vision.all import (
    CategoryBlock,
    ColReader,
    DataBlock,
    ImageBlock,
    IndexSplitter,
    Resize,
    accuracy,
    aug_transforms,
    set_seed,
    vision_learner,
)

from movie_tagger import data, features
from movie_tagger.core import cache_dir
from movie_tagger.features import engine
from movie_tagger.judge.evaluation import evaluate, paired_difference
from movie_tagger.learn import finetune, head
from movie_tagger.models import bundle, load


def fastai_fold(items, label, valid, seed):
    "Probabilities of the held-out pictures from fastai's usual recipe, and seconds."
    start = time.perf_counter()
    set_seed(seed)
    frame = pd.DataFrame({"path": items["path"].to_numpy(), "label": label.to_numpy()})
    dls = DataBlock(
        (ImageBlock, CategoryBlock),
        get_x=ColReader("path"),
        get_y=ColReader("label"),
        splitter=IndexSplitter(np.flatnonzero(valid)),
        item_tfms=Resize(224),
        batch_tfms=aug_transforms(),
    ).dataloaders(frame, bs=64, num_workers=0)
    learn = vision_learner(dls, "tf_efficientnet_lite0", metrics=accuracy, pretrained=False)
    learn.model[0].model.load_state_dict(lite0_weights(), strict=False)
    learn.freeze()
    with learn.no_bar():
        learn.fine_tune(4)
    with learn.no_bar():
        p, _ = learn.get_preds(ds_idx=1)
    return p.numpy(), list(dls.vocab), time.perf_counter() - start


def head_fold(items, labels, valid):
    "The same from our head, with no embedding in the cache."
    for path in cache_dir("embeddings").iterdir():
        path.unlink()
    start = time.perf_counter()
    x, _ = features.embed(items)
    fitted, _ = head.fit(x[~valid], labels[~valid], items["group"][~valid])
    return fitted.probabilities(x[valid]), time.perf_counter() - start


def finetune_fold(items, labels, valid):
    "The same from our fine-tuning recipe, the head it starts from included."
    start = time.perf_counter()
    model = finetune.recipe(items[~valid], labels[~valid])
    seconds = time.perf_counter() - start  # its export to ONNX included
    with tempfile.TemporaryDirectory() as folder:
        return load(bundle.save(model, folder + "/tuned")).predict(
            items["path"][valid]
        ).to_numpy(), seconds


def main():
    parse = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parse.add_argument("--folds", type=int, default=5)
    parse.add_argument("--only", type=int, nargs="*", help="run these folds alone")
    parse.add_argument("--finetune", action="store_true", help="measure the recipe `finetune` too")
    parse.add_argument(
        "--save",
        help="keep the probabilities and seconds in this file after each fold, and go on from it",
    )
    args = parse.parse_args()
    items, labels = data.usable(*data.read(real_data() / "genre3" / "genres.csv"))
    label = labels.astype(bool).idxmax(axis=1)
    fold = data.folds(items["group"], args.folds, "outer 0")
    start = time.perf_counter()
    model = features.export("lite0").read_bytes()
    engine.choose(model)
    once = time.perf_counter() - start
    recipes = {
        "fastai": lambda valid, k: _in_order(fastai_fold(items, label, valid, k), labels),
        "head": lambda valid, k: head_fold(items, labels, valid),
    }
    if args.finetune:
        recipes["finetune"] = lambda valid, k: finetune_fold(items, labels, valid)
    p = {name: np.full(labels.shape, np.nan, np.float32) for name in recipes}
    seconds = {name: np.full(args.folds, np.nan) for name in recipes}
    if args.save and os.path.exists(args.save):
        with np.load(args.save) as kept:
            for name in recipes:
                if name in kept:
                    p[name], seconds[name] = kept[name], kept["seconds " + name]
    for k in args.only or range(args.folds):
        for name, run in recipes.items():
            if np.isnan(seconds[name][k]):
                p[name][fold == k], seconds[name][k] = run(fold == k, k)
        print(
            f"fold {k}: " + ", ".join(f"{name} {seconds[name][k]:.1f} s" for name in recipes),
            flush=True,
        )
        if args.save:
            np.savez(args.save, **p, **{"seconds " + name: s for name, s in seconds.items()})
    done = ~np.isnan(p["fastai"][:, 0])
    y, groups = data.to_array(labels)[done], items["group"][done]

    def line(name, what):
        m = evaluate(y, p[name][done], list(labels), "single", groups).metrics["accuracy"]
        return (
            f"| {what} | {m['value']:.3f} | {m['low']:.3f} – {m['high']:.3f} | {m['baseline']:.3f} | "
            f"{np.nanmean(seconds[name]):.1f} |"
        )

    def gain(name):
        d = paired_difference(y, p["fastai"][done], p[name][done], "accuracy", groups)
        return (
            f"{name} against fastai: 1/{np.nanmean(seconds['fastai']) / np.nanmean(seconds[name]):.1f} of "
            "the time, "
            f"accuracy {d['value']:+.3f} ({d['low']:+.3f} to {d['high']:+.3f})."
        )

    what = {
        "fastai": "fastai `fine_tune(4)`, lite0",
        "head": "`head` on lite0, embedding included",
        "finetune": "`finetune` on lite0, all included",
    }
    report(
        "Training: fastai fine_tune(4) against ours",
        [
            f"{done.sum()} posters of genre3 held out once each, {args.folds} folds.",
            "",
            "| recipe | accuracy | interval | always horror | seconds a fold |",
            "|---|---|---|---|---|",
            *(line(name, what[name]) for name in recipes),
            "",
            *(gain(name) for name in recipes if name != "fastai"),
            f"Once a machine, export and choice of an engine: {once:.0f} s.",
        ],
    )


def _in_order(result, labels):
    p, vocab, seconds = result
    return p[:, [vocab.index(c) for c in labels]], seconds


if __name__ == "__main__":
    main()
