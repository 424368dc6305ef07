"A month of retraining, end to end: unattended, killed, poisoned, and while people are asking."

import contextlib
import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import movie_tagger, need_database
from test_serve import say, serving
from test_serve import tags as ask

from movie_tagger import data, retrain
from movie_tagger.core import MovieTaggerError
from movie_tagger.judge.evaluation import evaluate
from movie_tagger.ledger import review
from movie_tagger.ledger.ledger import Ledger
from movie_tagger.models import bundle as bundles
from movie_tagger.models import load, shelf
from movie_tagger.retrain import month
from movie_tagger.retrain.plan import read_plan
from movie_tagger.retrain.sync import learnable
from movie_tagger.retrain.trial import answers, put_on_trial
from movie_tagger.sample import site
from movie_tagger.sample.make import RULES, draw_stills
from movie_tagger.serve.app import create_app

PLAN = """
ledger = "ledger.db"
models = "models"
sensitive = ["night"]
[source]
dump = "export"
[pictures]
folder = "pictures"
[train]
min_count = 4
[promises]
night = 0.5
[gates]
margin = 0.5
sensitive_margin = 0.5
[notify]
command = "cp /dev/stdin told.md"
"""
FIRST, SECOND = (datetime(2026, month, 1, 4, tzinfo=UTC) for month in (1, 2))


# --- a small site


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    "A drawn site of 240 stills of 100 films, in its first month."
    folder = tmp_path_factory.mktemp("small")
    draw_stills(folder / "stills", 240, 100, seed=5, keep=0.7)
    shutil.copytree(folder / "stills" / "export", folder / "export")
    for name in ("shots", "tags"):
        table = pd.read_csv(folder / "export" / f"{name}.csv", keep_default_na=False)
        table[table["id" if name == "shots" else "ref_id"] <= 180].to_csv(
            folder / "export" / f"{name}.csv", index=False
        )
    (folder / "pictures").symlink_to(folder / "stills" / "images")
    (folder / "retrain.toml").write_text(PLAN.replace("told.md", str(folder / "told.md")))
    return folder


def next_month(folder):
    "The site as it is a month later."
    shutil.rmtree(folder / "export")
    shutil.copytree(folder / "stills" / "export", folder / "export")


@pytest.fixture(scope="module")
def first(drawn):
    "The site after its first run, with a champion; only to be copied."
    run = retrain.retrain(read_plan(drawn / "retrain.toml"), FIRST)
    assert (run.outcome, run.name) == ("promoted", "2026-01-01T0400Z"), run
    return drawn


@pytest.fixture
def folder(first, tmp_path):
    "A copy of it that a test may change."
    copied = Path(
        shutil.copytree(
            first, tmp_path / "site", symlinks=True, ignore=shutil.ignore_patterns("images")
        )
    )
    (copied / "retrain.toml").write_text(PLAN.replace("told.md", str(copied / "told.md")))
    return copied


@pytest.fixture
def plan(folder):
    return read_plan(folder / "retrain.toml")


def champion(plan):
    return shelf.holder(plan.models).name


def standing(plan):
    "All that a run leaves, without times: champion, weights, ledger and history."
    with Ledger(plan.ledger) as ledger:
        ledger.verify()
        events = (
            ledger.events()[["actor", "batch", "kind", "item", "tag", "state", "value"]]
            .astype(str)
            .sort_values(["item", "tag", "kind", "value"], ignore_index=True)
        )
        items = ledger.items(hidden=True)
        said = (
            ledger.labels(),
            items.assign(path=items["path"].map(os.path.basename)),
            events,
            ledger.versions().index.tolist(),
        )
    manifest = bundles.check(plan.models / "champion")
    return (
        champion(plan),
        manifest["checksums"]["model.onnx"],
        manifest["promises"],
        [*shelf.history(plan.models)[["event", "model"]].itertuples(index=False, name=None)],
        said,
    )


def same(a, b):
    assert a[:4] == b[:4]
    for one, other in zip(a[4], b[4]):
        assert one.equals(other) if hasattr(one, "equals") else one == other


# --- a run, and what it leaves


def test_a_month_leaves_what_anyone_can_read_with_ls_and_cat(plan, folder):
    next_month(folder)
    run = retrain.retrain(plan, SECOND)
    assert run.outcome == "promoted" and champion(plan) == run.name == "2026-02-01T0400Z"
    assert sorted(p.name for p in plan.models.iterdir() if not p.name.startswith(".")) == [
        "2026-01-01T0400Z",
        "2026-02-01T0400Z",
        "challenger",
        "champion",
        "history.jsonl",
        "reports",
    ]
    assert not (plan.models / ".run").exists() and os.readlink(plan.models / "champion") == run.name
    text = run.report.read_text()
    assert (
        text.startswith("# Run 2026-02-01T0400Z: promoted")
        and "60 new" in text
        and "mean average precision" in text
    )
    assert (folder / "told.md").read_text() == text
    manifest = bundles.check(plan.models / run.name)
    assert (
        manifest["sensitive"] == ["night"]
        and manifest["ledger"] == {"version": run.name}
        and set(manifest["promises"]) <= {"night"}
    )
    history = shelf.history(plan.models)
    assert (
        history["event"].tolist() == ["trained", "promoted"] * 2
        and shelf.all_well(plan.models, now=SECOND + timedelta(days=1e4), days=1e5).name == run.name
    )
    with Ledger(plan.ledger) as ledger:
        assert ledger.versions().index.tolist() == ["2026-01-01T0400Z", run.name]


