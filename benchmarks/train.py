"""Training to the same accuracy: plain fastai `fine_tune(4)` against a head on frozen features, same backbone, pictures and folds.

    MOVIE_TAGGER_DATA=... python benchmarks/train.py [--folds 5] [--only K] [--save FILE.npz]

Time for ours is from the files to the fitted head, embedding included, with an empty embedding cache;
the encoder's export to ONNX, once a machine, is printed by itself.
"""
import argparse, os, tempfile, time

os.environ["MOVIE_TAGGER_CACHE"] = tempfile.mkdtemp()

import numpy as np
import pandas as pd
from common import lite0_weights, real_data, report
from fastai.vision.all import (
    CategoryBlock, ColReader, DataBlock, ImageBlock, IndexSplitter, Resize, accuracy, aug_transforms, set_seed, vision_learner,
)

from movie_tagger import data, features, head
from movie_tagger.evaluate import evaluate, paired_difference


def fastai_fold(items, label, valid, seed):
    "Probabilities of the held-out pictures from fastai's usual recipe, and seconds."
    start = time.perf_counter()
    set_seed(seed)
    frame = pd.DataFrame({"path": items["path"].to_numpy(), "label": label.to_numpy()})
    dls = DataBlock((ImageBlock, CategoryBlock), get_x=ColReader("path"), get_y=ColReader("label"), splitter=IndexSplitter(np.flatnonzero(valid)),
                    item_tfms=Resize(224), batch_tfms=aug_transforms()).dataloaders(frame, bs=64, num_workers=0)
    learn = vision_learner(dls, "tf_efficientnet_lite0", metrics=accuracy, pretrained=False)
    learn.model[0].model.load_state_dict(lite0_weights(), strict=False)
    learn.freeze()
    with learn.no_bar(): learn.fine_tune(4)
    with learn.no_bar(): p, _ = learn.get_preds(ds_idx=1)
    return p.numpy(), list(dls.vocab), time.perf_counter() - start


def head_fold(items, labels, valid):
    "The same from our head, with an empty embedding cache."
    features.clear_cache()
    features.export("lite0")
    start = time.perf_counter()
    x, _ = features.embed(items)
    fitted, _ = head.fit(x[~valid], labels[~valid], items["group"][~valid])
    return fitted.probabilities(x[valid]), time.perf_counter() - start


def main():
    parse = argparse.ArgumentParser(description=__doc__)
    parse.add_argument("--folds", type=int, default=5)
    parse.add_argument("--only", type=int, help="run this fold alone")
    parse.add_argument("--save", help="keep the probabilities in this file")
    args = parse.parse_args()
    items, labels = data.usable(*data.read(real_data() / "genre3" / "genres.csv"))
    label = labels.astype(bool).idxmax(axis=1)
    fold = data.folds(items["group"], args.folds, "outer 0")
    start = time.perf_counter()
    features.export("lite0")
    exported = time.perf_counter() - start
    theirs, ours = (np.full(labels.shape, np.nan, np.float32) for _ in range(2))
    seconds = {"fastai": [], "head": []}
    for k in range(args.folds) if args.only is None else [args.only]:
        valid = fold == k
        p, vocab, s = fastai_fold(items, label, valid, seed=k)
        theirs[valid] = p[:, [vocab.index(c) for c in labels]]
        ours[valid], t = head_fold(items, labels, valid)
        seconds["fastai"].append(s)
        seconds["head"].append(t)
        print(f"fold {k}: fastai {s:.0f} s, head {t:.1f} s", flush=True)
    done = ~np.isnan(theirs[:, 0])
    y, groups = data.to_array(labels)[done], items["group"][done]
    def line(name, p, s):
        m = evaluate(y, p, list(labels), "single", groups).metrics["accuracy"]
        return f"| {name} | {m['value']:.3f} | {m['low']:.3f} – {m['high']:.3f} | {m['baseline']:.3f} | {np.mean(s):.1f} |"
    gain = paired_difference(y, theirs[done], ours[done], "accuracy", groups)
    report("Training: fastai fine_tune(4) against a head", [
        f"{done.sum()} posters of genre3 held out once each, {args.folds} folds.", "", "| recipe | accuracy | interval | always horror | seconds a fold |", "|---|---|---|---|---|",
        line("fastai `fine_tune(4)`, lite0", theirs[done], seconds["fastai"]), line("head on lite0, embedding included", ours[done], seconds["head"]), "",
        f"Time: 1/{np.mean(seconds['fastai']) / np.mean(seconds['head']):.0f}. Accuracy, head minus fastai: "
        f"{gain['value']:+.3f} ({gain['low']:+.3f} to {gain['high']:+.3f}). Export once: {exported:.0f} s."])
    if args.save: np.savez(args.save, theirs=theirs, ours=ours, y=data.to_array(labels), fold=fold, item=items.index.to_numpy(str))


if __name__ == "__main__": main()
