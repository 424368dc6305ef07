"Mistakes counted by hand and by scikit-learn; what unknown cells and hostile texts do not break."

import html.parser
import itertools
import math
import re
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn import metrics as sk

from movie_tagger import data
from movie_tagger.core import MovieTaggerError
from movie_tagger.judge import interpretation as it
from movie_tagger.judge.drawing import shade
from movie_tagger.judge.evaluation import evaluate
from movie_tagger.judge.explanation import Explanation
from movie_tagger.judge.growth import learning_curve
from movie_tagger.judge.report import write_report
from movie_tagger.judge.slicing import looks, slices

plain_fastai = pytest.mark.skipif(find_spec("fastai") is None, reason="fastai is not installed")
TAGS = ["car", "rain", "phone", "kiss"]


@pytest.fixture(autouse=True)
def no_figures_left():
    yield
    plt.close("all")


def frames(y, tags=TAGS, paths=None):
    names = [f"p{k:03}" for k in range(len(y))]
    items = pd.DataFrame(
        {"path": paths or [f"{name}.jpg" for name in names]}, index=pd.Index(names, name="item")
    )
    return items, data.from_array(np.asarray(y, np.float32), names, tags)


def drawn_single(n=200, t=4, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.integers(t, size=n)
    p = rng.dirichlet(np.ones(t), size=n).astype(np.float32)
    return truth, p, it.interpret(*frames(np.eye(t)[truth]), p)


def drawn_multi(n=150, t=4, seed=0, unknown=0.4):
    rng = np.random.default_rng(seed)
    y = (rng.random((n, t)) < 0.4).astype(np.float32)
    y[rng.random(y.shape) < unknown] = np.nan
    return y, rng.random((n, t)).astype(np.float32)


# --- suggested where another was true


def test_false_suggestions_are_those_counted_one_by_one():
    y, p = drawn_multi()
    seen = it.interpret(*frames(y), p)
    said = p >= 0.5
    table = seen.false_suggestions(1).set_index(["suggested", "true"])
    for (b, tag_b), (a, tag_a) in itertools.permutations(enumerate(TAGS), 2):
        wrong, known = (y[:, b] == 0) & said[:, b], ~np.isnan(y[:, a])
        no = (y[:, b] == 0) & known
        count = (wrong & (y[:, a] == 1)).sum()
        expected = (wrong & known).sum() * (y[no, a] == 1).mean()
        if count <= expected:
            assert (tag_b, tag_a) not in table.index
            continue
        row = table.loc[(tag_b, tag_a)]
        assert row["count"] == count and math.isclose(row["expected"], expected, rel_tol=1e-5)
        assert row["missed"] == (wrong & (y[:, a] == 1) & ~said[:, a]).sum()
        assert len(seen.examples(tag_b, tag_a, 1000)) == count


def test_a_tag_suggested_where_another_is_true_comes_first():
    rng = np.random.default_rng(0)
    y = (rng.random((200, 4)) < [0.2, 0.2, 0.7, 0.2]).astype(np.float32)
    p = np.clip(0.8 * y + 0.1, 0, 1)
    phone = y[:, 2] == 0
    p[(y[:, 0] == 1) & (y[:, 3] == 0), 3] = 0.9  # a kiss is suggested where there is a car
    p[:5, 1] = 0.9
    seen = it.interpret(*frames(y), p)
    first = seen.false_suggestions().iloc[0]
    assert phone.any() and (first["suggested"], first["true"]) == ("kiss", "car")
    assert first["count"] > 3 * first["expected"] and first["missed"] == 0
    examples = seen.examples("kiss", "car", 2)
    assert len(examples) == 2 and (examples["p"] > 0.85).all()


def test_nothing_is_suggested_wrongly_by_a_flawless_model():
    y = np.eye(4)[np.arange(40) % 4]
    assert it.interpret(*frames(y), y, kind="multi").false_suggestions().empty


# --- slices


def night_and_day(tmp_path, n=80):
    "A model that is right in bright pictures and guesses in dark ones."
    rng = np.random.default_rng(0)
    truth, dark = rng.integers(2, size=n), np.arange(n) % 2 == 0
    paths = []
    for k in range(n):
        colour = tuple(rng.integers(0, 40, 3)) if dark[k] else (200, 120, 60)
        paths.append(str(tmp_path / f"{k}.png"))
        Image.new("RGB", (260, 220), tuple(map(int, colour))).save(paths[-1])
    said = np.where(dark, rng.integers(2, size=n), truth)
    items, labels = frames(np.eye(2)[truth], ["a", "b"], paths)
    items["group"] = [f"film {k // 4}" for k in range(n)]
    items["user"] = np.where(np.arange(n) < n // 2, "anna", "ben")
    return it.interpret(items, labels, 0.8 * np.eye(2)[said] + 0.1), dark, truth == said


def test_the_worst_slice_is_where_the_model_guesses(tmp_path):
    seen, dark, right = night_and_day(tmp_path)
    table = slices(seen)
    assert table.attrs["metric"] == "accuracy" and table.index[0] == "dark"
    worst = table.iloc[0]
    assert worst["pictures"] == dark.sum() and math.isclose(worst["value"], right[dark].mean())
    assert worst["rest"] == 1 and worst["low"] <= worst["value"] <= worst["high"] < 1
    assert {"user: anna", "user: ben"} <= set(table.index)
    assert not any(name.startswith("film") for name in table.index)  # four pictures each
    assert (table["rest"] - table["value"]).is_monotonic_decreasing


def test_a_film_with_many_pictures_is_a_slice_with_an_interval(tmp_path):
    seen, _, _ = night_and_day(tmp_path)
    seen.items["group"] = ["one film"] * 30 + [f"film {k}" for k in range(50)]
    row = slices(seen).loc["film: one film"]
    assert row["pictures"] == 30 and row["low"] < row["value"] < row["high"]


def test_a_few_pictures_or_no_files_have_no_slices(tmp_path):
    y, p = drawn_multi(30)
    assert slices(it.interpret(*frames(y[:10]), p[:10])).empty
    assert slices(it.interpret(*frames(y), p)).empty  # none of these files is there
    assert not looks([tmp_path / "gone.jpg"]).any(axis=None)


# --- single labels


def test_confusion_matrix_is_that_of_scikit_learn():
    truth, p, seen = drawn_single()
    matrix = seen.confusion_matrix()
    assert matrix.to_numpy().tolist() == sk.confusion_matrix(truth, p.argmax(1)).tolist()
    assert list(matrix) == list(matrix.index) == TAGS
    pairs = seen.most_confused()
    assert (
        pairs["count"].sum() == (truth != p.argmax(1)).sum()
        and pairs["count"].is_monotonic_decreasing
    )
    for _, row in pairs.iterrows():
        assert row["count"] == matrix.at[row["truth"], row["predicted"]]
        assert math.isclose(row["share"], row["count"] / (truth == TAGS.index(row["truth"])).sum())
    assert (seen.most_confused(10)["count"] >= 10).all()


def test_losses_are_the_cross_entropy():
    truth, p, seen = drawn_single()
    losses = seen.losses()
    assert math.isclose(losses.mean(), sk.log_loss(truth, p), rel_tol=1e-5)
    top = seen.top_losses(7)
    assert (
        top.index.tolist() == losses.sort_values(ascending=False, kind="stable").index[:7].tolist()
    )
    worst = int(top.index[0][1:])
    assert top.iloc[0].to_dict() == pytest.approx(
        {
            "path": f"p{worst:03}.jpg",
            "truth": TAGS[truth[worst]],
            "predicted": TAGS[p[worst].argmax()],
            "p of truth": p[worst, truth[worst]],
            "p of predicted": p[worst].max(),
            "loss": losses.max(),
        }
    )
    assert len(seen.top_losses()) == len(truth)


def test_certain_and_wrong_is_large_but_finite():
    seen = it.interpret(*frames([[1, 0], [0, 1]], ["a", "b"]), np.array([[0.0, 1.0], [0.0, 1.0]]))
    assert 15 < seen.losses().iloc[0] < 100 and seen.losses().iloc[1] < 1e-6


def test_unreadable_pictures_are_left_out_and_counted():
    truth, p, _ = drawn_single()
    p[:5] = np.nan
    seen = it.interpret(*frames(np.eye(4)[truth]), p)
    assert seen.unreadable == 5 and "5 unreadable" in repr(seen)
    assert (
        seen.confusion_matrix().to_numpy().tolist()
        == sk.confusion_matrix(truth[5:], p[5:].argmax(1)).tolist()
    )
    assert seen.losses().isna().to_numpy().nonzero()[0].tolist() == [0, 1, 2, 3, 4]
    assert len(seen.top_losses()) == len(truth) - 5 and seen.top_losses()["loss"].notna().all()


def test_labels_may_be_class_names():
    truth, p, seen = drawn_single()
    items, _ = frames(np.eye(4)[truth])
    names = [TAGS[k] for k in truth]
    again = it.interpret(items, names, pd.DataFrame(p, items.index, TAGS))
    pd.testing.assert_frame_equal(again.confusion_matrix(), seen.confusion_matrix())
    paths_only = it.interpret(list(items["path"]), names, p[:, np.argsort(TAGS)])
    assert (
        paths_only.confusion_matrix().loc["rain", "car"]
        == seen.confusion_matrix().loc["rain", "car"]
    )
    with pytest.raises(MovieTaggerError, match="do not name the same pictures"):
        it.interpret(items, pd.Series(names, items.index[::-1]), pd.DataFrame(p, items.index, TAGS))
    with pytest.raises(MovieTaggerError, match="'train' is none of the tags"):
        it.interpret(items, ["train", *names[1:]], pd.DataFrame(p, items.index, TAGS))


# --- many labels


def test_many_labels_by_hand():
    y = [[1, 0, np.nan, 0], [1, 1, 0, 0], [np.nan] * 4, [0, 1, 1, np.nan]]
    p = np.array(
        [[0.2, 0.8, 0.9, 0.1], [0.1, 0.9, 0.7, 0.6], [0.9] * 4, [0.1, 0.9, 0.9, 0.9]], np.float32
    )
    seen = it.interpret(*frames(y), p)
    assert seen.kind == "multi"
    # car missed twice: once where rain, once where phone and kiss were wrongly said;
    # unknown phone and kiss count nowhere
    assert seen.confusion_matrix().to_numpy().tolist() == [
        [0, 1, 1, 1],
        [0, 2, 0, 0],
        [0, 0, 1, 0],
        [0, 0, 0, 0],
    ]
    table = seen.per_tag()
    assert table[["yes", "no", "unknown", "found", "missed", "wrongly"]].to_numpy().tolist() == [
        [2, 1, 0, 0, 2, 0],
        [2, 1, 0, 2, 0, 1],
        [1, 1, 1, 1, 0, 1],
        [0, 2, 1, 0, 0, 1],
    ]
    by_hand = -np.log([0.2, 0.1, np.nan, 0.9])
    np.testing.assert_allclose(seen.losses(), by_hand, rtol=1e-5)
    top = seen.top_losses(1)
    assert top.index[0] == "p001"
    assert top.iloc[0][["truth", "predicted", "missed", "wrongly"]].tolist() == [
        "car, rain",
        "rain, phone, kiss",
        "car 0.10",
        "phone 0.70, kiss 0.60",
    ]
    assert "1 without a label" in repr(seen)


def test_unknown_cells_change_nothing():
    y, p = drawn_multi()
    other = np.where(np.isnan(y), 1 - p, p)
    one, two = (it.interpret(*frames(y), q, thresholds=[0.3, 0.4, 0.5, 0.6]) for q in (p, other))
    pd.testing.assert_frame_equal(one.confusion_matrix(), two.confusion_matrix())
    pd.testing.assert_series_equal(one.losses(), two.losses())
    pd.testing.assert_frame_equal(one.per_tag(), two.per_tag())


def test_per_tag_is_what_evaluate_says():
    y, p = drawn_multi()
    cuts = [0.3, 0.4, 0.5, 0.6]
    table = it.interpret(*frames(y), p, thresholds=cuts).per_tag()
    said = pd.DataFrame(
        evaluate(y, p, TAGS, "multi", thresholds=cuts, samples=0).per_tag
    ).set_index("tag")
    shared = [c for c in table if c in said]
    assert "threshold" in shared and "baseline" in shared and "f1" in shared
    pd.testing.assert_frame_equal(table[shared], said[shared])
    known = ~np.isnan(y[:, 1])
    tn, fp, fn, tp = sk.confusion_matrix(y[known, 1], p[known, 1] >= 0.4).ravel()
    assert table.loc["rain", ["found", "missed", "wrongly"]].tolist() == [tp, fn, fp]


def test_thresholds_may_differ_from_picture_to_picture():
    y, p = drawn_multi(unknown=0)
    rows = np.random.default_rng(1).random(p.shape)
    found = it.interpret(*frames(y), p, thresholds=rows).per_tag()["found"]
    assert found.tolist() == ((p >= rows) & (y == 1)).sum(0).tolist()


# --- what is refused


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(probabilities=np.full((3, 2), 0.5)), r"shape \(3, 2\) and the labels \(3, 3\)"),
        (dict(probabilities=np.full((3, 3), 1.5)), "'p000' lies outside 0 to 1"),
        (
            dict(probabilities=np.array([[0.1, 0.2, 0.7], [np.nan, 0.5, 0.5], [1, 0, 0]])),
            "'p001' has some probabilities but not all",
        ),
        (
            dict(probabilities=pd.DataFrame(np.eye(3), ["p000", "p001", "p002"], ["a", "b", "d"])),
            "only one of them has 'c', 'd'",
        ),
        (
            dict(probabilities=pd.DataFrame(np.eye(3), columns=list("abc"))),
            "do not name the same pictures",
        ),
        (
            dict(labels=frames(np.ones((3, 3)), list("abc"))[1], kind="single"),
            "'p000' has several labels",
        ),
        (dict(thresholds=[0.5, 0.5]), "thresholds of shape"),
        (dict(labels=None), "needs labels and probabilities"),
        (
            dict(items=frames(np.eye(3), list("abc"))[0].iloc[::-1]),
            "items and the 3 rows of labels do not name the same pictures",
        ),
        (dict(items=["a.jpg", "b.jpg"]), "2 rows of items"),
        (dict(items=["a.jpg", "b.jpg"], labels=list("abc")), "3 labels for 2 pictures"),
    ],
)
def test_what_does_not_fit_is_one_sentence(change, message):
    items, labels = frames(np.eye(3), list("abc"))
    given = dict(items=items, labels=labels, probabilities=np.eye(3)) | change
    with pytest.raises(MovieTaggerError, match=message):
        it.interpret(**given)