def test_no_challenger_has_seen_the_films_that_are_set_apart(plan):
    with Ledger(plan.ledger) as ledger:
        items, _ = learnable(ledger)
    seen = set(bundles.check(plan.models / "champion")["data"]["sha256"])
    apart = data.split(items["group"])
    assert (
        apart.any()
        and not seen & set(items["sha256"][apart])
        and seen == set(items["sha256"][~apart])
    )


def test_what_a_bundle_says_is_the_same_from_embeddings_and_from_pictures(plan, tmp_path):
    with Ledger(plan.ledger) as ledger:
        items = ledger.items()[:30]
    path = shelf.holder(plan.models)
    expected = load(path).predict(items["path"])
    np.testing.assert_allclose(answers(path, items), expected, atol=2e-3)
    other = shutil.copytree(
        path, tmp_path / "other"
    )  # one whose encoder is another: its pictures are looked at
    bundles.amend(other, recipe="finetune")
    np.testing.assert_allclose(answers(other, items), expected, atol=1e-6)


def test_a_first_rejection_does_not_turn_silence_into_nothing(plan, folder):
    with Ledger(plan.ledger) as ledger:
        items, labels = learnable(ledger)
        learnt = ~data.split(items["group"])
        ledger.set(labels.index[learnt & labels["man"].isna()][0], "man", False, "user:1")
        items, labels = learnable(ledger)
    made = retrain.make_challenger(plan, items[learnt], labels[learnt])
    bundles.save(made, folder / "made")
    before, after = (
        answers(p, items[~learnt])["man"].mean()
        for p in (plan.models / "champion", folder / "made")
    )
    assert abs(after - before) < 0.05


def test_a_challenger_that_is_worse_is_kept_out_with_its_numbers(plan, folder):
    next_month(folder)
    (folder / "retrain.toml").write_text(
        (folder / "retrain.toml").read_text().replace("margin = 0.5", "margin = -0.9", 1)
    )
    run = retrain.retrain(read_plan(folder / "retrain.toml"), SECOND)
    assert (
        run.outcome == "kept"
        and champion(plan) == "2026-01-01T0400Z"
        and "stays champion" in run.says
        and "mean average precision" in run.says
    )
    assert (
        shelf.history(plan.models)["event"].tolist()[-2:] == ["trained", "kept"]
        and shelf.holder(plan.models, "challenger").name == run.name
    )


def test_a_slice_of_the_newest_month_can_veto(plan):
    with Ledger(plan.ledger) as ledger:
        items, labels = learnable(ledger)
    path = shelf.holder(plan.models)
    verdicts, table = put_on_trial(plan, items, labels, path, path, items.index[:100])
    assert [v.gate for v in verdicts][:3] == [
        "mean average precision",
        "newest month",
        "average precision of night",
    ] and all(v.passed for v in verdicts)
    assert (table["change"].dropna() == 0).all()


def test_a_dry_run_writes_nothing(drawn, tmp_path):
    for name in ("export", "pictures"):
        (tmp_path / name).symlink_to(drawn / name)
    (tmp_path / "retrain.toml").write_text(PLAN)
    done = movie_tagger("retrain", tmp_path / "retrain.toml", "--dry-run")
    assert done.code == 0 and "A run would read 180 stills" in done.out, done
    assert sorted(p.name for p in tmp_path.iterdir()) == ["export", "pictures", "retrain.toml"]


def test_the_commands_for_models(plan, folder):
    next_month(folder)
    assert movie_tagger("retrain", folder / "retrain.toml").code == 0
    listed = movie_tagger("models", "list", "--dir", plan.models)
    now = champion(plan)
    assert (
        now in listed.out
        and "champion before" in listed.out
        and "mean average precision" in listed.out
    )
    assert (
        movie_tagger("models", "rollback", "--dir", plan.models).out
        == "2026-01-01T0400Z is the champion again.\n"
        and champion(plan) == "2026-01-01T0400Z"
    )
    assert (
        movie_tagger(
            "models", "promote", now, "--dir", plan.models, "--reason", "it was right"
        ).code
        == 0
        and champion(plan) == now
    )
    assert movie_tagger("models", "check", "--dir", plan.models).code == 0
    assert (
        movie_tagger("models", "prune", "--dir", plan.models, "--keep", "1").out
        == "There was nothing to remove.\n"
    )
    missing = movie_tagger("models", "promote", "nobody", "--dir", plan.models)
    assert missing.code == 1 and missing.err.count("\n") == 1


