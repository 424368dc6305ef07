"The gates: what passes, what does not, and what they say of data that is broken or poisoned."

import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import beta, binom

from movie_tagger import tags
from movie_tagger.core import MovieTaggerError
from movie_tagger.judge.aims import Aim
from movie_tagger.judge.evaluation import paired_difference
from movie_tagger.judge.promise import lowest_rank, promises
from movie_tagger.retrain import gates
from movie_tagger.retrain.gates import Gates, at_aims, compare, kept_promises, not_worse
from movie_tagger.retrain.sanity import facts, sane, surprise

TAGS = ["car", "rain", "blood"]


def drawn(n=600, films=200, seed=0):
    "Labels, probabilities of a fair model, and films."
    r = np.random.default_rng(seed)
    y = (r.random((n, 3)) < [0.4, 0.3, 0.3]).astype(np.float32)
    return y, (0.25 * y + 0.75 * r.random((n, 3))).astype(np.float32), r.integers(films, size=n)


def worse(p, column, seed=1):
    "The same probabilities with one tag's replaced by chance."
    p = p.copy()
    p[:, column] = np.random.default_rng(seed).random(len(p))
    return p


# --- champion and challenger


def test_a_copy_of_the_champion_passes_and_a_worse_one_does_not():
    y, p, films = drawn()
    assert [v.passed for v in not_worse(y, p, p, TAGS, films, ["blood"])] == [True, True]
    overall, blood, rain = not_worse(y, p, worse(p, 2), TAGS, films, ["blood", "rain"])
    assert (overall.passed, blood.passed, rain.passed) == (False, False, True)
    assert blood.low < blood.value < blood.high < blood.limit == -0.05
    for number in (
        f"{blood.value:+.3f}".replace("-", "−"),
        "95 % interval",
        "blood fell from",
        "at most 0.05 may be lost.",
    ):
        assert number in blood.says


def test_the_interval_is_that_of_the_paired_difference():
    y, p, films = drawn()
    q = worse(p, 0)
    other = paired_difference(y, p, q, "mean average precision", films, samples=400, seed=3)
    v = not_worse(y, p, q, TAGS, films, samples=400, seed=3)[0]
    assert (v.value, v.low, v.high) == pytest.approx(
        (other["value"], other["low"], other["high"]), abs=1e-6
    )


def test_what_cannot_be_ruled_out_does_not_pass():
    y, p, films = drawn(60, 20)
    q = np.clip(p + np.random.default_rng(0).normal(0, 0.2, p.shape), 0, 1).astype(np.float32)
    v = not_worse(y, p, q, TAGS, films)[0]
    assert (
        v.low < -0.01
        and not v.passed
        and ("cannot be ruled out" in v.says or "may be lost" in v.says)
    )
    assert not_worse(y, p, q, TAGS, films, gates=Gates(margin=1))[0].passed


def test_unreadable_and_unlabelled_pictures_are_left_out_for_both():
    y, p, films = drawn()
    q, mask = worse(p, 0), np.arange(len(y)) % 5 == 0
    y2, p2, q2 = y.copy(), p.copy(), q.copy()
    y2[::15], p2[5::15], q2[10::15] = np.nan, np.nan, np.nan
    assert (
        not_worse(y2, p2, q2, TAGS, films)[0]
        == not_worse(y[~mask], p[~mask], q[~mask], TAGS, films[~mask])[0]
    )


@pytest.mark.parametrize(
    "spoil",
    [
        lambda y, p, f: (y * np.nan, p, f),
        lambda y, p, f: (y, p * np.nan, f),
        lambda y, p, f: (y, p, f * 0),
        lambda y, p, f: (y[:0], p[:0], f[:0]),
        lambda y, p, f: (y * 0, p, f),
        lambda y, p, f: (y[:1], p[:1], f[:1]),
    ],
)
def test_without_anything_to_judge_by_the_champion_stays(spoil):
    y, p, films = spoil(*drawn())
    overall, blood = not_worse(y, p, p, TAGS, films, ["blood"])
    assert not overall.passed and "cannot be judged" in overall.says
    assert blood.passed and "not compared" in blood.says
    assert len(compare(y, p, p, TAGS, films)) == 3