def test_columns_in_another_order_are_put_right():
    truth, p, seen = drawn_single()
    items, labels = frames(np.eye(4)[truth])
    again = it.interpret(items, labels, pd.DataFrame(p, items.index, TAGS)[TAGS[::-1]])
    pd.testing.assert_frame_equal(again.confusion_matrix(), seen.confusion_matrix())


def test_nothing_at_all():
    items, labels = frames(np.zeros((0, 3)), list("abc"))
    seen = it.interpret(items, labels, np.zeros((0, 3)), kind="single")
    assert (
        seen.confusion_matrix().to_numpy().sum() == 0
        and seen.most_confused().empty
        and seen.top_losses().empty
    )
    assert "0 pictures" in repr(seen)


# --- pictures


def coloured(folder, n=24, size=(40, 60)):
    "Red, green and blue pictures in folders of their names; n in all."
    rng, paths = np.random.default_rng(0), []
    for k in range(n):
        name = ["red", "green", "blue"][k % 3]
        pixels = rng.integers(0, 60, (*size[::-1], 3), dtype=np.uint8)
        pixels[..., k % 3] += 150
        paths.append(folder / name / f"{k:02}.png")
        paths[-1].parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(paths[-1])
    return paths


def test_plots(tmp_path):
    paths = coloured(tmp_path, 9)
    paths[0].write_bytes(b"no picture")
    seen = it.interpret(
        *frames(
            np.eye(3)[np.arange(9) % 3],
            ["red", "green", "blue"],
            [*map(str, paths[:-1]), "nowhere.jpg"],
        ),
        np.full((9, 3), 1 / 3),
    )
    ax = seen.plot_confusion_matrix(normalize=True)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["red (3)", "green (3)", "blue (3)"]
    assert sorted(t.get_text() for t in ax.texts) == ["1.00"] * 3
    _, mine = plt.subplots()
    assert seen.plot_confusion_matrix(ax=mine) is mine
    axes = seen.plot_top_losses(5, columns=3)
    assert axes.shape == (2, 3) and sum(len(ax.images) for ax in axes.flat) == 5
    assert seen.plot_top_losses().shape == (2, 5)


