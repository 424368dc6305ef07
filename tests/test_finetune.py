"Fine-tuning when things go wrong: interrupted, diverging, out of memory, an empty class."

import numpy as np
import pytest

pytest.importorskip("fastai")
import torch
from fastai.callback.core import Callback

from movie_tagger import data, features, images
from movie_tagger.core import MovieTaggerError
from movie_tagger.features import engine
from movie_tagger.learn import finetune, head
from movie_tagger.models import bundle as bundles
from movie_tagger.models import load
from movie_tagger.models.explainer import Explainer


@pytest.fixture(scope="module")
def drawn(posters):
    return data.read(posters)


@pytest.fixture
def learn(drawn):
    "A Learner on 60 drawn posters that starts where a head ended."
    items, labels = drawn
    x, _ = features.embed(items, "lite0@64")
    held = data.split(items["group"])
    start, _ = head.fit(x[~held], labels[~held], items["group"][~held])
    made = finetune.learner(
        finetune.dataloaders(items, labels, held, "lite0@64"), start=start, spread=x[~held].std(0)
    )
    with made.no_bar(), made.no_logging():
        yield made


class CtrlC(Callback):
    "Presses Ctrl-C in the first batch of an epoch; remembers how each epoch before it ended."

    order = 70

    def __init__(self, epoch):
        self.press_in = epoch

    def before_fit(self):
        self.ends = []

    def before_batch(self):
        if self.training and self.epoch == self.press_in:
            raise KeyboardInterrupt

    def after_epoch(self):
        self.ends.append((self.recorder.values[-1][1], self.model.linear.weight.detach().clone()))


def test_ctrl_c_keeps_the_best_epoch(learn, capsys):
    begin, at_first = learn.validate()[0], learn.model.linear.weight.detach().clone()
    learn.add_cb(pressed := CtrlC(2))
    assert finetune.tune(learn, epochs=4, rate=1e-3, patience=4) is learn
    assert "Stopped in epoch 3" in capsys.readouterr().out and len(pressed.ends) == 2
    loss, weight = min([(begin, at_first), *pressed.ends], key=lambda end: end[0])
    assert torch.equal(learn.model.linear.weight, weight) and learn.validate()[0] == pytest.approx(
        loss, rel=1e-4
    )


def test_ctrl_c_in_the_first_epoch_keeps_what_was_there(learn, capsys):
    before = {name: value.clone() for name, value in learn.model.state_dict().items()}
    learn.add_cb(CtrlC(0))
    finetune.tune(learn, epochs=2)
    assert "Stopped in epoch 1" in capsys.readouterr().out
    assert all(torch.equal(value, before[name]) for name, value in learn.model.state_dict().items())


def test_it_stops_when_the_loss_no_longer_falls(learn):
    learn.validate()
    finetune.tune(learn, epochs=6, rate=1e-12, patience=0)
    assert learn.epoch < 5


def test_a_diverging_loss_is_one_sentence_and_the_best_weights_stay(learn):
    before = learn.model.linear.weight.detach().clone()
    with pytest.raises(
        MovieTaggerError, match=r"The loss became \S+ in epoch 1: lower the learning rate"
    ):
        finetune.tune(learn, epochs=1, rate=1e30)
    assert torch.equal(learn.model.linear.weight, before)


@pytest.fixture
def room(monkeypatch):
    "room(n) makes the allocator refuse batches of more than n pictures, as a full memory does."

    def only_for(most):
        def refuse(_, given):
            if len(given[0]) > most:
                torch.empty(1 << 58, dtype=torch.uint8)

        fit = finetune.tune
        monkeypatch.setattr(
            finetune,
            "tune",
            lambda learn, *args: (learn.model.register_forward_pre_hook(refuse), fit(learn, *args))[
                1
            ],
        )

    return only_for


def test_batches_that_do_not_fit_are_halved(drawn, room, capsys):
    room(5)
    model = finetune.recipe(*drawn, encoder="lite0@64", epochs=1, batch_size=16)
    said = [line for line in capsys.readouterr().out.splitlines() if "do not fit" in line]
    assert said == [
        f"{n} pictures at a time do not fit into memory: going on with {n // 2}." for n in (16, 8)
    ]
    assert 0 <= model.evaluation.metrics["accuracy"]["value"] <= 1