def test_what_does_not_fit_together_is_one_sentence():
    y, p, films = drawn()
    with pytest.raises(MovieTaggerError, match="no tag in common"):
        not_worse(y[:, :0], p[:, :0], p[:, :0], [], films)
    for bad in (
        (y[:5], p, p, TAGS, films),
        (y, p, p[:, :2], TAGS, films),
        (y, p, p, TAGS[:2], films),
        (y, p, p, TAGS, films[:7]),
    ):
        with pytest.raises(MovieTaggerError, match="must be pictures x tags"):
            not_worse(*bad)


def test_pictures_without_a_group_stand_for_themselves():
    y, p, _ = drawn(100)
    assert "of 100 groups" in not_worse(y, p, p, TAGS, [None] * 100)[0].says


def test_a_sensitive_tag_with_few_positives_fails_only_where_it_is_surely_worse():
    y, _, films = drawn(600, 600)
    r, rare = np.random.default_rng(5), np.flatnonzero(y[:, 2])[12:]
    y[rare, 2] = 0
    good = np.clip(0.75 * y + 0.25 * r.random(y.shape), 0, 1).astype(np.float32)
    noisy = np.clip(good + r.normal(0, 0.02, y.shape), 0, 1).astype(np.float32)
    few = not_worse(y, good, noisy, TAGS, films, ["blood"])[1]
    assert few.passed and "with fewer than 50 such groups" in few.says
    bad = not_worse(y, good, worse(good, 2), TAGS, films, ["blood"])[1]
    assert not bad.passed and "surely for the worse counts, and this one is." in bad.says


def test_a_sensitive_tag_that_the_challenger_has_lost_fails():
    y, p, films = drawn()
    v = not_worse(y, p, p, TAGS, films, ["gore"])[1]
    assert not v.passed and "no longer knows" in v.says


def test_the_table_has_the_greatest_loss_first():
    y, p, films = drawn()
    table = compare(y, p, worse(p, 1), TAGS, films)
    assert table.index[0] == "rain" and table["change"].is_monotonic_increasing
    assert (table["low"] <= table["change"]).all() and (table["change"] <= table["high"]).all()
    assert table.at["car", "yes"] == y[:, 0].sum() and table.at["car", "groups"] == len(
        np.unique(films[y[:, 0] == 1])
    )


# --- what thresholds are for

CUTS = [0.4, 0.4, 0.4]


def test_a_copy_reaches_what_it_reached_and_who_hardly_flags_any_more_does_not():
    y, p, films = drawn()
    aims = dict.fromkeys(TAGS, Aim("recall", 0.9))
    (same,), _ = at_aims(y, p, p, [CUTS, CUTS], TAGS, films, aims)
    assert same.passed and same.value == 0
    (less,), reached = at_aims(y, p, p, [CUTS, [0.9] * 3], TAGS, films, aims)
    assert not less.passed and less.high < -0.01 and "recall at the thresholds fell" in less.says
    yes = y == 1
    for column, cut in {"champion reaches": 0.4, "challenger reaches": 0.9}.items():
        assert np.allclose(reached[column], ((p >= cut) & yes).sum(0) / yes.sum(0))


def test_each_kind_of_aim_has_its_verdict_about_its_own_tags():
    y, p, films = drawn()
    aims = {"car": Aim("precision", 0.5), "rain": Aim("f1"), "blood": Aim("recall", 0.9)}
    verdicts, reached = at_aims(y, p, p, [CUTS, [0.4, 0.4, 2]], TAGS, films, aims)
    gates = [f"{what} at the thresholds" for what in ("precision", "F1", "recall")]
    assert [v.gate for v in verdicts] == gates
    assert [v.passed for v in verdicts] == [True, True, False]
    assert reached["aim"].tolist() == ["precision=0.5", "f1", "recall=0.9"]


def test_a_tag_without_an_aim_is_not_looked_at_and_one_that_nobody_flags_is_not_judged():
    y, p, films = drawn()
    (v,), reached = at_aims(
        y, p, p, [[2] * 3, [2] * 3], TAGS, films, {"car": Aim("precision", 0.9)}
    )
    assert v.passed and np.isnan(v.value) and "cannot be judged" in v.says
    assert reached["aim"].tolist() == ["precision=0.9", "", ""]
    assert at_aims(y, p, p, [CUTS, CUTS], TAGS, films, {})[0] == []