def test_many_tags_are_drawn_legibly():
    rng = np.random.default_rng(0)
    y = (rng.random((300, 90)) < 0.1).astype(float)
    tags = [f"tag {k}" for k in range(90)]
    seen = it.interpret(*frames(y, tags), rng.random((300, 90)), thresholds=0.8)
    ax = seen.plot_confusion_matrix()
    shown = [t.get_text() for t in ax.get_xticklabels()]
    assert len(shown) == 25 and set(shown) <= set(tags)
    counts = seen.confusion_matrix()
    mistakes = counts.sum() + counts.sum(axis=1) - 2 * np.diag(counts)
    assert (
        mistakes[shown].min() >= mistakes.drop(shown).max()
        and list(seen.confusion_matrix(25)) == shown
    )


def test_an_interpretation_measures_itself_over_its_groups():
    y, p = drawn_multi(unknown=0.1)
    items, labels = frames(y)
    films = np.arange(len(y)) // 5
    measured = it.interpret(items.assign(group=films), labels, p).evaluation(50)
    assert (
        measured.metrics == evaluate(y, p, TAGS, "multi", films, 0.5, 50).metrics
        and measured.groups == 30
    )
    assert it.interpret(items, labels, p).evaluation(0).groups == len(y)


# --- the report


class Reader(html.parser.HTMLParser):
    "Collects tags and text, and holds that every tag is closed in order."

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.text = [], [], ""

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        self.text += text if self.open and self.open[-1] != "style" else ""