# --- killed

KILLER = """
import os, signal, sys
from datetime import datetime
from movie_tagger import retrain
from movie_tagger.retrain.plan import read_plan
boundary, left = retrain.Marks.once, [int(sys.argv[3])]
def pass_or_die():
    left[0] -= 1
    if not left[0]: os.kill(os.getpid(), signal.SIGKILL)
def once(marks, step, work):
    if (marks.folder / f"{step}.json").exists(): return boundary(marks, step, work)
    def worked():
        found = work()
        pass_or_die()  # done, and no mark yet
        return found
    found = boundary(marks, step, worked)
    pass_or_die()      # the mark is there
    return found
retrain.Marks.once = once
print(retrain.retrain(read_plan(sys.argv[1]), datetime.fromisoformat(sys.argv[2])).outcome)
"""


def killed_at(folder, boundary, when=SECOND):
    "A run in a process of its own, which dies at that boundary from here on; 0 for never."
    return subprocess.run(
        [
            sys.executable,
            "-c",
            KILLER,
            str(folder / "retrain.toml"),
            when.isoformat(),
            str(boundary),
        ],
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_a_run_goes_on_however_paths_are_shown(plan, monkeypatch):
    "fastcore, once imported, shows a Path in another way: the plan is still the same."
    begun = month._marks(plan, SECOND)
    monkeypatch.setattr(Path, "__repr__", lambda self: f"another {self}")
    assert month._marks(plan, SECOND + timedelta(hours=1)) == begun


def test_a_run_that_is_killed_at_every_boundary_ends_like_one_that_is_not(plan, folder, tmp_path):
    next_month(folder)
    other = read_plan(
        Path(shutil.copytree(folder, tmp_path / "undisturbed", symlinks=True)) / "retrain.toml"
    )
    retrain.retrain(other, SECOND)
    for life in range(
        12
    ):  # six steps: dead once when it is done and has no mark yet, once when it has
        done = killed_at(folder, 1 + life % 2, SECOND + timedelta(minutes=life))
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert champion(plan) == (
            "2026-01-01T0400Z" if life < 6 else "2026-02-01T0400Z"
        ) and bundles.check(plan.models / "champion")
    assert retrain.retrain(plan, SECOND + timedelta(hours=1)).outcome == "promoted"
    same(standing(plan), standing(other))


def test_a_refused_month_that_is_killed_is_recorded_once(plan, folder):
    for name in ("shots", "tags"):
        path = folder / "export" / f"{name}.csv"
        pd.read_csv(path, keep_default_na=False)[::3].to_csv(path, index=False)
    for boundary in (2, 1, 2):
        assert killed_at(folder, boundary).returncode == -signal.SIGKILL
    assert retrain.retrain(plan, SECOND).outcome == "refused"
    assert shelf.history(plan.models)["event"].tolist() == ["trained", "promoted", "refused"]


def test_an_interrupted_run_is_given_up_after_a_day_or_when_the_plan_has_changed(plan, folder):
    next_month(folder)
    killed_at(folder, 2)
    assert retrain.retrain(plan, SECOND + timedelta(days=2)).name == "2026-02-03T0400Z"
    killed_at(folder, 4, SECOND + timedelta(days=30))
    assert (
        retrain.retrain(replace(plan, keep=3), SECOND + timedelta(days=30, minutes=5)).name
        == "2026-03-03T0405Z"
    )
    (plan.models / ".run").mkdir()
    (plan.models / ".run" / "begun.json").write_text("{")
    assert retrain.retrain(plan, SECOND + timedelta(days=60)).name == "2026-04-02T0400Z"


# --- bad days


def unharmed(plan, before):
    return (champion(plan), bundles.check(plan.models / "champion")["checksum"]) == before


@pytest.fixture
def before(plan):
    return champion(plan), bundles.check(plan.models / "champion")["checksum"]


def test_a_poisoned_month_and_half_an_import_are_refused_and_the_next_month_is_not(
    plan, folder, before
):
    next_month(folder)
    path = folder / "export" / "tags.csv"
    good = pd.read_csv(path, keep_default_na=False)
    poison = good.head(150).assign(
        id=range(90_000, 90_150), value="blood", ref_id=range(1, 151), user_id=666
    )
    pd.concat([good, poison]).to_csv(path, index=False)
    done = movie_tagger("retrain", folder / "retrain.toml")
    assert (
        done.code == 1
        and "User 666 typed 'blood'" in done.err
        and done.err.count("\n") == 1
        and unharmed(plan, before)
    )
    assert "User 666" in (folder / "told.md").read_text()
    good[::2].to_csv(path, index=False)
    done = movie_tagger("retrain", folder / "retrain.toml")
    assert done.code == 1 and "are still there" in done.err and unharmed(plan, before)
    with Ledger(plan.ledger) as ledger:
        assert "666" not in str(ledger.events()) and len(ledger.items()) == 180
    good.to_csv(path, index=False)
    assert (
        movie_tagger("retrain", folder / "retrain.toml").code == 0 and champion(plan) != before[0]
    )


def typed(folder, f):
    "The site after `f` has changed its tags."
    path = folder / "export" / "tags.csv"
    f(pd.read_csv(path, keep_default_na=False)).to_csv(path, index=False)


def rows(n, start=90_000, **columns):
    return pd.DataFrame(
        {
            "id": range(start, start + n),
            "created_at": "2026-01-20 00:00:00",
            "updated_at": "2026-01-20 00:00:00",
        }
        | columns
    )


def test_a_refused_month_is_not_thinned_out_by_the_next_one(plan, folder, before):
    next_month(folder)
    shots, every = (
        pd.read_csv(folder / "export" / f"{name}.csv", keep_default_na=False)
        for name in ("shots", "tags")
    )
    old, honest = (
        every[every["ref_id"] <= 180],
        every[every["ref_id"] > 180].sort_values("ref_id", kind="stable"),
    )
    first = honest[: len(honest) // 3].assign(id=lambda t: t["id"] + 50_000)
    poison = rows(12, value="blood", ref_id=range(1, 13), user_id=666)
    later = honest[len(honest) // 3 :].assign(id=lambda t: t["id"] + 100_000)
    shots[shots["id"] <= int(first["ref_id"].max())].to_csv(
        folder / "export" / "shots.csv", index=False
    )
    typed(folder, lambda _: pd.concat([old, first, poison]))
    refused = retrain.retrain(plan, SECOND)
    assert refused.outcome == "refused" and "User 666 typed 'blood' in 12 of" in refused.says
    shots.to_csv(folder / "export" / "shots.csv", index=False)
    typed(folder, lambda _: pd.concat([old, first, poison, later]))
    again = retrain.retrain(plan, SECOND + timedelta(days=28))
    failed = [v for v in again.verdicts if not v["passed"]]
    assert (
        again.outcome == "refused"
        and [v["gate"] for v in failed] == ["one user, one tag"]
        and unharmed(plan, before)
    )
    assert failed[0]["says"].startswith(
        "In what was refused before, and is still there: User 666 typed 'blood' in 12 of"
    )
    # on the whole they would have passed
    assert next(v["passed"] for v in again.verdicts if v["gate"] == "one user, one tag")
    assert "still there: User 666" in retrain.retrain(plan, dry_run=True).__str__()
    typed(folder, lambda t: t[t["user_id"] != 666])
    assert retrain.retrain(plan, SECOND + timedelta(days=56)).outcome == "promoted"


def test_a_vandal_who_types_another_wrong_tag_each_time_is_noticed_by_the_champion(
    plan, folder, before
):
    next_month(folder)
    words = ["man", "woman", "building", "tree", "night", "close-up", "hat", "glasses"]
    truth = pd.read_csv(folder / "stills" / "truth.csv", keep_default_na=False)["tags"].str.split(
        ", "
    )
    wrong = [
        next(w for w in words[k % 8 :] + words if w not in truth[k - 1]) for k in range(181, 241)
    ]
    honest = pd.read_csv(folder / "export" / "tags.csv", keep_default_na=False).assign(
        id=lambda t: t["id"] + 50_000 * (t["ref_id"] > 180)
    )
    typed(
        folder,
        lambda _: pd.concat([honest, rows(60, value=wrong, ref_id=range(181, 241), user_id=666)]),
    )
    run = retrain.retrain(plan, SECOND)
    assert (
        run.outcome == "refused"
        and [v["gate"] for v in run.verdicts if not v["passed"]] == ["wrong tags"]
        and "user 666 has typed" in run.says
        and unharmed(plan, before)
    )
    typed(folder, lambda t: t[t["user_id"] != 666])
    run = retrain.retrain(plan, SECOND)
    assert (
        run.outcome == "promoted"
        and next(v for v in run.verdicts if v["gate"] == "wrong tags")["passed"]
    )


def test_what_one_user_says_a_hundred_times_at_upload_is_refused_until_it_is_undone(
    plan, folder, before
):
    next_month(folder)
    with Ledger(plan.ledger) as ledger:
        decisions = pd.DataFrame(
            {"item": ledger.items().index[:100], "tag": "night", "state": False}
        )
        ledger.decide(decisions[:5], "user:17", batch="honest")
        ledger.decide(decisions, "user:666", batch="vandal")
    run = retrain.retrain(plan, SECOND)
    assert (
        run.outcome == "refused"
        and "User 666 typed '-night' in 100 of" in run.says
        and "undo in the ledger" in run.says
        and unharmed(plan, before)
    )
    assert retrain.retrain(plan, SECOND + timedelta(days=28)).outcome == "refused"
    with Ledger(plan.ledger) as ledger:
        ledger.undo("curator:anna", batch="vandal")
    assert retrain.retrain(plan, SECOND + timedelta(days=29)).outcome == "promoted"
    with Ledger(plan.ledger) as ledger:
        assert (~ledger.labels(raw=True)["night"]).sum() == 5


def test_a_promise_rests_on_stills_that_were_drawn_by_lot_and_looked_at(plan, folder):
    next_month(folder)
    plan = replace(plan, promises={"man": 0.3})
    truth = (
        pd.read_csv(folder / "stills" / "truth.csv", keep_default_na=False)
        .set_index("id")["tags"]
        .str.split(", ")
    )

    def promised(day):
        run = retrain.retrain(plan, SECOND + timedelta(days=day))
        return run, bundles.check(plan.models / run.name)["promises"]

    def checked(run):
        return bundles.check(plan.models / run.name)["settings"].get("reviewed")

    run, none = promised(0)
    assert none == {}  # users have typed `man` often enough, and nobody has looked
    said = run.report.read_text(encoding="utf-8")
    assert "“man”, drawn by lot: 0 reviewed" in said and "films with a yes are needed" in said

    def looked_at(items):
        return pd.DataFrame(
            {"item": items, "tag": "man", "state": ["man" in truth[i] for i in items]}
        )

    with Ledger(plan.ledger) as ledger:
        lot = review.lot(ledger.items(), "man")
        # which is how many it takes
        assert ledger.items()["group"][lot][looked_at(lot)["state"].to_numpy()].nunique() >= 3
        ledger.decide(looked_at([i for i in lot if "man" in truth[i]]), "user:17")
    assert promised(30)[1] == {}  # uploaders answer suggestions, of what the model has found
    with Ledger(plan.ledger) as ledger:
        ledger.decide(looked_at(review.drawn(ledger, "man")), "curator:anna", batch="review")
    run, promise = promised(60)
    seen, made = checked(run), promise["man"]
    assert (seen["cells"], seen["tags"]["man"]["reviewed"]) == (len(lot), len(lot))
    assert 0 <= seen["error"] < 0.5
    card = (plan.models / run.name / "card.md").read_text(encoding="utf-8")
    assert f"People looked at {len(lot)} cells drawn by lot" in card
    assert (made["recall"], made["reviewed"]) == (0.3, len(lot)) and 3 <= made[
        "positives"
    ] <= looked_at(lot)["state"].sum()
    with Ledger(plan.ledger) as ledger:
        ledger.undo("curator:anna", batch="review")
    run, none = promised(90)
    assert checked(run) is None
    assert (
        none == {}
        and run.outcome == "kept"
        and "man: the champion promises 30 %" in run.says
        and "cannot promise anything" in run.says
    )


def test_a_month_of_finetuning_is_judged_by_the_gates_and_served(plan, folder, drawn):
    pytest.importorskip("fastai")
    next_month(folder)
    tuned = replace(
        plan, train=replace(plan.train, recipe="finetune", encoder="lite0@64", epochs=1)
    )
    run = retrain.retrain(tuned, SECOND)
    manifest = bundles.check(plan.models / run.name)
    assert run.outcome == "promoted" and (
        manifest["recipe"],
        manifest["encoder"],
        manifest["settings"]["epochs"],
    ) == ("finetune", "lite0@64", 1)
    assert {"mean average precision", "newest month", "average precision of night"} <= {
        v["gate"] for v in run.verdicts
    }
    with serving(create_app(plan.models)) as client:
        answer = ask(client, sorted((drawn / "stills" / "images").glob("*.jpg"))[0].read_bytes())
        assert answer.status_code == 200 and answer.json()["model"]["name"] == run.name
    # and another recipe is judged against it
    assert retrain.retrain(plan, SECOND + timedelta(days=28)).outcome in ("promoted", "kept")


def test_a_month_that_is_meant_to_be_like_this_is_accepted_by_a_person(plan, folder):
    path = folder / "export" / "tags.csv"
    pd.read_csv(path, keep_default_na=False)[::2].to_csv(path, index=False)
    assert retrain.retrain(plan, SECOND).outcome == "refused"
    assert retrain.retrain(plan, SECOND, accept=True).outcome in ("promoted", "kept")


def test_a_champion_that_is_damaged_or_gone_stops_the_run_and_the_way_back_is_named(plan, folder):
    next_month(folder)
    retrain.retrain(plan, SECOND)
    held = shelf.holder(plan.models)
    with open(held / "model.onnx", "r+b") as f:
        f.truncate(1000)
    for harm in (
        lambda: None,
        lambda: held.rename(folder / "elsewhere"),
        lambda: (plan.models / "champion").unlink(),
    ):
        harm()
        with pytest.raises(MovieTaggerError, match="movie-tagger models rollback --dir"):
            retrain.retrain(plan, SECOND + timedelta(days=28))
    assert (
        "The run failed" in (folder / "told.md").read_text()
        or "champion" in (folder / "told.md").read_text()
    )
    shelf.rollback(plan.models) if (plan.models / "champion").exists() else shelf.appoint(
        plan.models, "2026-01-01T0400Z"
    )
    assert retrain.retrain(plan, SECOND + timedelta(days=28)).outcome == "promoted"


def test_a_champion_from_elsewhere_that_has_seen_everything_cannot_be_judged_and_stays(
    plan, folder
):
    with Ledger(plan.ledger) as ledger:
        seen = ledger.items()["sha256"].tolist()
    bundles.amend(
        plan.models / "champion",
        data=bundles.check(plan.models / "champion")["data"] | {"sha256": seen},
    )
    run = retrain.retrain(plan, SECOND)
    assert (
        run.outcome == "kept"
        and "was trained on every still that is set apart" in run.says
        and f"models promote {run.name}" in run.says
    )


def test_two_runs_at_once_are_one_run_and_a_sentence(plan, folder, before):
    with shelf.locked(plan.models):
        done = movie_tagger("retrain", folder / "retrain.toml")
        assert done.code == 1 and "Another run is at work" in done.err and unharmed(plan, before)
    assert not (folder / "told.md").read_text().startswith("Another")


def test_somebody_who_rolls_back_while_a_run_is_judging_is_not_overruled(plan, folder):
    next_month(folder)
    retrain.retrain(plan, SECOND)
    killed_at(folder, 6, SECOND + timedelta(days=28))
    shelf.rollback(plan.models)
    run = retrain.retrain(plan, SECOND + timedelta(days=28))
    assert (
        run.outcome == "kept"
        and "Somebody has made 2026-01-01T0400Z the champion" in run.says
        and champion(plan) == "2026-01-01T0400Z"
    )


def test_a_clock_that_is_wrong_hides_no_month(plan, folder):
    next_month(folder)
    run = retrain.retrain(plan, datetime(1999, 1, 1))
    assert (
        run.outcome == "promoted"
        and champion(plan) == "1999-01-01T0000Z"
        and "60 new" in run.report.read_text()
    )


@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="only root can mount a small disk"
)
def test_a_disk_that_is_full_keeps_the_champion_and_the_run_goes_on_when_there_is_room(
    plan, folder, before
):
    next_month(folder)
    saved = plan.models.rename(folder / "saved")
    plan.models.mkdir()
    used = sum(p.stat().st_size for p in saved.rglob("*") if p.is_file() and not p.is_symlink())
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={used + 2_000_000}", "tmpfs", plan.models],
        capture_output=True,
    ).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        shutil.copytree(saved, plan.models, symlinks=True, dirs_exist_ok=True)
        with pytest.raises(MovieTaggerError, match="Cannot write .*No space left on device"):
            retrain.retrain(plan, SECOND)
        assert unharmed(plan, before) and not (plan.models / "2026-02-01T0400Z").exists()
        with Ledger(plan.ledger) as ledger:
            ledger.verify()
        subprocess.run(["mount", "-o", f"remount,size={3 * used}", plan.models], check=True)
        assert (
            retrain.retrain(plan, SECOND + timedelta(hours=1)).name
            == "2026-02-01T0400Z"
            == champion(plan)
        )
    finally:
        subprocess.run(["umount", "-l", plan.models], check=True)


def test_too_little_to_learn_from_is_a_sentence(plan, folder, before):
    with pytest.raises(MovieTaggerError, match="No tag is used 1000 times"):
        retrain.retrain(replace(plan, train=replace(plan.train, min_count=1000)), SECOND)
    assert unharmed(plan, before)


# --- telling


def test_a_webhook_and_a_command_are_told_and_their_failure_changes_nothing(plan, folder):
    got = []

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Hook) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/"
        run = retrain.retrain(
            replace(
                plan,
                notify=replace(
                    plan.notify,
                    command=f"sh -c 'echo $MOVIE_TAGGER_OUTCOME > {folder}/outcome'",
                    webhook=url,
                ),
            ),
            SECOND,
        )
        server.shutdown()
        thread.join()
    assert (
        got
        == [{"run": run.name, "outcome": run.outcome, "says": run.says, "report": str(run.report)}]
        and (folder / "outcome").read_text() == run.outcome + "\n"
    )
    with pytest.warns(UserWarning, match="should tell how the run ended failed") as warned:
        run = retrain.retrain(
            replace(plan, notify=replace(plan.notify, command="no-such-command", webhook=url)),
            SECOND + timedelta(days=1),
        )
    assert run.outcome == "promoted" and len(warned) == 2