# --- promises


def test_the_rank_is_the_highest_that_the_binomial_distribution_allows():
    assert [lowest_rank(n, 0.95, 0.95) for n in (0, 1, 58, 59, 92, 93)] == [0, 0, 0, 1, 1, 2]
    for n in (22, 60, 150, 999):
        for recall, confidence in ((0.9, 0.9), (0.95, 0.95), (0.8, 0.99)):
            k = lowest_rank(n, recall, confidence)
            assert (k == 0 or binom.cdf(k - 1, n, 1 - recall) <= 1 - confidence) and binom.cdf(
                k, n, 1 - recall
            ) > 1 - confidence


@pytest.mark.parametrize(
    ("recall", "confidence", "n"), [(0.95, 0.95, 80), (0.9, 0.9, 60), (0.8, 0.95, 40)]
)
def test_a_promise_is_kept_as_often_as_it_says(recall, confidence, n):
    r, trials = np.random.default_rng(0), 1500
    scores = r.beta(3, 2, (trials, n))
    found = [
        promises(np.ones((n, 1)), s[:, None], ["blood"], {"blood": (recall, confidence)})["blood"][
            "threshold"
        ]
        for s in scores
    ]
    kept = (beta.sf(found, 3, 2) >= recall).sum()
    assert kept >= binom.ppf(1e-6, trials, confidence)


def test_a_promise_says_what_it_rests_on_and_holds_after_rounding():
    y = np.array([[1.0]] * 70 + [[0.0]] * 30 + [[np.nan]] * 50)
    p = np.r_[np.linspace(0.123456, 0.9, 70), np.zeros(80)][:, None]
    assert promises(y, p, ["blood"], {"blood": (0.95, 0.95), "gore": (0.9, 0.9)}) == {
        "blood": {
            "threshold": 0.1234,
            "recall": 0.95,
            "confidence": 0.95,
            "reviewed": 100,
            "positives": 70,
        }
    }
    assert all(round(float(s), 4) >= 0.1234 for s in p[:70, 0])
    assert promises(y[20:], p[20:], ["blood"], {"blood": (0.95, 0.95)}) == {}