def read_report(path):
    reader = Reader()
    reader.feed(Path(path).read_text(encoding="utf-8"))
    assert not reader.open
    return reader


def test_report_is_whole_and_harmless(tmp_path):
    evil = ['<script>alert("x")</script>', "a & b", "\"quoted' {braces}"]
    paths = coloured(tmp_path / "<b>pictures</b>", 12)
    y = np.eye(3)[np.arange(12) % 3]
    items, labels = frames(y, evil, [*map(str, paths[:-1]), str(tmp_path / "gone.jpg")])
    items.index = labels.index = pd.Index(
        ['"><img src=x onerror=alert(1)>', *items.index[1:]], name="item"
    )
    seen = it.interpret(items, labels, np.random.default_rng(0).dirichlet(np.ones(3), 12))
    write_report(seen, None, tmp_path / "report.html", title="<i>Mistakes</i> & more")
    page = read_report(tmp_path / "report.html")
    names = [tag for tag, _ in page.tags]
    assert "script" not in names and "i" not in names and "link" not in names
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    images = [attrs for tag, attrs in page.tags if tag == "img"]
    assert len(images) == 12 and all(
        a["src"].startswith("data:image/jpeg;base64,") and a["alt"] for a in images
    )
    assert all(tag in page.text for tag in evil) and "<i>Mistakes</i> & more" in page.text
    assert dict(page.tags)["html"] == {"lang": "en"}
    assert re.search("default-src 'none'", (tmp_path / "report.html").read_text())
    assert names.count("h1") == 1 and names.count("h2") == 6 and "accuracy" in page.text
    assert all(attrs.get("scope") in ("col", "row") for tag, attrs in page.tags if tag == "th")
    colours = [attrs["style"] for tag, attrs in page.tags if tag == "td" and "style" in attrs]
    assert len(colours) == 9 and all(
        re.fullmatch(r"background:#[0-9a-f]{6};color:(white|black|#767676)", style)
        for style in colours
    )


