"""Training to the same accuracy: plain fastai `fine_tune(4)` against a head on frozen features,
same backbone, pictures and folds.

    python benchmarks/train.py [--quick] [--folds 5] [--only K ...] [--finetune] [--save FILE.npz]

The pictures are genre3 of MOVIE_TAGGER_DATA; where it is not set, 300 drawn posters. `--quick` is
one fold of 120 drawn posters. Time for ours is from the files to the fitted head, embedding
included, with no embedding in the cache; what is done once a machine, the encoder's export to ONNX
and the choice of an engine, is printed by itself. What a fold gave is kept in a file as soon as it
is done; folds that are in the file of --save already are not run again, so that a run that was
stopped goes on.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ["MOVIE_TAGGER_CACHE"] = tempfile.mkdtemp()

import numpy as np
import pandas as pd

try:
    from common import lite0_weights, report
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
except ImportError as error:
    sys.exit(f"The peer is missing ({error}): pip install 'movie_tagger[train]'")

from movie_tagger import data, features, load, models, train
from movie_tagger.core import MovieTaggerError, cache_dir
from movie_tagger.features import engine
from movie_tagger.judge.evaluation import evaluate, paired_difference
from movie_tagger.learn import head
from movie_tagger.sample.make import draw_posters

WHAT = {
    "fastai": "fastai `fine_tune(4)`, lite0",
    "head": "`head` on lite0, embedding included",
    "finetune": "`finetune` on lite0, all included",
}


# --- a fold: the held-out pictures' probabilities (m, t), and seconds


def fastai_fold(items, labels, valid, seed):
    "fastai's usual recipe."
    start = time.perf_counter()
    set_seed(seed)
    label = labels.astype(bool).idxmax(axis=1)
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
    with learn.no_bar(), learn.no_logging():
        learn.fine_tune(4)
        p, _ = learn.get_preds(ds_idx=1)
    seconds = time.perf_counter() - start
    vocab = list(dls.vocab)
    return p.numpy()[:, [vocab.index(name) for name in labels]], seconds


def head_fold(items, labels, valid, seed):
    "Our head, with no embedding in the cache."
    for path in cache_dir("embeddings").iterdir():
        path.unlink()
    start = time.perf_counter()
    x, _ = features.embed(items)
    fitted, _ = head.fit(x[~valid], labels[~valid], items["group"][~valid])
    return fitted.probabilities(x[valid]), time.perf_counter() - start


def finetune_fold(items, labels, valid, seed):
    "Our fine-tuning recipe, the head it starts from and its export to ONNX included."
    start = time.perf_counter()
    model = train(items[~valid], labels[~valid], "finetune")
    seconds = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as folder:
        tuned = load(models.save(model, f"{folder}/tuned"))
        return tuned.predict(items["path"][valid]).to_numpy(), seconds


RECIPES = {"fastai": fastai_fold, "head": head_fold, "finetune": finetune_fold}


# --- the run


def posters(quick):
    "Items, labels, and what they are, in words."
    real = os.environ.get("MOVIE_TAGGER_DATA")
    if real and not quick:
        return *data.usable(*data.read(Path(real) / "genre3" / "genres.csv")), "of genre3"
    drawn = Path(tempfile.mkdtemp(prefix="movie_tagger_")) / "posters"
    draw_posters(drawn, 120 if quick else 300)
    return *data.usable(*data.read(drawn)), "drawn"


class Kept:
    "Probabilities and seconds of the folds that are done, in a file."

    def __init__(self, path, names, shape, folds):
        self.path = Path(path)
        self.p = {name: np.full(shape, np.nan, np.float32) for name in names}
        self.seconds = {name: np.full(folds, np.nan) for name in names}
        if self.path.exists():
            self._read(shape, folds)

    def _read(self, shape, folds):
        with np.load(self.path) as kept:
            for name in self.p:
                if name not in kept:
                    continue
                p, seconds = kept[name], kept[f"seconds {name}"]
                if (p.shape, seconds.shape) != (shape, (folds,)):
                    sys.exit(f"{self.path} is of other pictures or folds: name another file.")
                self.p[name], self.seconds[name] = p, seconds

    def add(self, name, k, rows, p, seconds):
        self.p[name][rows] = p
        self.seconds[name][k] = seconds
        times = {f"seconds {name}": s for name, s in self.seconds.items()}
        np.savez(self.path, **self.p, **times)


def run(args):
    items, labels, which = posters(args.quick)
    names = [name for name in RECIPES if name != "finetune" or args.finetune]
    fold = data.folds(items["group"], args.folds, "outer 0")
    start = time.perf_counter()
    engine.choose(features.export("lite0").read_bytes())
    once = time.perf_counter() - start
    path = args.save or Path(tempfile.mkdtemp(prefix="movie_tagger_")) / "folds.npz"
    kept = Kept(path, names, labels.shape, args.folds)
    for k in args.only or range(args.folds):
        for name in names:
            if np.isnan(kept.seconds[name][k]):
                kept.add(name, k, fold == k, *RECIPES[name](items, labels, fold == k, k))
        times = ", ".join(f"{name} {kept.seconds[name][k]:.1f} s" for name in names)
        print(f"fold {k}: {times}; kept in {path}", flush=True)
    tell(kept, items, labels, which, args.folds, once)


def tell(kept, items, labels, which, folds, once):
    "Print the section for RESULTS.md, of the pictures that every recipe was asked about."
    done = ~np.any([np.isnan(p[:, 0]) for p in kept.p.values()], axis=0)
    y, groups = data.to_array(labels)[done], items["group"][done]
    seconds = {name: np.nanmean(s) for name, s in kept.seconds.items()}

    def line(name):
        m = evaluate(y, kept.p[name][done], list(labels), "single", groups).metrics["accuracy"]
        interval = f"{m['low']:.3f} – {m['high']:.3f}"
        measured = f"{m['value']:.3f} | {interval} | {m['baseline']:.3f}"
        return f"| {WHAT[name]} | {measured} | {seconds[name]:.1f} |"

    def gain(name):
        theirs, ours = kept.p["fastai"][done], kept.p[name][done]
        d = paired_difference(y, theirs, ours, "accuracy", groups)
        return (
            f"{name} against fastai: 1/{seconds['fastai'] / seconds[name]:.1f} of the time, "
            f"accuracy {d['value']:+.3f} ({d['low']:+.3f} to {d['high']:+.3f})."
        )

    lines = [
        f"{done.sum()} posters {which} held out once each, {folds} folds.",
        "",
        "| recipe | accuracy | interval | always the same class | seconds a fold |",
        "|---|---|---|---|---|",
        *map(line, kept.p),
        "",
        *(gain(name) for name in kept.p if name != "fastai"),
        f"Once a machine, export and choice of an engine: {once:.0f} s.",
    ]
    report("Training: fastai fine_tune(4) against ours", lines)


def main():
    parse = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parse.add_argument("--quick", action="store_true", help="one fold of few drawn posters")
    parse.add_argument("--folds", type=int, default=5)
    parse.add_argument("--only", type=int, nargs="*", help="run these folds alone")
    parse.add_argument("--finetune", action="store_true", help="measure the recipe `finetune` too")
    parse.add_argument("--save", type=Path, help="keep what folds gave here, and go on from it")
    args = parse.parse_args()
    if args.folds < 2:
        parse.error("--folds must be at least 2")
    if args.quick and not args.only:
        args.only = [0]
    if not set(args.only or []) <= set(range(args.folds)):
        parse.error(f"--only takes folds from 0 to {args.folds - 1}")
    try:
        run(args)
    except KeyboardInterrupt:
        sys.exit("Stopped; the folds that were done are kept.")
    except (MovieTaggerError, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
