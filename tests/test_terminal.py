"The command line as a person at a terminal meets it: first lines, help, completion, the way out."

import os
import pty
import re
import signal
import subprocess
import sys

import pandas as pd
import pytest
from conftest import SCRIPT, draw_posters, movie_tagger, shell

from movie_tagger import data
from movie_tagger.cli import learn
from movie_tagger.cli.shared import app
from movie_tagger.learn.recipes import RECIPES

WITHOUT = "import sys; sys.modules |= dict.fromkeys(['numpy', 'pandas', 'torch'])\n"
DOOR = "from movie_tagger.cli.door import main\nsys.argv = ['movie-tagger', *sys.argv[1:]]\nmain()"


@pytest.mark.parametrize(
    "command, line",
    [
        ("train posters --out m", "Reading posters ..."),
        ("evaluate m posters", "Reading posters ..."),
        ("suspects posters --out s.csv", "Reading posters ..."),
        ("split posters --out parts", "Reading posters ..."),
        ("download urls.csv --out posters", "Fetching the pictures of urls.csv ..."),
        ("search horror --out urls.csv", "Asking ddgs for 'horror' ..."),
        ("tags mysql://me:secret@host/site --out t.csv", "Reading the database ..."),
        ("ledger import l.db posters", "Reading posters ..."),
        ("retrain plan.toml", "Looking at what plan.toml asks for ..."),
        ("demo", "Drawing 300 posters and 600 stills ..."),
    ],
)
def test_the_first_line_is_said_before_anything_heavy_is_loaded(command, line, tmp_path):
    words = [sys.executable, "-c", WITHOUT + DOOR, *command.split()]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.stdout.splitlines() == [line]
    assert done.returncode != 0, "nothing that the command needs could be loaded"


def at_a_terminal(*words, until="", cwd=None):
    "What a command says at a terminal, and its exit code; Ctrl-C once it has said `until`."
    master, slave = pty.openpty()
    with subprocess.Popen(
        [SCRIPT, *words], stdin=slave, stdout=slave, stderr=slave, cwd=cwd
    ) as run:
        os.close(slave)
        said = b""
        try:
            while piece := _read(master):
                said += piece
                if until and until.encode() in said:
                    run.send_signal(signal.SIGINT)
                    until = ""
            return said.decode(), run.wait(60)
        finally:
            run.kill()
            os.close(master)


def _read(terminal):
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux's word for the other end being closed
        return b""


def test_a_person_who_starts_a_server_is_told_where_to_look_and_how_to_stop(bundle):
    said, code = at_a_terminal("serve", bundle, "--port", "0", until="Ctrl-C stops.")
    assert code == 0
    assert re.search(
        r"Loading .+ \.\.\.\r\n(.*\n)*Open http://127\.0\.0\.1:\d+, Ctrl-C stops", said
    )
    said, _ = at_a_terminal(
        "serve", bundle, "--port", "0", "--host", "0.0.0.0", until="Ctrl-C stops."
    )
    assert re.search(r"Open http://127\.0\.0\.1:\d+, Ctrl-C stops", said), (
        "0.0.0.0 is no place to go"
    )


def test_where_output_is_for_results_the_first_line_is_for_terminals(bundle, new_posters):
    poster = new_posters / "horror" / "000.jpg"
    said, code = at_a_terminal("tag", bundle, poster)
    assert code == 0 and said.startswith(f"Loading {bundle} ...") and "horror (" in said
    done = shell("tag", bundle, poster)
    assert done.out.startswith(str(poster)) and done.err == ""


def every_command(group, *names):
    from typer.main import get_command

    group = get_command(group) if not names else group
    for name, command in group.commands.items():
        yield [*names, name]
        if hasattr(command, "commands"):
            yield from every_command(command, *names, name)


@pytest.mark.parametrize("words", [[], *every_command(app)], ids=" ".join)
def test_a_short_h_is_help_everywhere(words):
    short, long = movie_tagger(*words, "-h"), movie_tagger(*words, "--help")
    assert short.code == 0 and short.out == long.out and "Usage: " in short.out


def test_the_version():
    from movie_tagger import __version__

    done = shell("--version")
    assert (done.code, done.out, done.err) == (0, f"movie_tagger {__version__}\n", "")


def test_choices_are_listed_are_completed_and_are_all_there_are():
    assert learn.RECIPES == [*RECIPES]
    assert f"<{'|'.join(RECIPES)}>" in movie_tagger("train", "--help").out
    words = "movie-tagger train --recipe "
    asked = {"_MOVIE_TAGGER_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": "3"}
    assert shell(env=os.environ | asked).out.split() == [*RECIPES]
    done = movie_tagger("train", "posters", "--out", "m", "--recipe", "hed")
    assert done.code == 1 and "There is no recipe 'hed'; did you mean 'head'?" in done.err