def test_report_shows_the_evaluation_it_is_given(tmp_path):
    y, p = drawn_multi()
    items, labels = frames(y)
    measured = evaluate(y, p, TAGS, "multi", thresholds=0.5, samples=50)
    write_report(it.interpret(items, labels, p), measured, tmp_path / "report.html", pictures=3)
    page = read_report(tmp_path / "report.html")
    for name, m in measured.metrics.items():
        assert (
            name in page.text
            and f"{m['value']:.3f}" in page.text
            and f"{m['low']:.3f} – {m['high']:.3f}" in page.text
        )
    assert "What the model gets wrong" in page.text and "wrongly said" in page.text
    assert len(re.findall(r"loss \d", page.text)) == 3


def test_report_says_what_thresholds_cost_and_how_good_the_first_suggestions_are(tmp_path):
    y, p = drawn_multi()
    y[:, 1] = 1  # a tag that nobody denied has no bargain
    items, labels = frames(y, ["<b>", "yes", "c", "d"][: y.shape[1]])
    write_report(it.interpret(items, labels, p), None, tmp_path / "report.html", pictures=2)
    page = read_report(tmp_path / "report.html")
    charts = [attrs for tag, attrs in page.tags if tag == "svg"]
    said = [attrs["aria-label"] for attrs in charts]
    assert said[:2] == [
        "precision and recall by tags shown",
        "what was said against what was true",
    ]
    assert said[2:] == [
        f"{tag}: precision and share flagged by recall" for tag in said_tags(labels)
    ]
    assert "to find 90 % it flags" in page.text and "precision at 1" in page.text
    numbers = re.findall(r'(?:d="M|cx=")([^"]*)"', (tmp_path / "report.html").read_text())
    assert numbers and all("nan" not in at for at in numbers)


