"The metrics against scikit-learn, and what unknown labels, groups and bad input do to them."

import json
import math
import time
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, norm
from sklearn import metrics as sk

from movie_tagger.core import MovieTaggerError
from movie_tagger.judge import evaluation as ev
from movie_tagger.judge.intervals import group_halves

pytestmark = pytest.mark.filterwarnings("error")
TAGS = ["car", "rain", "phone", "kiss"]


def drawn(seed, n=120, t=4, unknown=0.0, levels=None, dtype="float32"):
    rng = np.random.default_rng(seed)
    y = (rng.random((n, t)) < 0.3).astype("float32")
    y[0], y[1] = 1, 0
    p = np.clip(0.3 * y + 0.7 * rng.random((n, t)), 0, 1)
    if levels:
        p = np.round(p * levels) / levels
    y[2:][rng.random((n - 2, t)) < unknown] = np.nan
    return y, p.astype(dtype), rng


def sk_average_precision(y, p, weight=None):
    def one(y, p):
        known = ~np.isnan(y)
        return sk.average_precision_score(
            y[known], p[known], sample_weight=None if weight is None else weight[known]
        )

    return np.array([one(*pair) for pair in zip(y.T, p.T, strict=True)])


# --- average precision


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    n=st.integers(2, 60),
    levels=st.sampled_from([None, 1, 3, 10]),
    unknown=st.sampled_from([0, 0.5]),
    weighted=st.booleans(),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_average_precision_is_that_of_sklearn(seed, n, levels, unknown, weighted, dtype):
    y, p, rng = drawn(seed, n, 3, unknown, levels, dtype)
    weight = rng.random(n) + 0.01 if weighted else None
    np.testing.assert_allclose(
        ev.average_precision(y, p, weight),
        sk_average_precision(y, p, weight),
        rtol=1e-6 if weight is None else 1e-9,
    )


