"Calibration and aims: what training makes of them, and what it refuses."

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit, softmax

from movie_tagger.core import MovieTaggerError
from movie_tagger.judge.aims import aim, aims_of, costs, threshold_for, threshold_for_list
from movie_tagger.judge.calibration import as_it_is, calibrate, errors, reliability
from movie_tagger.learn import head
from movie_tagger.learn.training import choose_thresholds, settle

pytestmark = pytest.mark.filterwarnings("error")
TAGS = ["car", "rain", "blood"]


def drawn(seed, n=600, boldness=1.0):
    "Labels, probabilities that are true but for their boldness, and films of four."
    rng = np.random.default_rng(seed)
    z = rng.normal([-0.5, -1.5, -3.0], 1.5, (n, 3))
    y = (rng.random(z.shape) < expit(z)).astype(float)
    y[0], y[1] = 1, 0
    return y, expit(boldness * z), np.arange(n) // 4


def frame(y):
    return pd.DataFrame(y, columns=TAGS).astype("boolean")


# --- calibration


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), boldness=st.floats(0.3, 4), unknown=st.sampled_from([0, 0.6]))
def test_a_line_keeps_the_order_and_comes_closer_to_the_truth(seed, boldness, unknown):
    y, p, _ = drawn(seed, 2000, boldness)
    typed = np.where(np.random.default_rng(seed).random(y.shape) < unknown, np.nan, y)
    lines = calibrate(typed, p, "multi")
    q = lines.probabilities(p, "multi")
    assert (lines.slope > 0).all() and np.isfinite(lines.offset).all()
    for before, after in zip(p.T, q.T):
        assert (np.diff(after[np.argsort(before, kind="stable")]) >= 0).all()
    cost = [-(y * np.log(x) + (1 - y) * np.log1p(-x)).mean() for x in (p, q.astype(float))]
    assert cost[1] <= cost[0] + 0.002


def test_a_rare_tag_borrows_the_line_of_the_others():
    y, p, _ = drawn(1, 3000, boldness=2)
    y[:, 2] = 0
    y[[5, 700], 2] = 1
    alone = calibrate(y[:, 2:], p[:, 2:], "multi")
    together = calibrate(y, p, "multi")
    assert abs(together.slope[2] - 0.5) < abs(alone.slope[0] - 0.5) + 0.2
    assert np.abs(together.slope[:2] - 0.5).max() < 0.1


@pytest.mark.parametrize(
    "spoil",
    [
        lambda y, p: (y * np.nan, p),
        lambda y, p: (y, p * np.nan),
        lambda y, p: (y * 0, p),
        lambda y, p: (y * 0 + 1, p),
        lambda y, p: (y[:0], p[:0]),
        lambda y, p: (np.where(y == 1, 1, np.nan), p),
    ],
)
def test_where_nothing_can_be_learnt_nothing_changes(spoil):
    y, p = spoil(*drawn(2)[:2])
    for kind in ("multi", "single"):
        if kind == "single":
            y = np.where(y.sum(1, keepdims=True) == 1, y, np.nan)
            y = np.full(y.shape, np.nan)
        lines = calibrate(y, p, kind)
        assert (lines.slope == 1).all() and (lines.offset == 0).all()


def test_unreadable_rows_and_extreme_probabilities_do_no_harm():
    y, p, _ = drawn(3)
    p[:5], p[5:8], p[8:11] = np.nan, 0, 1
    q = calibrate(y, p, "multi").probabilities(p, "multi")
    assert np.isnan(q[:5]).all() and np.isfinite(q[5:]).all()


def test_a_temperature_is_found_for_single_labels():
    rng = np.random.default_rng(4)
    z = rng.normal(size=(3000, 3))
    label = (softmax(z, axis=1).cumsum(1) > rng.random((3000, 1))).argmax(1)
    lines = calibrate(np.eye(3)[label], softmax(4 * z, axis=1), "single")
    assert lines.slope == pytest.approx([0.25] * 3, abs=0.03) and (lines.offset == 0).all()


