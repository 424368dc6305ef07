"Behind silence: odd labels have defined answers, reviewed cells are anchors, the card says so."

import json

import numpy as np
import pandas as pd
import pytest
from conftest import movie_tagger

from movie_tagger import data
from movie_tagger.judge.calibration import calibration_error
from movie_tagger.judge.evaluation import average_precision
from movie_tagger.learn.head import fit
from movie_tagger.learn.hidden import expected_thresholds, look_behind
from movie_tagger.learn.training import on_reviewed, untold
from movie_tagger.models.bundle import _on_silence
from movie_tagger.sample.make import draw_stills

FILMS = np.repeat([f"film {i}" for i in range(50)], 8)
TAGS = ["rain", "hat", "car"]


@pytest.fixture(scope="module")
def world():
    "Embeddings (400, 20) and what can be seen in them (400, 3)."
    r = np.random.default_rng(0)
    x = r.normal(size=(400, 20)).astype(np.float32)
    score = 3 * x @ r.normal(size=(20, 3)) / np.sqrt(20) - np.array([1.5, 1, 0.5])
    there = (r.random(score.shape) < 1 / (1 + np.exp(-score))).astype(np.float32)
    return x, there


def typed(there, share, seed=1):
    said = (there == 1) & (np.random.default_rng(seed).random(there.shape) < share)
    return np.where(said, 1, np.nan).astype(np.float32)


def frame(y):
    return data.from_array(y, [f"still {i}" for i in range(len(y))], TAGS)


def one_yes(y):
    y[:, 1] = np.nan
    y[3, 1] = 1


def everybody_types_it(y):
    y[:, 1] = 1
    y[0, 1] = np.nan


def nobody_looked(y):
    y[:, 1] = np.nan


def refused_once(y):
    y[7, 1] = 0


def only_refused(y):
    y[:, 1] = np.nan
    y[:90, 1] = 0


def one_user_types_everything(y):
    y[:40] = 1


def all_unknown(y):
    y[:] = np.nan


@pytest.mark.parametrize("films", [FILMS, np.full(400, "one film"), None])
@pytest.mark.parametrize(
    "oddity",
    [
        one_yes,
        everybody_types_it,
        nobody_looked,
        refused_once,
        only_refused,
        one_user_types_everything,
        all_unknown,
    ],
)
def test_odd_labels_have_defined_answers(world, oddity, films):
    x, there = world
    y = typed(there, 0.4)
    oddity(y)
    found = look_behind(x, y, films)
    assert np.isfinite(found.weight).all() and np.isfinite(found.bias).all()
    assert ((found.share_typed > 0) & (found.share_typed < 1)).all()
    held_out = films is None or len(set(films)) > 1
    assert np.isfinite(found.probabilities).all() == held_out
    if held_out:
        assert ((found.probabilities >= 0) & (found.probabilities <= 1)).all()
        cut = expected_thresholds(y, found.probabilities, found.share_typed)
        assert ((cut >= 0) & (cut <= 1)).all()
        assert (cut[~(y == 1).any(0)] == 1).all()


def test_a_share_typed_of_one_leaves_silence_a_no(world):
    x, there = world
    y = typed(there, 1)
    y[there == 0] = 0
    y[0] = np.nan
    found = look_behind(x, y, FILMS)
    assert abs(found.probabilities.mean(0) - there.mean(0)).max() < 0.06


def test_where_nothing_is_hidden_the_result_is_that_of_what_is_known(world):
    x, there = world
    head, p = fit(x, frame(there), FILMS, kind="multi")
    _, known = fit(x, frame(there), FILMS, kind="multi", weak_no=0)
    assert head.share_typed is None
    gain = average_precision(there, p) - average_precision(there, known)
    assert abs(gain.mean()) < 0.02
    assert calibration_error(there, p) < 0.05


@pytest.mark.parametrize("reviewed", [0, 60])
def test_probabilities_say_what_can_be_seen(world, reviewed):
    x, there = world
    y = typed(there, 0.4)
    looked = np.random.default_rng(2).random(there.shape).argsort(0) < reviewed
    y[looked] = there[looked]
    head, p = fit(x, frame(y), FILMS, kind="multi")
    assert np.isfinite(head.share_typed).all()
    assert calibration_error(there, p) < 0.08
    assert abs(p.mean(0) - there.mean(0)).max() < 0.12