# --- while people are asking


def test_retraining_and_going_back_drop_no_request_and_lose_no_feedback(plan, folder, drawn):
    next_month(folder)
    picture = next(iter(sorted((drawn / "stills" / "images").glob("*.jpg")))).read_bytes()
    with (
        serving(create_app(plan.models, plan.ledger, look=0.05)) as client,
        ThreadPoolExecutor(3) as pool,
    ):
        seen, said, stop = [], [], threading.Event()

        def asking():
            while not stop.is_set():
                seen.append(
                    (a := ask(client, picture)).status_code == 200 and a.json()["model"]["name"]
                )

        def telling():
            while not stop.is_set():
                still, tag = ask(client, picture).json()["stills"][0], f"word-{len(said)}"
                event = {
                    "still": still["still"],
                    "receipt": still["receipt"],
                    "tag": "man",
                    "action": "accept" if len(said) % 2 else "reject",
                }
                answer = say(client, tag, event)
                said.append((answer.status_code, event["action"], answer.text))
                time.sleep(0.05)

        jobs = [pool.submit(asking), pool.submit(asking), pool.submit(telling)]

        def until(name):
            while client.get("/v1/model").json()["name"] != name:
                time.sleep(0.05)
            answered = len(seen)
            while len(seen) < answered + 4:
                assert not any(j.done() for j in jobs)
                time.sleep(0.01)

        try:
            while len(said) < 2:
                time.sleep(0.01)
            assert retrain.retrain(plan, SECOND).outcome == "promoted"
            until("2026-02-01T0400Z")
            shelf.rollback(plan.models)
            until("2026-01-01T0400Z")
            shelf.promote(plan.models, "2026-02-01T0400Z")
            until("2026-02-01T0400Z")
        finally:
            stop.set()
        for job in jobs:
            job.result()
    assert set(seen) == {"2026-01-01T0400Z", "2026-02-01T0400Z"}, [s for s in seen if not s]
    assert {code for code, *_ in said} == {200}, said[-1]
    with Ledger(plan.ledger) as ledger:
        told = ledger.events(tag="man")
        told = told[told["actor"].str.startswith(("user:", "api:"))]
        assert len(told) == len(said)
        assert bool(ledger.labels(raw=True).loc[told["item"].iloc[-1], "man"]) == (
            said[-1][1] == "accept"
        )
        ledger.verify()