def test_no_room_for_a_single_picture_is_one_sentence(drawn, room):
    room(0)
    with pytest.raises(
        MovieTaggerError,
        match="Not even one picture at a time fits into memory: take a smaller encoder",
    ):
        finetune.recipe(*drawn, encoder="lite0@64", epochs=1, batch_size=2)


def assert_adds_up(path, picture):
    "What a saved model says of a picture is the sum over its places, with every engine."
    content, manifest = (path / "model.onnx").read_bytes(), load(path).manifest
    for backend in engine.installed():
        found = Explainer.of(content, manifest, backend).explain(picture)
        said = engine.ready(content, backend)(images.decode(picture, **manifest["input"])[None])[0]
        assert found.parts[0].size > 1
        assert np.abs(found.logits - said).max() < 1e-4 * max(1, np.abs(said).max() / 10)


def test_pictures_that_are_left_when_a_fifth_is_set_apart_can_be_trained_on(drawn, tmp_path):
    items, labels = drawn
    rest = ~data.split(items["group"])
    model = finetune.recipe(items[rest], labels[rest], encoder="lite0@64", epochs=1)
    assert 0 < model.evaluation.n < rest.sum() and len(model.trained_on) == rest.sum()
    assert_adds_up(bundles.save(model, tmp_path / "own"), items["path"].iloc[0])


def test_a_class_that_the_split_leaves_empty_is_named(drawn):
    items, labels = drawn
    with pytest.raises(MovieTaggerError, match="leaves no picture of 'romance' to train on"):
        finetune.dataloaders(items, labels, labels["romance"].to_numpy(bool))
    with pytest.raises(MovieTaggerError, match="nothing to validate on"):
        finetune.dataloaders(items, labels, np.zeros(len(items), bool))


@pytest.mark.parametrize("encoder", ["resnet34@64", "resnet50@64", "torchvision/resnet34@64"])
def test_resnets_by_name_run_through_the_same_code(drawn, tmp_path, encoder):
    few = np.r_[0:8, 20:28, 40:48]
    items, labels = (frame.iloc[few] for frame in drawn)
    model = finetune.recipe(items, labels, encoder, weights="random", epochs=1, batch_size=8)
    saved = load(bundles.save(model, tmp_path / "resnet"))
    assert_adds_up(saved.path, items["path"].iloc[0])
    p = saved.predict(items["path"])
    assert (
        p.shape == (24, 3)
        and np.allclose(p.sum(axis=1), 1, atol=1e-5)
        and saved.manifest["encoder"] == encoder
    )


def test_unknown_cells_carry_no_gradient(drawn):
    items, labels = drawn
    labels = labels.assign(unknown=False)
    cells = data.to_array(labels)
    cells[:, 3] = np.nan
    cells[:30, 3] = np.arange(30) % 2
    labels = data.from_array(cells, labels.index, labels.columns)
    learn = finetune.learner(
        finetune.dataloaders(items, labels, data.split(items["group"]), "lite0@64", batch_size=8)
    )
    logits = torch.zeros(2, 4, requires_grad=True)
    learn.loss_func(logits, torch.tensor([[1, 0, 0, float("nan")], [0, 1, 0, 1.0]])).backward()
    assert logits.grad[0, 3] == 0 and (logits.grad[:, :3] != 0).all() and logits.grad[1, 3] != 0


def test_each_picture_has_a_loss_of_its_known_cells(drawn):
    "What fastai's `Interpretation` and `get_preds(with_loss=True)` ask for."
    items, labels = drawn
    few = items.groupby(labels.idxmax(axis=1).to_numpy()).head(4).index
    cells = data.to_array(labels.loc[few])
    cells[::2, 1] = np.nan
    labels = data.from_array(cells, few, labels.columns)
    made = finetune.learner(
        finetune.dataloaders(
            items.loc[few], labels, np.arange(12) % 2 == 0, "lite0@64", kind="multi"
        )
    )
    with made.no_bar():
        p, y, losses = made.get_preds(with_loss=True)
        mean, *_ = made.validate()
    known = ~torch.isnan(y)
    assert (~known[:, 1]).all() and losses.shape == (6,)
    each = -torch.where(y == 1, p, 1 - p).log()
    assert torch.allclose(losses, each[:, [0, 2]].mean(1), atol=1e-4)
    assert np.isclose(mean, losses.mean().item(), atol=1e-4)