def test_many_weightings_equal_repeated_rows():
    y, p, _ = drawn(3, unknown=0.4, levels=20)
    rng = np.random.default_rng(1)
    times = rng.poisson(1, (700, 20)).astype("uint8")[:, np.arange(120) // 6]  # more than one block
    got = ev.average_precision(y, p, times)
    assert got.shape == (700, 4)
    for b in (0, 511, 512, 699):
        rows = np.repeat(np.arange(120), times[b])
        np.testing.assert_allclose(got[b], sk_average_precision(y[rows], p[rows]), rtol=1e-5)


def test_equal_scores_have_no_lucky_order():
    y, p = np.array([[1], [0], [0], [1]]), np.full((4, 1), 0.5)
    assert ev.average_precision(y, p) == ev.average_precision(y[::-1], p) == 0.5


@pytest.mark.parametrize(
    "column", [[0, 0, 0], [1, 1, 1], [np.nan] * 3, [1, np.nan, np.nan], [0, np.nan, 0]]
)
def test_a_tag_without_known_yes_or_no_is_nan(column):
    assert np.isnan(ev.average_precision(np.array(column)[:, None], [[0.1], [0.2], [0.3]])).all()


def test_weights_can_take_a_tag_away():
    y, p = np.array([[1], [0], [0]]), np.array([[0.9], [0.8], [0.1]])
    assert np.isnan(ev.average_precision(y, p, [[0, 1, 1], [1, 0, 0], [0, 0, 0]])).all()


def test_any_scores_will_do_for_an_order():
    y, p, _ = drawn(5)
    logits = np.log(np.clip(p, 1e-6, 1 - 1e-6) / (1 - np.clip(p, 1e-6, 1 - 1e-6)))
    np.testing.assert_allclose(
        ev.average_precision(y, logits),
        ev.average_precision(y, np.clip(p, 1e-6, 1 - 1e-6)),
        rtol=1e-6,
    )


# --- unknown cells and unreadable pictures


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_what_nobody_looked_at_changes_nothing(seed):
    y, p, rng = drawn(seed, unknown=0.5)
    other = np.where(np.isnan(y), rng.random(y.shape), p).astype("float32")
    np.testing.assert_array_equal(ev.average_precision(y, p), ev.average_precision(y, other))
    np.testing.assert_array_equal(ev.tune_thresholds(y, p), ev.tune_thresholds(y, other))
    one, two = (
        ev.evaluate(
            y, q, TAGS, "multi", np.arange(120) // 5, [0.5, 0.4, 0.3, 0.6], samples=20
        ).to_dict()
        for q in (p, other)
    )
    assert one == two


def test_unreadable_and_unlabelled_pictures_are_left_out_and_counted():
    y, p, _ = drawn(8, unknown=0.3)
    y[10:14], p[20:25] = np.nan, np.nan
    whole, rest = ev.evaluate(y, p, TAGS, "multi", thresholds=0.5), np.r_[0:10, 14:20, 25:120]
    part = ev.evaluate(y[rest], p[rest], TAGS, "multi", thresholds=0.5)
    assert (whole.n, whole.unreadable) == (
        111 - np.isnan(y[rest]).all(1).sum(),
        5,
    ) and whole.unlabelled >= 4
    assert whole.to_dict() == part.to_dict()
    np.testing.assert_allclose(
        ev.average_precision(y, p), ev.average_precision(y[rest], p[rest]), rtol=1e-6
    )
    assert "5 unreadable" in str(whole) and "5 unreadable" in whole._repr_markdown_()


def test_frames_with_missing_labels_are_read():
    y, p, _ = drawn(9, unknown=0.3)
    frame, scores = pd.DataFrame(y, columns=TAGS).astype("boolean"), pd.DataFrame(p, columns=TAGS)
    assert frame.isna().to_numpy().any()
    np.testing.assert_array_equal(
        ev.average_precision(frame, scores), ev.average_precision(y, p.astype(float))
    )
    with pytest.raises(MovieTaggerError, match="same tags in the same order"):
        ev.average_precision(frame, scores[TAGS[::-1]])
    with pytest.raises(MovieTaggerError, match="same pictures in the same order"):
        ev.average_precision(frame, scores[::-1])


# --- thresholds


def best_f1(y, p):
    known = ~np.isnan(y)
    y, p = y[known], p[known]
    return max(sk.f1_score(y, p >= t) for t in p)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    levels=st.sampled_from([None, 4]),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_no_threshold_beats_the_tuned_one(seed, levels, dtype):
    y, p, _ = drawn(seed, 40, unknown=0.4, levels=levels, dtype=dtype)
    rows = ev.evaluate(y, p, TAGS, "multi", thresholds=ev.tune_thresholds(y, p), samples=0).per_tag
    np.testing.assert_allclose(
        [row["f1"] for row in rows], [best_f1(*pair) for pair in zip(y.T, p.T, strict=True)]
    )


def test_thresholds_lie_midway_and_have_their_corners():
    test = ev.tune_thresholds(
        [[1, 0, 1, 1], [0, 0, 1, np.nan], [np.nan, 0, 0, np.nan]],
        [[0.8, 0.1, 1, 0.4], [0.4, 0.2, 0, 0.3], [0.6, 0.3, 0, 0.1]],
    )
    np.testing.assert_allclose(test, [0.6, 1, 0, 0.2])
    close = np.nextafter(0.5, 1)
    assert (
        ev.tune_thresholds([[1], [0]], [[close], [0.5]])[0] == close
    )  # no number lies between them


# --- rates and metrics against sklearn


def test_rates_and_f1_are_those_of_sklearn():
    y, p, _ = drawn(11)
    cuts = ev.tune_thresholds(y, p)
    precision, recall, f1, _ = sk.precision_recall_fscore_support(y, p >= cuts)
    e = ev.evaluate(y, p, TAGS, "multi", thresholds=cuts, samples=0)
    for name, want in {"precision": precision, "recall": recall, "f1": f1}.items():
        np.testing.assert_allclose([row[name] for row in e.per_tag], want)
    for kind in ("macro", "weighted", "micro"):
        m = e.metrics[f"F1 {kind}"]
        assert m["value"] == pytest.approx(sk.f1_score(y, p >= cuts, average=kind))
        assert m["baseline"] == pytest.approx(sk.f1_score(y, np.ones_like(y), average=kind))
    m = e.metrics["mean average precision"]
    assert m["value"] == pytest.approx(sk.average_precision_score(y, p)) and m[
        "baseline"
    ] == pytest.approx(y.mean())
    assert math.isnan(m["low"])
    np.testing.assert_allclose(e.table()["f1"], f1.round(3))


def test_single_label_metrics_are_those_of_sklearn():
    rng = np.random.default_rng(12)
    label = rng.choice(3, 200, p=[0.5, 0.3, 0.2])
    p = rng.dirichlet(np.ones(3), 200) * 0.7 + 0.3 * np.eye(3)[label]
    e = ev.evaluate(np.eye(3)[label], p, ["horror", "romance", "hero"], "single")
    assert list(e.metrics) == [
        *("accuracy", "balanced accuracy", "mean average precision", "calibration error")
    ]
    assert (
        e.metrics["accuracy"]["value"]
        == pytest.approx(sk.accuracy_score(label, p.argmax(1)))
        == ev.accuracy(np.eye(3)[label], p)
    )
    assert e.metrics["accuracy"]["baseline"] == pytest.approx(np.bincount(label).max() / 200)
    assert e.metrics["balanced accuracy"]["value"] == pytest.approx(
        sk.balanced_accuracy_score(label, p.argmax(1))
    )
    assert e.metrics["balanced accuracy"]["baseline"] == pytest.approx(1 / 3)
    assert all(m["low"] < m["value"] < m["high"] for m in e.metrics.values())
    assert "(always horror)" in str(e).splitlines()[0] and math.isnan(e.per_tag[0]["threshold"])
    exact = binomtest(int((label == p.argmax(1)).sum()), 200).proportion_ci(method="exact")
    np.testing.assert_allclose(
        [e.metrics["accuracy"][end] for end in ("low", "high")], [exact.low, exact.high], atol=0.01
    )


def test_one_yes_settles_a_picture():
    y = np.array(
        [[1, np.nan, np.nan], [np.nan, 1, np.nan], [np.nan, np.nan, np.nan], [0, np.nan, np.nan]]
    )
    e = ev.evaluate(
        y,
        np.array([[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.2, 0.2, 0.6], [0.9, 0.1, 0]]),
        list("abc"),
        "single",
        samples=0,
    )
    assert e.metrics["accuracy"]["value"] == 0.5 and (e.n, e.unlabelled) == (3, 1)
    assert [(row["yes"], row["no"], row["unknown"]) for row in e.per_tag] == [
        (1, 2, 0),
        (1, 1, 1),
        (0, 2, 1),
    ]
    assert e.unmeasured == {"c": "no known yes"}


# --- intervals


def test_whole_groups_are_drawn():
    groups = np.array(["b", "a", "b", None, "a", None], dtype=object)
    drawn = group_halves(groups, 400, seed=3)
    assert drawn.shape == (400, 6) and set(drawn.ravel().tolist()) == {0, 1}
    assert (drawn[:, 0] == drawn[:, 2]).all() and (drawn[:, 1] == drawn[:, 4]).all()
    assert (drawn[:, 3] != drawn[:, 5]).any()  # without a group, each for itself
    assert (drawn[:, [0, 1, 3, 5]].sum(1) == 2).all()  # half of four
    np.testing.assert_array_equal(drawn, group_halves(groups, 400, seed=3))
    assert (drawn != group_halves(groups, 400, seed=4)).any()
    assert group_halves(["a"] * 3, 5).shape == (0, 3)


def test_group_intervals_cover_and_naive_ones_do_not():
    rng, held = np.random.default_rng(0), []
    for _ in range(120):
        right = rng.random((40, 10)) < rng.beta(2.1, 0.9, size=40)[:, None]
        y = np.tile([1.0, 0.0], (400, 1))
        p = np.where(right.ravel()[:, None], [0.9, 0.1], [0.1, 0.9])
        ends = [
            ev.evaluate(y, p, ["a", "b"], "single", g, samples=200).metrics["accuracy"]
            for g in (None, np.arange(400) // 10)
        ]
        held.append([m["low"] <= 0.7 <= m["high"] for m in ends])
    naive, grouped = np.mean(held, axis=0)
    assert naive < 0.8 and grouped > 0.88


def rare_tags(rng, n, prevalence, skill):
    "Labels and scores of pictures with tags of which some hardly ever turn up."
    y = (rng.random((n, len(skill))) < prevalence).astype("float32")
    return y, skill * y + rng.normal(size=y.shape)


@pytest.mark.parametrize("n", [20, 80])
def test_a_mean_over_tags_lies_in_its_interval_and_so_does_the_truth(n):
    rng = np.random.default_rng(n)
    prevalence, skill = np.geomspace(0.03, 0.4, 12), np.tile([0.5, 1.5, 2.5], 4)
    truth = ev.average_precision(*rare_tags(rng, 100_000, prevalence, skill))
    held = []
    for _ in range(100):
        y, score = rare_tags(rng, n, prevalence, skill)
        e = ev.evaluate(y, norm.cdf(score), range(12), "multi", thresholds=0.9, samples=100)
        assert all(m["low"] <= m["value"] <= m["high"] for m in e.metrics.values())
        known = [row["yes"] > 0 for row in e.per_tag]
        m = e.metrics["mean average precision"]
        held.append(m["low"] <= truth[known].mean() <= m["high"])
    assert np.mean(held) >= 0.93


def test_fewer_than_two_groups_have_no_interval():
    y, p, _ = drawn(14)
    e = ev.evaluate(y, p, TAGS, "multi", groups=["Alien"] * 120)
    m = e.metrics["mean average precision"]
    assert math.isnan(m["low"]) and math.isnan(m["high"]) and not math.isnan(m["value"])
    assert math.isnan(
        ev.paired_difference(y, p, p, "mean average precision", groups=["Alien"] * 120)["low"]
    )


def test_paired_difference_knows_its_sign_and_cancels_what_is_shared():
    y, p, _ = drawn(15, n=300)
    films, better = np.arange(300) // 6, np.clip(p + 0.05 * y, 0, 1)
    gain = ev.paired_difference(y, p, better, "mean average precision", films)
    back = ev.paired_difference(y, better, p, "mean average precision", films)
    assert 0 < gain["low"] < gain["value"] < gain["high"] and gain["value"] == pytest.approx(
        -back["value"]
    )
    m = ev.evaluate(y, p, TAGS, "multi", films).metrics["mean average precision"]
    assert gain["high"] - gain["low"] < m["high"] - m["low"]
    assert gain["value"] == pytest.approx(
        np.mean(ev.average_precision(y, better) - ev.average_precision(y, p))
    )


def test_paired_difference_uses_what_both_could_read():
    y = np.eye(2)[[0, 0, 1, 1, 0]]
    p1, p2 = np.eye(2)[[0, 1, 1, 0, 0]], np.eye(2)[[0, 0, 1, 1, 0]]
    p1[4], p2[0] = np.nan, np.nan
    assert ev.paired_difference(y, p1, p2, "accuracy", samples=50)["value"] == pytest.approx(2 / 3)
    with pytest.raises(MovieTaggerError, match="'accuracy' or 'mean average precision'"):
        ev.paired_difference(y, p1, p2, "loss")


# --- lists and calibration


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), t=st.integers(2, 12))
def test_lists_are_those_of_sklearn_where_all_is_known(seed, t):
    y, p, _ = drawn(seed, 60, t)
    found = ev.evaluate(y, p, range(t), "multi", samples=0).metrics
    some, order = y.any(1), np.argsort(-p, axis=1, kind="stable")
    for k in (1, 3, 5, 10):
        if k >= t:
            assert f"precision at {k}" not in found
            continue
        said = np.zeros(y.shape)
        np.put_along_axis(said, order[:, :k], 1, 1)
        for what, score in (("precision", sk.precision_score), ("recall", sk.recall_score)):
            rows = some if what == "recall" else slice(None)
            want = score(y[rows], said[rows], average="samples", zero_division=0)
            assert found[f"{what} at {k}"]["value"] == pytest.approx(want, abs=1e-6)