# --- twelve months of a site

LIVE = """
ledger = "ledger.db"
models = "models"
rules = "rules.toml"
sensitive = ["blood"]
[source]
database_env = "SITE_DATABASE"
[pictures]
folder = "fetched"
url = "{address}/{{shot_image_id}}"
allow_private = true
[train]
min_count = 8
[gates]
margin = 0.1
"""


@contextlib.contextmanager
def a_site_by_months(real_data, tmp_path):
    """Yields the addresses of a live database and of the pictures, and a function from a month,
    0 to 11, and what goes wrong in it, that brings the database to that month."""
    need_database()
    (tmp_path / "web").mkdir()
    for picture in [
        *(real_data / "stills" / "images").iterdir(),
        *(real_data / "stills" / "untagged").iterdir(),
    ]:
        (tmp_path / "web" / picture.name).symlink_to(picture)
    import sqlalchemy

    with (
        site.database(real_data / "site" / "site.sql") as url,
        site.web(tmp_path / "web") as address,
    ):
        engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)

        def run(*statements):
            with engine.begin() as db:
                return [db.exec_driver_sql(s.replace("%", "%%")) for s in statements]

        for table in ("shots", "tags"):
            run(f"RENAME TABLE {table} TO all_{table}", f"CREATE TABLE {table} LIKE all_{table}")
        with engine.connect() as db:
            dates = [
                d
                for (d,) in db.exec_driver_sql(
                    "SELECT created_at FROM all_shots ORDER BY created_at"
                )
            ]

        def bring_to(month, *wrong):
            end = dates[round(len(dates) * (0.5 + 0.5 * month / 11)) - 1]
            run(
                *(
                    s
                    for t in ("shots", "tags")
                    for s in (
                        f"DELETE FROM {t}",
                        f"INSERT INTO {t} SELECT * FROM all_{t} WHERE created_at <= '{end}'",
                    )
                ),
                *wrong,
            )

        yield url, address, bring_to