# --- no bundle replaced, reports out of the folds


def test_a_bundle_is_replaced_only_where_that_is_asked_for(bundle, posters, tmp_path):
    before = (bundle / "manifest.json").read_bytes()
    done = movie_tagger("train", posters, "--out", bundle)
    assert (done.code, done.err) == (
        1,
        f"movie-tagger: {bundle} is there already, and training would replace it: "
        "choose another name, or replace it with --force.\n",
    )
    assert (bundle / "manifest.json").read_bytes() == before
    (tmp_path / "photo.txt").write_text("mine")
    done = movie_tagger("train", posters, "--out", tmp_path, "--force")
    assert done.code == 1 and "is no bundle" in done.err and (tmp_path / "photo.txt").exists()


def test_training_shows_the_mistakes_of_its_folds(tmp_path):
    posters = draw_posters(tmp_path / "posters", 12)
    wrong = posters / "horror" / "wrong.jpg"
    (posters / "romance" / "000.jpg").rename(wrong)
    page = tmp_path / "report.html"
    done = movie_tagger("train", posters, "--out", tmp_path / "m", "--report", page)
    assert (done.code, done.err) == (0, "")
    assert f"{page} shows the mistakes on 36 pictures, each held out in turn." in done.out
    text = page.read_text()
    first, _, _ = text.partition("<figcaption>")
    assert "horror/wrong.jpg" in first, "the largest surprise is the poster in the wrong folder"
    assert "36 pictures, 3 classes" in text
    done = movie_tagger("train", posters, "--out", tmp_path / "n", "--report", tmp_path)
    assert done.code == 2 and "is a directory" in done.err and not (tmp_path / "n").exists()


def test_a_report_shows_what_was_trained_on_where_the_data_has_its_own_split(posters, tmp_path):
    items, labels = data.read(posters)
    table = pd.DataFrame({"image": items["path"], "label": labels.idxmax(axis=1)})
    table["split"] = ["valid" if k % 5 == 0 else "train" for k in range(len(table))]
    table.to_csv(tmp_path / "posters.csv", index=False)
    page = tmp_path / "report.html"
    done = movie_tagger(
        "train", tmp_path / "posters.csv", "--out", tmp_path / "m", "--report", page
    )
    assert done.code == 0 and "12 pictures; measured on them" in done.out
    assert "48 pictures, each held out in turn" in done.out
    assert "48 pictures in" in page.read_text(), "the numbers on the page are those of its pictures"


def test_too_few_groups_give_no_report_and_a_sentence(tmp_path):
    items, labels = data.read(draw_posters(tmp_path / "posters", 3))
    data.write_csv(tmp_path / "one.csv", items.assign(group="one film"), labels)
    page = tmp_path / "report.html"
    done = movie_tagger("train", tmp_path / "one.csv", "--out", tmp_path / "m", "--report", page)
    assert done.code == 0 and not page.exists()
    assert f"No {page}: there are too few groups of pictures to hold some out." in done.out


# --- split


def test_split_sets_whole_films_apart_and_grows_with_the_data(posters, tmp_path):
    items, labels = data.read(posters)
    items = items.assign(group=[f"film {k // 4}" for k in range(len(items))])
    data.write_csv(tmp_path / "some.csv", items[::2], labels[::2])
    data.write_csv(tmp_path / "all.csv", items, labels)
    for name in ("some", "all"):
        done = movie_tagger("split", tmp_path / f"{name}.csv", "--out", tmp_path / name)
        assert (done.code, done.err) == (0, "")
    parts = {
        (name, part): data.read(tmp_path / name / f"{part}.csv")
        for name in ("some", "all")
        for part in ("train", "test")
    }
    films = {key: set(found["group"]) for key, (found, _) in parts.items()}
    assert not films["all", "train"] & films["all", "test"]
    assert films["some", "test"] <= films["all", "test"]
    assert films["some", "train"] <= films["all", "train"]
    both = pd.concat([parts["all", part][1] for part in ("train", "test")])
    pd.testing.assert_frame_equal(both.fillna(False).loc[labels.index], labels)
    paths = pd.concat([parts["all", part][0]["path"] for part in ("train", "test")])
    assert all(map(os.path.exists, paths))