def test_a_head_says_the_same_with_its_lines_folded_in():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(400, 8)).astype("float32")
    y = (x[:, :3] + rng.normal(size=(400, 3)) > 0.5).astype(float)
    fitted, p = head.fit(x, frame(y), np.arange(400) // 4)
    lines = calibrate(y, p, "multi")
    want = lines.probabilities(fitted.probabilities(x), "multi")
    np.testing.assert_allclose(fitted.calibrated(lines).probabilities(x), want, atol=2e-6)


def test_calibration_is_learnt_without_the_films_that_it_is_measured_on():
    y, p, films = drawn(6, 300, boldness=3)
    other = y.copy()
    fold = films == films[0]
    other[fold] = 1 - other[fold]
    one, two = (settle(frame(labels), p, "multi", films) for labels in (y, other))
    assert (one.calibration.slope != two.calibration.slope).any()
    np.testing.assert_array_equal(one.probabilities[fold], two.probabilities[fold])
    np.testing.assert_array_equal(one.cuts[fold], two.cuts[fold])


def test_tags_learnt_from_silence_are_left_alone():
    y, p, films = drawn(7)
    share = np.array([np.nan, 0.3, np.nan])
    lines = settle(frame(y), p**2, "multi", films, share).calibration
    assert lines.slope[1] == 1 and lines.offset[1] == 0 and lines.slope[0] != 1


def test_a_reliability_table_counts_every_known_cell():
    y, p, _ = drawn(8)
    y[::3] = np.nan
    table = reliability(y, p)
    assert table["cells"].sum() == (~np.isnan(y)).sum()
    assert (table["low"] <= table["true"]).all() and (table["true"] <= table["high"]).all()
    assert len(reliability(y * np.nan, p)) == 0
    assert np.isnan(errors(y * np.nan, p)(np.ones((len(y), 1)))).all()


# --- aims


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), share=st.floats(0.05, 1), levels=st.sampled_from([None, 3]))
def test_a_threshold_does_what_it_is_for_on_what_it_was_chosen_on(seed, share, levels):
    y, p, _ = drawn(seed, 200)
    p = p if levels is None else np.round(p * levels) / levels
    for j in range(3):
        cut, far = threshold_for(aim(f"recall={share}"), y[:, j], p[:, j])
        assert far is None and y[p[:, j] >= cut, j].sum() / y[:, j].sum() >= share - 1e-9
        cut, far = threshold_for(aim(f"precision={share}"), y[:, j], p[:, j])
        right = y[p[:, j] >= cut, j].mean()
        assert right >= (share if far is None else far) - 1e-9


def test_what_it_costs_is_counted():
    table = costs([1, 0, 1, 0, np.nan], [0.9, 0.9, 0.4, 0.1, 0.8])
    assert table["flagged"].tolist() == [0.5, 0.75, 1]
    assert table["recall"].tolist() == [0.5, 1, 1]
    assert table["threshold"].tolist() == pytest.approx([0.65, 0.25, 0.05])


def test_an_aim_out_of_reach_comes_as_near_as_it_can():
    y, p, films = drawn(9)
    made = settle(frame(y), p, "multi", films, aim="precision=0.99")
    assert set(made.unreached) <= set(TAGS) and "blood" in made.unreached
    text, nearest = made.unreached["blood"]
    assert text == "precision=0.99" and 0 < nearest < 0.99
    y[:, 2] = 0
    made = settle(frame(y), p, "multi", films, aim={"blood": "recall=0.9"})
    assert made.thresholds[2] == 1.0 and np.isnan(made.unreached["blood"][1])


def test_top_gives_so_many_tags_on_average():
    _, p, _ = drawn(10)
    assert (p >= threshold_for_list(aim("top=2"), p)).sum(1).mean() == pytest.approx(2)
    assert threshold_for_list(aim("top=9"), p) <= p.min()
    y, p, _ = drawn(10)
    cuts = choose_thresholds(frame(y), p, "multi", aim="top=2")
    assert len(set(cuts)) == 1


def test_f1_is_what_it_was():
    y, p, _ = drawn(11)
    cuts = choose_thresholds(frame(y), p, "multi")
    assert cuts == choose_thresholds(frame(y), p, "multi", aim="f1")
    some = choose_thresholds(frame(y), p, "multi", aim={"rain": "recall=0.9"})
    assert [a == b for a, b in zip(cuts, some)] == [True, False, True]


@pytest.mark.parametrize(
    "given, says",
    [
        ("precision=1.5", "is no aim"),
        ("recall=0", "is no aim"),
        ("precision=-1", "is no aim"),
        ("recall=inf", "is no aim"),
        ("top=2.5", "is no aim"),
        ("top=inf", "is no aim"),
        ("", "is no aim"),
        ({"bloood": "f1"}, "did you mean 'blood'?"),
        ({"zzz": "f1"}, "there are car, rain, blood."),
        ({"blood": "top=5"}, "about all tags"),
        ({"blood": None}, "is no aim"),
    ],
)
def test_odd_aims_are_one_sentence(given, says):
    with pytest.raises(MovieTaggerError, match="^[^\n]*$") as e:
        aims_of(given, TAGS)
    assert says in str(e.value)


def test_lines_are_plain_numbers():
    assert json.loads(json.dumps(as_it_is(2).to_dict())) == {"slope": [1, 1], "offset": [0, 0]}
    assert logit(as_it_is(1).probabilities(np.array([[0.25]]), "multi")) == pytest.approx(
        logit(0.25), rel=1e-5
    )