def quality(models_folder, real_data, pictures):
    "The champion's quality by the whole truth, on films that no model has learnt from."
    items, truth = data.read(real_data / "stills" / "truth.csv", absent="no")
    truth = truth.rename(columns={"black and white": "b/w", "phone": "telephone"})
    apart = data.split(items["group"])
    items, truth = (
        items[apart].assign(path=[str(pictures / Path(p).name) for p in items["path"][apart]]),
        truth[apart],
    )
    there = items["path"].map(os.path.exists).to_numpy()
    said = answers(shelf.holder(models_folder), items[there])
    tags = [
        t
        for t in (
            "man",
            "woman",
            "building",
            "hat",
            "beard",
            "sky",
            "tree",
            "text",
            "window",
            "night",
        )
        if t in said
    ]
    m = evaluate(
        data.to_array(truth.loc[there, tags]),
        said[tags].to_numpy(),
        tags,
        "multi",
        items["group"][there],
    ).metrics["mean average precision"]
    return {
        "tags": said.shape[1],
        "quality": m["value"],
        "low": m["low"],
        "high": m["high"],
        "chance": m["baseline"],
    }


POISON = (
    "INSERT INTO tags (value, ref_id, user_id, created_at, updated_at) "
    "SELECT 'blood', id, 666, created_at, updated_at FROM shots WHERE id % 6 = 0",
)
BROKEN = ("DELETE FROM tags WHERE id % 2", "DELETE FROM shots WHERE id % 2")