def test_split_keeps_what_nobody_looked_at(posters, tmp_path):
    items, _ = data.read(posters)
    cells = [[1, None, 0], [None, 1, None]] * 30
    labels = data.from_array(pd.DataFrame(cells, dtype=float).to_numpy(), items.index, list("abc"))
    data.write_csv(tmp_path / "tags.csv", items, labels)
    done = movie_tagger(
        "split", tmp_path / "tags.csv", "--absent", "unknown", "--out", tmp_path / "parts"
    )
    assert done.code == 0 and "--absent unknown --out model" in done.out
    both = [
        data.read(tmp_path / "parts" / f"{p}.csv", absent="unknown")[1] for p in ("train", "test")
    ]
    pd.testing.assert_frame_equal(pd.concat(both).loc[labels.index], labels)


@pytest.mark.parametrize(
    "options, says",
    [
        (("--test", "0"), "fall into one part"),
        (("--test", "1.5"), "fall into one part"),
        (("--out", "parts"), "parts/train.csv is there already"),
        (("--out", "parts", "--force", "parts/train.csv"), "parts/train.csv would be overwritten"),
        (("--version", "3"), "is not a ledger"),
        (("nowhere",), "There is no file or folder nowhere."),
    ],
)
def test_split_says_what_is_wrong(options, says, posters, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "posters").symlink_to(posters)
    assert movie_tagger("split", "posters", "--out", "parts").code == 0
    before = (tmp_path / "parts" / "train.csv").read_bytes()
    words = list(options)
    source = words.pop() if words[-1].endswith((".csv", "nowhere")) else "posters"
    done = movie_tagger("split", source, *([] if "--out" in words else ["--out", "new"]), *words)
    assert done.code == 1 and says in done.err and not (tmp_path / "new").exists()
    assert (tmp_path / "parts" / "train.csv").read_bytes() == before


def test_data_with_a_split_of_its_own_is_not_split_again(posters, tmp_path):
    items, labels = data.read(posters)
    table = pd.DataFrame({"image": items["path"], "label": labels.idxmax(axis=1)})
    table["split"] = ["test" if k % 5 == 0 else "train" for k in range(len(table))]
    table.to_csv(tmp_path / "posters.csv", index=False)
    done = movie_tagger("split", tmp_path / "posters.csv", "--out", tmp_path / "parts")
    assert done.code == 1 and "has a split of its own, which training keeps to" in done.err


# --- the log


def test_the_log_tells_steps_in_words(posters, tmp_path):
    book = tmp_path / "posters.db"
    assert movie_tagger("ledger", "import", book, posters, "--as", "import:posters").code == 0
    from movie_tagger.ledger.ledger import Ledger

    with Ledger(book) as ledger:
        ledger.set("horror/000.jpg", "romance", True, "curator:anna")
        ledger.exclude(["horror/001.jpg"], "curator:anna", "a screenshot")
        ledger.undo("curator:bob", actor="curator:anna")
        ledger.undo("curator:bob", event=ledger.version)
    done = movie_tagger("ledger", "log", book)
    assert (done.code, done.err) == (0, "")
    lines = [re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d  ", "", line) for line in done.out.splitlines()]
    batch = "[import:posters from event 1]"
    some = "horror/000.jpg, horror/001.jpg, horror/002.jpg, ..."
    assert lines[:2] == [
        f"1-60  import:posters: added 60 pictures {some} {batch}",
        f"61-80  import:posters: yes to horror of 20 pictures {some} {batch}",
    ]
    assert lines[-4:] == [
        "122  curator:anna: yes to romance of horror/000.jpg",
        "123  curator:anna: excluded horror/001.jpg (a screenshot)",
        "124  curator:bob: took back all that curator:anna did - undone",
        "125  curator:bob: took back event 124",
    ]
    done = movie_tagger("ledger", "log", book, "-n", 1, "--actor", "import:posters")
    assert "each picture is one of horror, romance, superhero" in done.out
    assert len(done.out.splitlines()) == 1
    assert movie_tagger("ledger", "log", book, "--actor", "nobody").out.strip() == ""


def test_a_notebook_shows_how_far_work_is_when_it_takes_long():
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipywidgets")
    start = "import time\nfrom movie_tagger.core import progress\n"
    cells = [
        start + "for _ in progress(range(3), 'embedding'): time.sleep(0.6)",
        "for _ in progress(range(3), 'reading'): pass",
    ]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(book, kernel_name="python3", timeout=60).execute()
    (long,), short = (cell.outputs for cell in book.cells)
    assert "application/vnd.jupyter.widget-view+json" in long.data
    assert not short