def test_a_film_cannot_vouch_for_itself():
    y, p = np.ones((300, 1)), np.random.default_rng(0).random((300, 1))
    assert promises(y, p, ["blood"], {"blood": (0.95, 0.95)}, np.arange(300) // 10) == {}
    assert (
        promises(y, p, ["blood"], {"blood": (0.95, 0.95)}, np.arange(300) // 5)["blood"][
            "positives"
        ]
        == 60
    )
    assert (
        promises(y, p, ["blood"], {"blood": (0.95, 0.95)}, [None] * 300)["blood"]["positives"]
        == 300
    )


def test_a_lost_or_weaker_promise_fails():
    old = {"threshold": 0.2, "recall": 0.95, "confidence": 0.95, "reviewed": 100, "positives": 80}

    def passed(new):
        return [v.passed for v in kept_promises({"promises": {"blood": old}}, new)]

    assert (
        passed({})
        == passed({"blood": old | {"recall": 0.9}})
        == passed({"blood": old | {"confidence": 0.9}})
        == [False]
    )
    assert passed({"blood": old | {"recall": 0.97}}) == [True]
    assert kept_promises({}, {}) == kept_promises({"promises": None}, {"blood": old}) == []


# --- who types what the champion finds unlikely


def opinions(stills=400, tags=12, seed=0):
    "A champion's probabilities, and what thirty honest users typed; `odd` cannot be seen."
    r = np.random.default_rng(seed)
    truth = r.random((stills, tags)) < 0.3
    p = pd.DataFrame(
        np.clip(truth * 0.5 + r.random((stills, tags)) * 0.6, 0, 1),
        range(stills),
        [f"tag {t}" for t in range(tags - 1)] + ["odd"],
    )
    p["odd"] = r.random(stills)
    still, tag = np.nonzero(truth & (r.random(truth.shape) < 0.4))
    return (
        p,
        pd.DataFrame(
            {
                "user": r.integers(30, size=len(still)).astype(str),
                "still": still,
                "tag": p.columns[tag],
                "film": still // 2,
            }
        ),
        r,
    )


def by(user, stills, tags):
    return pd.DataFrame(
        {"user": user, "still": stills, "tag": tags, "film": np.asarray(stills) // 2}
    )


def test_who_types_at_random_is_found_and_who_likes_what_cannot_be_seen_is_not():
    for seed in range(5):
        p, typed, r = opinions(seed=seed)
        assert surprise(typed, p)[0].passed
        fan = typed.assign(
            user=np.where(
                typed["tag"].eq("odd") & (r.random(len(typed)) < 0.6), "fan", typed["user"]
            )
        )
        assert surprise(fan, p)[0].passed
        vandal = pd.concat(
            [typed, by("vandal", r.permutation(400)[:100], r.choice(p.columns, 100))]
        )
        (v,) = surprise(vandal, p)
        assert (
            not v.passed and "user vandal has typed" in v.says and v.limit < v.low < v.value < 0.2
        )
        assert surprise(vandal, p, Gates(max_wrong=0.5))[0].passed


def test_a_film_of_one_user_is_one_witness():
    p, typed, r = opinions()
    bad = by("vandal", r.permutation(400)[:60], r.choice(p.columns, 60))
    assert not surprise(pd.concat([typed, bad]), p)[0].passed
    assert surprise(pd.concat([typed, bad.assign(film=9999)]), p)[0].passed


def test_where_there_is_too_little_to_go_by_nobody_is_accused():
    p, typed, r = opinions()
    few = by("vandal", range(9), ["tag 0"] * 9)
    assert (
        surprise(typed[:40], p)
        == surprise(by("a", [], []), p)
        == surprise(typed.assign(tag="unknown to the champion"), p)
        == surprise(typed, p * np.nan)
        == []
    )
    assert surprise(pd.concat([typed, few]), p)[0].passed
    alone = by("vandal", r.permutation(400)[:80], r.choice(p.columns, 80))
    assert surprise(alone, p)[0].passed  # nobody to be held against


# --- data


@pytest.fixture(scope="module")
def site(real_data):
    found = tags.read_dump(real_data / "site" / "site.sql")
    return found["shots"], found["tags"]


def months(shots, said, k=12):
    ends = pd.date_range(
        min(shots["created_at"].min(), said["created_at"].min()) - pd.Timedelta(1, "s"),
        max(shots["created_at"].max(), said["created_at"].max()),
        k + 1,
    )
    return [
        (shots[shots["created_at"] <= end], said[said["created_at"] <= end]) for end in ends[1:]
    ]


def failed(before, now):
    return {v.gate for v in sane(before, now) if not v.passed}


def plain(facts):
    return json.loads(json.dumps(facts, allow_nan=False))


def test_twelve_honest_months_pass(site):
    before = None
    for shots, said in months(*site):
        now = plain(facts(shots, said, before))
        assert failed(before, now) == set()
        before = now
    assert len(json.dumps(before)) < 20_000


@pytest.mark.parametrize("tag", ["gun", "man", "woman", "interior", "never seen before"])
def test_each_month_that_one_user_poisons_is_refused(site, tag):
    cut = months(*site)
    for k, ((old_shots, old), (shots, said)) in enumerate(zip(cut, cut[1:], strict=False)):
        target = shots[~shots["id"].isin(old_shots["id"])].sample(frac=0.15, random_state=k)
        typed = pd.DataFrame(
            {
                "id": said["id"].max() + 1 + np.arange(len(target)),
                "value": tag,
                "ref_id": target["id"].to_numpy(),
                "user_id": 62,
                "created_at": said["created_at"].max(),
                "updated_at": said["created_at"].max(),
            }
        )
        before = facts(old_shots, old)
        now = facts(shots, pd.concat([said, typed]), before)
        assert "one user, one tag" in failed(before, now)
        says = next(v.says for v in sane(before, now) if v.gate == "one user, one tag")
        assert "User 62" in says and repr(tag) in says


def test_each_month_in_which_half_of_the_rows_are_gone_is_refused(site):
    cut = months(*site)
    for (old_shots, old), (shots, said) in zip(cut, cut[1:], strict=False):
        before = facts(old_shots, old)
        assert failed(before, facts(shots.iloc[::2], said, before)) == {"rows of shots"}
        assert "rows of tags" in failed(before, facts(shots, said.iloc[::2], before))
        assert {"rows of shots", "rows of tags"} <= failed(
            before, facts(shots.head(0), said.head(0), before)
        )


def test_of_rows_that_all_have_other_ids_no_word_is_called_new(site):
    (old_shots, old), (shots, said) = months(*site)[5:7]
    before = facts(old_shots, old)
    renumbered = said.assign(id=said["id"] + said["id"].max())
    assert failed(before, facts(shots, renumbered, before)) == {"rows of tags"}


def test_many_new_words_and_one_busy_user_are_refused(site):
    cut = months(*site)
    (old_shots, old), (shots, said) = cut[5], cut[6]
    before, new = facts(old_shots, old), said.index[~said["id"].isin(old["id"])]
    words = said.copy()
    words.loc[new[::3], "value"] = [f"word {i}" for i in range(len(new[::3]))]
    assert failed(before, facts(shots, words, before)) == {"new tags"}
    busy = said.copy()
    busy.loc[new[::2], "user_id"] = 7
    assert failed(before, facts(shots, busy, before)) == {"one user"}


def test_one_film_full_of_helicopters_is_honest_and_forty_films_are_odd():
    r = np.random.default_rng(0)
    shots = pd.DataFrame(
        {"id": np.arange(1, 2001), "movie_id": np.r_[np.arange(1960) // 4, [999] * 40]}
    )
    said = pd.DataFrame(
        {
            "id": np.arange(1, 3001),
            "value": r.choice(list("abcdefgh"), 3000),
            "ref_id": r.integers(1, 1900, 3000),
            "user_id": r.integers(1, 400, 3000),
        }
    )
    before = facts(shots, said.head(2500))
    for stills, want in ((np.arange(1961, 2001), set()), (np.arange(1, 160, 4), {"tag rates"})):
        batch = pd.DataFrame(
            {
                "id": 5000 + np.arange(40),
                "value": "helicopter",
                "ref_id": stills,
                "user_id": np.arange(40),
            }
        )
        assert failed(before, facts(shots, pd.concat([said, batch]), before)) == want


def test_a_wrong_clock_hides_nothing(site):
    (old_shots, old), (shots, said) = months(*site)[5:7]
    old_shots, old = old_shots.copy(), old.copy()
    for frame in (old_shots, old):
        frame.loc[frame.index[3], "created_at"] = pd.Timestamp("2099-01-01")
    before = facts(old_shots, old)
    now = facts(shots, said, before)
    assert (now["shots"]["new"], now["tags"]["new"]) == (
        len(shots) - len(old_shots),
        len(said) - len(old),
    )


def test_tables_that_are_empty_or_full_of_holes_do_not_break_it():
    nothing = pd.DataFrame(
        {
            "id": pd.array([], "Int64"),
            "value": pd.array([], "str"),
            "ref_id": pd.array([], "Int64"),
            "user_id": pd.array([], "Int64"),
            "created_at": pd.to_datetime([]),
        }
    )
    shots = nothing[["id", "created_at"]].assign(movie_id=nothing["id"])
    empty = plain(facts(shots, nothing))
    assert failed(None, empty) == {"rows of shots", "rows of tags"}
    assert failed(empty, plain(facts(shots, nothing, empty))) == {"rows of shots", "rows of tags"}
    holes = pd.DataFrame(
        {
            "id": pd.array([1, 2, 3], "Int64"),
            "value": pd.array([None, "", "Car "], "str"),
            "ref_id": pd.array([None, 9, 1], "Int64"),
            "user_id": pd.array([None] * 3, "Int64"),
            "created_at": pd.to_datetime([None, None, "2020-01-01"]),
        }
    )
    stills = pd.DataFrame(
        {
            "id": pd.array([1, 1], "Int64"),
            "movie_id": pd.array([None, 4], "Int64"),
            "created_at": pd.to_datetime([None, None]),
        }
    )
    found = plain(facts(stills, holes, empty))
    assert found["new"]["by one user"] is None and found["shots"]["last time"] is None
    assert failed(empty, found) == set() == failed(found, plain(facts(stills, holes, found)))
    many = pd.concat([holes.assign(id=holes["id"] + 3 * k) for k in range(40)])
    assert sane(found, plain(facts(stills, many, found)))


def test_a_site_without_users_and_films_is_looked_at_all_the_same():
    shots = pd.DataFrame({"id": range(300)})
    said = pd.DataFrame({"id": range(300), "value": ["a", "b", "c"] * 100, "ref_id": range(300)})
    before = facts(shots.head(150), said.head(150))
    found = sane(before, facts(shots, said, before))
    assert {v.gate for v in found} == {
        "rows of shots",
        "rows of tags",
        "new tags",
        "tag rates",
    } and all(v.passed for v in found)


@pytest.mark.parametrize(
    ("table", "column"), [("shots", "id"), ("tags", "value"), ("tags", "ref_id"), ("tags", "id")]
)
def test_a_changed_schema_is_named(table, column):
    frames = {
        "shots": pd.DataFrame({"id": [1]}),
        "tags": pd.DataFrame({"id": [1], "value": ["a"], "ref_id": [1]}),
    }
    frames[table] = frames[table].drop(columns=column)
    with pytest.raises(
        MovieTaggerError, match=f"The table {table} has no column '{column}'; it has"
    ):
        facts(**frames)


# --- pictures

ONE = (pd.DataFrame({"id": [1]}), pd.DataFrame({"id": [1], "value": ["a"], "ref_id": [1]}))


def test_unreadable_and_strange_pictures_are_refused():
    r = np.random.default_rng(0)
    old, new = r.normal(size=(400, 64)), r.normal(size=(200, 64))
    before = plain(facts(*ONE, None, old, "lite0"))
    assert before["pictures"]["all"]["n"] == 400

    def verdicts(x, encoder="lite0"):
        return failed(before, plain(facts(*ONE, before, x, encoder)))

    assert verdicts(new) == set()
    assert verdicts(np.where(np.arange(200)[:, None] < 12, np.nan, new)) == {"unreadable pictures"}
    assert verdicts(new + 1) == {"drift"}
    assert (
        verdicts(new + 1, "lite2")
        == verdicts(new[:49] + 1)
        == verdicts(r.normal(size=(200, 32)) + 1, "another")
        == set()
    )
    assert verdicts(new * np.nan) == {"unreadable pictures"}
    assert verdicts(new[:0]) == set()


def test_what_is_remembered_of_pictures_is_that_of_all_of_them():
    r = np.random.default_rng(0)
    x = r.normal(size=(500, 40)) * r.random(40)
    at_once = facts(*ONE, None, x, "e")["pictures"]["all"]
    found = facts(*ONE, None, x[:123], "e")
    found = plain(facts(*ONE, found, None))
    found = facts(*ONE, found, x[123:], "e")["pictures"]["all"]
    assert found["n"] == 500
    for key in ("mean", "variance"):
        assert found[key] == pytest.approx(at_once[key], abs=1e-5)


def test_months_without_pictures_say_nothing_about_pictures():
    before = plain(facts(*ONE, None, np.full((60, 8), np.nan), "e"))
    assert failed(None, before) == {"unreadable pictures"}
    assert {v.gate for v in sane(before, plain(facts(*ONE, before)))} == {
        "rows of shots",
        "rows of tags",
    }


def test_every_verdict_is_a_sentence(site):
    (old_shots, old), (shots, said) = months(*site)[5:7]
    y, p, films = drawn()
    before = facts(old_shots, old, None, np.random.default_rng(0).normal(size=(99, 9)), "e")
    found = [
        *sane(
            before, facts(shots, said, before, np.random.default_rng(1).normal(size=(99, 9)), "e")
        ),
        *not_worse(y, p, worse(p, 1), TAGS, films, ["rain", "x"]),
    ]
    assert len(found) == 11
    for v in found:
        assert (
            v.says[0].isupper() | v.says.startswith(tuple([*TAGS, "x", "mean", "average"]))
            and v.says.endswith(".")
            and type(v.passed) is bool
        ), v
    assert gates.Verdict(**plain({k: None if v != v else v for k, v in vars(found[0]).items()}))