def said_tags(labels):
    "The tags with a yes and a no, those with the most yes first."
    yes, no = labels.eq(True).sum(), labels.eq(False).sum()
    both = yes[(yes > 0) & (no > 0)]
    return both.sort_values(ascending=False, kind="stable").index.tolist()


def test_report_shows_a_learning_curve(tmp_path):
    y, p = drawn_multi()
    items, labels = frames(y)
    rng = np.random.default_rng(0)

    def ask(learn, told):
        return (
            np.nan_to_num(y[told])
            + rng.normal(size=(told.sum(), y.shape[1])) * 30 / learn.sum() ** 0.5
        )

    curve = learning_curve(y, None, list(labels), ask, splits=3)
    write_report(it.interpret(items, labels, p), None, tmp_path / "report.html", curve=curve)
    page = read_report(tmp_path / "report.html")
    assert "Would more pictures help?" in page.text and "mean over tags" in page.text
    assert "nan" not in page.text.split("Would more pictures help?")[1].split("Tag by tag")[0]


def spoke(path, tag):
    lead = np.zeros((1, 4, 4), np.float32)
    lead[0, :2] = 1
    return Explanation([tag], lead, lead)


def test_report_shows_where_the_model_looked(tmp_path):
    paths = [str(path) for path in coloured(tmp_path / "pictures", 12)]
    seen = it.interpret(
        *frames(np.eye(3)[np.arange(12) % 3], list("abc"), paths), np.eye(3)[[0] * 12]
    )
    write_report(seen, None, tmp_path / "report.html", pictures=5, explain=spoke)
    page = read_report(tmp_path / "report.html")
    alts = [attrs["alt"] for tag, attrs in page.tags if tag == "img"]
    assert len(alts) == 10 and alts.count("where the model looked for a") == 5
    assert "yellow spoke for it" in page.text


def test_report_of_a_model_that_cannot_say_where(tmp_path):
    def cannot(path, tag):
        raise MovieTaggerError("Its logits are no sums.")

    paths = [str(path) for path in coloured(tmp_path / "pictures", 6)]
    seen = it.interpret(
        *frames(np.eye(3)[np.arange(6) % 3], list("abc"), paths), np.eye(3)[[0] * 6]
    )
    write_report(seen, None, tmp_path / "report.html", explain=cannot)
    page = read_report(tmp_path / "report.html")
    assert sum(tag == "img" for tag, _ in page.tags) == 6 and "yellow" not in page.text


def test_report_of_a_flawless_model(tmp_path):
    write_report(
        it.interpret(*frames(np.eye(3), list("abc")), np.eye(3)), None, tmp_path / "r.html"
    )
    assert "Nothing is confused" in read_report(tmp_path / "r.html").text


def test_contrast_of_numbers_on_their_colours():
    def luminance(c):
        c = np.asarray(c, float)
        return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ [
            0.2126,
            0.7152,
            0.0722,
        ]

    ink = {"white": luminance([1, 1, 1]), "black": 0.0}
    for right in (True, False):
        for share in np.linspace(0, 1, 101):
            colour, name = shade(share, right)
            light, dark = sorted([luminance(colour), ink[name]], reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (right, share)


# --- plain fastai Learners


def tiny(dls, **kwargs):
    from fastai.learner import Learner
    from torch import nn

    torch_seed()
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, dls.c)
    )
    learner = Learner(dls, net, **kwargs)
    if hasattr(learner, "progress"):
        learner.remove_cb(learner.progress)
    return learner


def torch_seed():
    import torch

    torch.manual_seed(0)


def answers(learner):
    p, target = learner.get_preds()
    return p.numpy(), target.numpy()


def from_folder(folder, **kwargs):
    from fastai.vision.all import ImageDataLoaders, Resize

    return ImageDataLoaders.from_folder(
        folder, valid_pct=0.5, seed=0, item_tfms=Resize(16), bs=4, num_workers=0, **kwargs
    )