def test_cells_unknown_for_no_reason_say_nothing(world):
    x, there = world
    y = np.where(np.random.default_rng(3).random(there.shape) < 1 / 3, there, np.nan)
    _, p = fit(x, frame(y.astype(np.float32)), FILMS, kind="multi")
    assert abs(p.mean(0) - there.mean(0)).max() < 0.1


def test_the_card_has_a_table_and_says_whether_somebody_checked(world):
    x, there = world
    labels = frame(typed(there, 0.4))
    assert untold(labels)
    head, p = fit(x, labels, FILMS, kind="multi")
    settings = {
        "silence": TAGS,
        "silence judged": True,
        "share typed": dict(zip(TAGS, head.share_typed)),
    }
    card = "\n".join(_on_silence({"tags": TAGS, "settings": settings}))
    assert "assumed, not checked" in card and card.count("| hat |") == 1
    answers = pd.DataFrame(pd.NA, labels.index[:50], ["hat"], dtype="boolean")
    answers["hat"] = there[:50, 1] == 1
    found = on_reviewed(labels, p, answers)
    assert found["reviewed"]["tags"]["hat"]["reviewed"] == 50
    assert found["reviewed"]["tags"]["hat"]["yes"] == there[:50, 1].sum()
    card = "\n".join(_on_silence({"tags": TAGS, "settings": settings | found}))
    assert "looked at 50 cells drawn by lot" in card and "| hat |" in card
    assert on_reviewed(labels, p, answers.iloc[:0]) == {}


def test_old_manifests_are_told_as_before():
    settings = {"silence": ["hat"], "silence judged": False}
    card = "\n".join(_on_silence({"tags": TAGS, "settings": settings}))
    assert "Hardly anybody said no to hat: there silence counted as no" in card
    assert _on_silence({"tags": TAGS, "settings": {}}) == []


# --- the same through the command


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    "A folder with 40 drawn stills of 10 films, and what was typed of them."
    folder = tmp_path_factory.mktemp("site") / "stills"
    draw_stills(folder, 40, 10)
    return folder, pd.read_csv(folder / "tags.csv", keep_default_na=False)


def tags_of(n, tag, rest):
    "`tag` added to what was typed of the first `n` stills."
    return [f"{old}, {tag}".strip(", ") if i < n else old for i, old in enumerate(rest)]


ODD_TABLES = {
    "a tag with two yes": lambda t: t.assign(tags=tags_of(2, "comet", t["tags"])),
    "a tag that everybody types": lambda t: t.assign(tags=tags_of(40, "film", t["tags"])),
    "a tag that most refused": lambda t: t.assign(
        tags=[f"{old}, {'snake' if i < 3 else '-snake'}" for i, old in enumerate(t["tags"])]
    ),
    "one who types everything": lambda t: t.assign(
        tags=tags_of(
            4, ", ".join(sorted({x for v in t["tags"] for x in v.split(", ") if x})), t["tags"]
        )
    ),
    "one film": lambda t: t.assign(group="the film"),
}


@pytest.mark.parametrize("oddity", ODD_TABLES)
def test_odd_tables_are_trained_on_and_nothing_is_nan(site, oddity, tmp_path):
    folder, table = site
    odd = folder / f"{oddity}.csv"
    ODD_TABLES[oddity](table).to_csv(odd, index=False)
    done = movie_tagger("train", odd, "--absent", "unknown", "--out", tmp_path / "m")
    assert (done.code, done.err) == (0, "") and "nan" not in done.out.lower()
    manifest = json.loads(
        (tmp_path / "m" / "manifest.json").read_text(), parse_constant=pytest.fail
    )
    shares = manifest["settings"]["share typed"]
    assert shares and all(0 < share < 1 for share in shares.values())
    assert all(0 <= cut <= 1 for cut in manifest["thresholds"])
    assert ("Not measured" in done.out) == (oddity == "one film")
    asked = "tag", tmp_path / "m", odd, "--out", tmp_path / "t.csv"
    assert movie_tagger(*asked, "--scores", tmp_path / "s.csv").code == 0
    assert pd.read_csv(tmp_path / "s.csv").notna().all(axis=None)


def test_a_table_in_which_nobody_typed_anything_is_a_sentence(site, tmp_path):
    folder, table = site
    table.assign(tags="").to_csv(folder / "nothing.csv", index=False)
    done = movie_tagger(
        "train", folder / "nothing.csv", "--absent", "unknown", "--out", tmp_path / "m"
    )
    assert done.code == 1 and "Traceback" not in done.err and done.err.count("\n") == 1