REWRITTEN = ("UPDATE tags SET value = concat('lol ', id % 5), user_id = 17 WHERE id % 10",)
REUSED = (
    "CREATE TEMPORARY TABLE moved SELECT id, lead(shot_image_id) OVER (ORDER BY id) AS name "
    "FROM shots WHERE id % 7 = 0",
    "UPDATE shots JOIN moved USING (id) SET shot_image_id = name",
)
RENAMED = ("UPDATE tags SET value = 'human' WHERE value = 'man'",)
BAD_MONTHS = {  # month -> what happens in the database, and what is said of it
    3: (REWRITTEN, "User 17 changed"),
    5: (POISON, "User 666 typed 'blood' in"),
    6: (REUSED, "ids now name other pictures"),
    8: (BROKEN, "are still there"),
    9: (RENAMED, "'man' became 'human' in"),
}


@pytest.mark.slow
def test_twelve_months_unattended_in_which_five_go_wrong(real_data, tmp_path, monkeypatch, capsys):
    "Poison, half an import, rewritten rows, reused ids, a renamed tag; then accepted by hand."
    with a_site_by_months(real_data, tmp_path) as (url, address, bring_to):
        monkeypatch.setenv("SITE_DATABASE", url)
        (tmp_path / "rules.toml").write_text(RULES)
        (tmp_path / "retrain.toml").write_text(LIVE.format(address=address))
        plan, rows = read_plan(tmp_path / "retrain.toml"), []
        for month in range(12):
            wrong, said = BAD_MONTHS.get(month, ((), ""))
            bring_to(month, *wrong)
            before = ledger_version(plan)
            run = retrain.retrain(plan, datetime(2026, month + 1, 1, 4, tzinfo=UTC))
            written = ledger_version(plan) - before
            if wrong:
                failed = " ".join(v["says"] for v in run.verdicts if not v["passed"])
                assert (run.outcome, written) == ("refused", 0) and said in failed, run
            else:
                assert run.outcome in ("promoted", "kept"), run
            rows.append(
                {
                    "month": month + 1,
                    "outcome": run.outcome,
                    "events": written,
                    "champion": champion(plan),
                    **quality(plan.models, real_data, tmp_path / "web"),
                }
            )
        table = pd.DataFrame(rows).set_index("month")
        with capsys.disabled():
            print(f"\n{table.round(3).to_string()}")
        assert (table["outcome"] == "promoted").sum() >= 5
        assert (table["low"] > table["chance"]).all()
        first, last = table.iloc[0], table.iloc[-1]
        assert last["quality"] > first["quality"] - 0.05 and last["tags"] > first["tags"]
        assert shelf.all_well(plan.models, days=1e5).name == last["champion"]
        with Ledger(plan.ledger) as ledger:
            ledger.verify()
            assert len(ledger.items()) == len(list((tmp_path / "fetched").iterdir())) == 2028
        for month in (3, 6, 9):
            accept_by_hand(tmp_path, bring_to, *BAD_MONTHS[month])


def ledger_version(plan):
    with contextlib.closing(Ledger(plan.ledger)) as ledger:
        return ledger.version


def accept_by_hand(site_folder, bring_to, wrong, said):
    "What was refused goes through when a person says so, and the report tells."
    copied = site_folder / "accepted"
    shutil.copytree(site_folder, copied, symlinks=True, ignore=shutil.ignore_patterns("web"))
    bring_to(11, *wrong)
    plan = read_plan(copied / "retrain.toml")
    again = retrain.retrain(plan, datetime(2027, 1, 1, 4, tzinfo=UTC), accept=True)
    report = again.report.read_text()
    assert again.outcome in ("promoted", "kept"), again
    assert "accepted by hand, although a check failed" in report
    assert said.replace("'", "") in report.replace("'", "")
    shutil.rmtree(copied)