@plain_fastai
def test_single_label_learner(tmp_path):
    from fastai.interpret import ClassificationInterpretation

    coloured(tmp_path)
    learner = tiny(from_folder(tmp_path))
    seen = it.interpret(learner)
    p, target = answers(learner)
    assert seen.kind == "single" and list(seen.labels) == ["blue", "green", "red"]
    np.testing.assert_allclose(seen.probabilities, p, atol=1e-6)
    assert seen.items["path"].tolist() == [str(p) for p in learner.dls.valid_ds.items]
    for item, path in seen.items["path"].items():
        assert item == Path(path).relative_to(tmp_path).as_posix()
        assert seen.labels.loc[item, Path(path).parent.name]
    theirs = ClassificationInterpretation.from_learner(learner)
    assert seen.confusion_matrix().to_numpy().tolist() == theirs.confusion_matrix().tolist()
    losses, order = theirs.top_losses()
    np.testing.assert_allclose(seen.top_losses()["loss"], losses.numpy(), rtol=1e-4)
    assert len(it.from_learner(learner, ds_idx=0).items) == len(learner.dls.train_ds)


def multi_table(folder):
    paths = coloured(folder)
    tags = [
        "warm;" * (p.parent.name == "red") + "cool;" * (p.parent.name != "red") + p.parent.name
        for p in paths
    ]
    return pd.DataFrame({"file": [p.relative_to(folder).as_posix() for p in paths], "tags": tags})


@plain_fastai
def test_multi_label_learner_from_a_table(tmp_path):
    from fastai.vision.all import ImageDataLoaders, Resize

    table = multi_table(tmp_path)
    dls = ImageDataLoaders.from_df(
        table,
        tmp_path,
        label_delim=";",
        valid_pct=0.5,
        seed=0,
        item_tfms=Resize(16),
        bs=4,
        num_workers=0,
    )
    learner = tiny(dls)
    seen = it.interpret(learner)
    p, target = answers(learner)
    assert seen.kind == "multi" and sorted(seen.labels) == ["blue", "cool", "green", "red", "warm"]
    np.testing.assert_allclose(seen.probabilities, p, atol=1e-6)
    np.testing.assert_array_equal(data.to_array(seen.labels), target)
    wanted = table.set_index("file")["tags"]
    for item, row in seen.labels.iterrows():
        assert sorted(row.index[row]) == sorted(wanted[item].split(";"))
    assert len(seen.per_tag()) == 5
    learner.loss_func.thresh = 0.2
    assert (it.interpret(learner).thresholds == 0.2).all()


@plain_fastai
def test_learner_from_a_data_block_with_functions(tmp_path):
    from fastai.vision.all import CategoryBlock, DataBlock, ImageBlock, IndexSplitter, Resize

    names = [p.relative_to(tmp_path).as_posix() for p in coloured(tmp_path)]
    block = DataBlock(
        (ImageBlock, CategoryBlock),
        get_items=lambda source: names,
        get_x=lambda name: tmp_path / name,
        get_y=lambda name: name.split("/")[0],
        splitter=IndexSplitter(range(6)),
        item_tfms=Resize(16),
    )
    seen = it.interpret(tiny(block.dataloaders(None, bs=4, num_workers=0)))
    assert seen.items["path"].tolist() == [str(tmp_path / name) for name in names[:6]]
    assert seen.labels.idxmax(axis=1).tolist() == [name.split("/")[0] for name in names[:6]]


@plain_fastai
def test_learner_from_lists_and_another_loader(tmp_path):
    from fastai.vision.all import ImageDataLoaders, Resize

    paths = coloured(tmp_path)
    dls = ImageDataLoaders.from_lists(
        tmp_path,
        paths,
        [p.parent.name for p in paths],
        valid_pct=0.5,
        seed=0,
        item_tfms=Resize(16),
        bs=4,
        num_workers=0,
    )
    learner = tiny(dls)
    seen = it.interpret(learner)
    assert [Path(p).parent.name for p in seen.items["path"]] == seen.labels.idxmax(axis=1).tolist()
    other = from_folder(tmp_path)
    learner = tiny(other)
    seen = it.from_learner(learner, dl=learner.dls.test_dl(paths[:5], with_labels=True))
    assert seen.items["path"].tolist() == [str(p) for p in paths[:5]]
    assert seen.labels.idxmax(axis=1).tolist() == [p.parent.name for p in paths[:5]]
    with pytest.raises(MovieTaggerError, match="no labels to compare with"):
        it.from_learner(learner, dl=learner.dls.test_dl(paths[:5]))