def test_what_nobody_looked_at_is_in_no_list():
    y = np.array([[np.nan, 1, 0], [0, 1, np.nan], [1, 0, 0], [0, 0, 1]], "float32")
    p = np.array([[0.9, 0.8, 0.1], [0.2, 0.3, 0.9], [0.7, 0.2, 0.1], [0.6, 0.5, 0.4]])
    found = ev.evaluate(y, p, "abc", "multi", samples=0).metrics
    assert found["precision at 1"]["value"] == found["recall at 1"]["value"] == 0.75


def test_calibration_error_knows_the_bold_from_the_true():
    rng = np.random.default_rng(20)
    z = rng.normal(-1, 1.5, (800, 4))
    y = (rng.random(z.shape) < norm.cdf(z)).astype("float32")
    true, bold = (
        ev.evaluate(y, norm.cdf(k * z), TAGS, "multi").metrics["calibration error"] for k in (1, 3)
    )
    assert true["low"] < true["baseline"] < bold["low"] < bold["value"] < bold["high"]


# --- what comes out


def test_json_has_the_agreed_shape_and_no_nan():
    y, p, _ = drawn(16, unknown=0.3)
    y[:, 2], y[:, 3] = np.where(y[:, 2] == 1, 1, np.nan), np.where(y[:, 3] == 1, np.nan, y[:, 3])
    e = ev.evaluate(y, p, TAGS, "multi", np.arange(120) // 4, ev.tune_thresholds(y, p), samples=30)
    d = json.loads(json.dumps(e.to_dict(), allow_nan=False))
    assert d == e.to_dict() and list(d) == ["n", "kind", "metrics", "per_tag"]
    assert (
        list(d["metrics"])
        == ["mean average precision", "F1 macro", "F1 weighted", "F1 micro", "calibration error"]
        + ["precision at 1", "precision at 3", "recall at 1", "recall at 3"]  # of four tags
        == list(e.baselines)
    )
    assert all(
        list(m) == ["value", "low", "high", "baseline"] and None not in m.values()
        for m in d["metrics"].values()
    )
    assert [row["tag"] for row in d["per_tag"]] == TAGS
    assert {
        "yes",
        "no",
        "unknown",
        "average precision",
        "low",
        "high",
        "baseline",
        "threshold",
        "precision",
        "recall",
        "f1",
    } <= set(d["per_tag"][0])
    assert all(row["yes"] + row["no"] + row["unknown"] == d["n"] for row in d["per_tag"])
    assert d["per_tag"][2]["average precision"] is None and d["per_tag"][3]["f1"] is None
    assert e.unmeasured == {"phone": "no known no", "kiss": "no known yes"}
    assert "not measured: phone (no known no), kiss (no known yes)" in str(e)
    lines = str(e).splitlines()[:4]
    assert (
        len({line.index("baseline") for line in lines})
        == len({line.index("[") for line in lines})
        == 1
    )
    assert list(e.table().index) == TAGS and e._repr_markdown_().count("\n| ") >= 4


@pytest.mark.parametrize("kind", ["single", "multi"])
@pytest.mark.parametrize(
    "y", [np.zeros((3, 2)), np.full((3, 2), np.nan), np.zeros((0, 2)), np.array([[np.nan, 1]] * 3)]
)
def test_nothing_to_measure_is_no_crash(kind, y):
    e = ev.evaluate(y, np.full(y.shape, 0.5), ["a", "b"], kind, thresholds=[0.5, 0.5])
    json.dumps(e.to_dict(), allow_nan=False)
    assert e.to_dict()["metrics"]["mean average precision"] == dict.fromkeys(
        ("value", "low", "high", "baseline")
    )
    assert (
        str(e) and e._repr_markdown_() and len(e.table()) == 2 and set(e.unmeasured) == {"a", "b"}
    )


def test_where_nobody_ever_said_no_precision_and_f1_are_not_measured():
    y, p, _ = drawn(18)
    y[:, 2] = np.where(y[:, 2] == 1, 1, np.nan)
    cuts, rest = ev.tune_thresholds(y, p), [k for k in range(len(TAGS)) if k != 2]
    whole = ev.evaluate(y, p, TAGS, "multi", thresholds=cuts, samples=20)
    without = ev.evaluate(
        y[:, rest], p[:, rest], [TAGS[k] for k in rest], "multi", thresholds=cuts[rest], samples=20
    )
    row = whole.per_tag[2]
    assert (
        all(
            math.isnan(row[name])
            for name in ("average precision", "precision", "f1", "f1 baseline")
        )
        and row["recall"] == 1
    )
    for name, m in without.metrics.items():
        assert (whole.metrics[name]["value"], whole.metrics[name]["baseline"]) == pytest.approx(
            (m["value"], m["baseline"])
        ), name
    typed = np.where(y == 1, 1, np.nan)
    lost = ev.evaluate(typed, p, TAGS, "multi", thresholds=cuts, samples=20)
    assert all(math.isnan(number) for m in lost.metrics.values() for number in m.values())
    assert "not measured: no tag has both a known yes and a known no" in str(
        lost
    ) and "yes to everything" in str(lost)


def test_no_f1_without_thresholds():
    y, p, _ = drawn(17)
    e = ev.evaluate(y, p, TAGS, "multi", samples=10)
    assert not [name for name in e.metrics if "F1" in name]
    assert e.to_dict()["per_tag"][0]["f1"] is None
    assert "f1" not in e.table()


# --- what is refused

Y, P = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[0.9, 0.1], [0.2, 0.8]])


@pytest.mark.parametrize(
    "change, says",
    [
        (dict(p=P[:1]), "(2, 2) and the probabilities (1, 2)"),
        (dict(y=Y[0], p=P[0]), "both must be pictures x tags"),
        (dict(y=Y[:, :0], p=P[:, :0]), "both must be pictures x tags"),
        (dict(p=P * 2), "outside 0 to 1"),
        (dict(p=-P), "outside 0 to 1"),
        (
            dict(y=Y * 2),
            "neither 1 (yes), 0 (no) nor NaN (nobody looked) (first in row 0, column 0)",
        ),
        (
            dict(p=np.array([[0.9, 0.1], [np.nan, 0.8]])),
            "missing in a picture that has others; an unreadable picture is a "
            "row of NaN (first in row 1, column 0)",
        ),
        (dict(tags=["a"]), "1 tag names for 2 columns"),
        (dict(kind="both"), "'single' or 'multi', not 'both'"),
        (dict(groups=["f"]), "1 groups for 2 pictures"),
        (dict(thresholds=[0.1, 0.2, 0.3]), "3 thresholds for 2 tags"),
        (dict(y=np.ones((2, 2)), kind="single"), "Row 0 has 2 labels"),
    ],
)
def test_bad_input_is_one_sentence(change, says):
    good = dict(y=Y, p=P, tags=["a", "b"], kind="multi")
    with pytest.raises(MovieTaggerError) as e:
        ev.evaluate(**good | change)
    assert says in str(e.value) and "\n" not in str(e.value) and str(e.value).endswith(".")


def test_bad_weights_are_refused():
    with pytest.raises(MovieTaggerError, match="one a picture"):
        ev.average_precision(Y, P, [1, 2, 3])
    with pytest.raises(MovieTaggerError, match="one a picture"):
        ev.average_precision(Y, P, np.ones((2, 2, 2)))


# --- size


def test_a_thousand_resamples_of_a_real_test_set_take_seconds():
    rng = np.random.default_rng(18)
    y = (rng.random((5700, 21)) < 0.1).astype("float32")
    p = rng.random((5700, 21), dtype="float32")
    start = time.process_time()
    with warnings.catch_warnings(record=True) as seen:
        ev.evaluate(y, p, range(21), "multi", rng.integers(900, size=5700), 0.5, samples=1000)
    assert time.process_time() - start < 10 and not seen