@plain_fastai
def test_learner_with_the_same_picture_twice(tmp_path):
    from fastai.vision.all import ImageDataLoaders, Resize

    paths = coloured(tmp_path, 6) * 4
    dls = ImageDataLoaders.from_lists(
        tmp_path,
        paths,
        [p.parent.name for p in paths],
        valid_pct=0.6,
        seed=0,
        item_tfms=Resize(16),
        bs=2,
        num_workers=0,
    )
    seen = it.interpret(tiny(dls))
    assert seen.items.index.has_duplicates and len(seen.top_losses()) == len(seen.items)
    assert seen.confusion_matrix().to_numpy().sum() == len(seen.items)


@plain_fastai
def test_learner_whose_loss_has_no_activation(tmp_path):
    from torch import nn

    coloured(tmp_path)
    dls = from_folder(tmp_path)
    flat, plain = tiny(dls), tiny(dls, loss_func=nn.CrossEntropyLoss())
    np.testing.assert_allclose(
        it.interpret(plain).probabilities, it.interpret(flat).probabilities, atol=1e-5
    )


def in_memory(paths):
    from fastai.vision.all import Categorize, Datasets, PILImage, Resize, ToTensor

    pictures, names = [PILImage.create(p) for p in paths], [p.parent.name for p in paths]
    sets = Datasets(
        range(len(paths)),
        [[lambda i: pictures[i]], [lambda i: names[i], Categorize()]],
        splits=[range(12), range(12, len(paths))],
    )
    return sets.dataloaders(bs=4, after_item=[Resize(16), ToTensor()], num_workers=0)


@plain_fastai
def test_learner_whose_items_have_no_paths(tmp_path):
    from fastai.vision.all import IntToFloatTensor

    paths = coloured(tmp_path)
    dls = in_memory(paths)
    dls.add_tfms([IntToFloatTensor()], "after_batch")
    learner = tiny(dls)
    with pytest.raises(
        MovieTaggerError, match=r"not picture files.*from_learner\(learner, items=paths\)"
    ):
        it.interpret(learner)
    seen = it.from_learner(learner, items=paths[12:])
    assert [Path(p).parent.name for p in seen.items["path"]] == seen.labels.idxmax(axis=1).tolist()
    items, _ = frames(np.eye(12), list("abcdefghijkl"))
    assert it.from_learner(learner, items=items).labels.index.equals(items.index)
    with pytest.raises(MovieTaggerError, match="3 items for the 12 pictures"):
        it.from_learner(learner, items=paths[:3])


@plain_fastai
def test_learner_that_has_diverged(tmp_path):
    coloured(tmp_path)
    learner = tiny(from_folder(tmp_path))
    learner.model[-1].bias.data[0] = math.nan
    with pytest.raises(
        MovieTaggerError, match="NaN for 12 of 12 pictures, so its training has diverged"
    ):
        it.interpret(learner)


@plain_fastai
def test_learner_without_validation_pictures_or_classes(tmp_path):
    from fastai.vision.all import DataBlock, ImageBlock, RegressionBlock, Resize

    paths = coloured(tmp_path)
    learner = tiny(from_folder(tmp_path))
    with pytest.raises(MovieTaggerError, match="no pictures in its set 2"):
        it.from_learner(learner, ds_idx=2)
    learner.export(tmp_path / "learner.pkl")
    from fastai.learner import load_learner

    exported = load_learner(tmp_path / "learner.pkl")
    with pytest.raises(MovieTaggerError, match="no pictures in its set 1"):
        it.interpret(exported)
    again = it.from_learner(exported, dl=exported.dls.test_dl(paths, with_labels=True))
    assert again.items["path"].tolist() == [str(p) for p in paths]
    block = DataBlock(
        (ImageBlock, RegressionBlock), get_y=lambda p: float(p.stem), item_tfms=Resize(16)
    )
    number = tiny(block.dataloaders(paths, bs=4, num_workers=0))
    with pytest.raises(MovieTaggerError, match="CategoryBlock or a MultiCategoryBlock"):
        it.interpret(number)


def test_anything_with_dls_is_taken_for_a_learner():
    with pytest.raises(MovieTaggerError, match="no pictures in its set 1"):
        it.interpret(SimpleNamespace(dls=SimpleNamespace(loaders=[])))


def test_importing_needs_neither_torch_nor_fastai():
    import subprocess
    import sys

    code = (
        "import sys; import movie_tagger.judge.interpretation; "
        "print([m for m in ('torch', 'fastai') if m in sys.modules])"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )
