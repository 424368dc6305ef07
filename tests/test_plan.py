"The plan of a monthly run: what is refused, in which words, and what never leaks."

import dataclasses
from pathlib import Path

import pytest
from conftest import REPO, movie_tagger

from movie_tagger.core import MovieTaggerError
from movie_tagger.retrain.plan import Plan, Train, read_plan

WHOLE = """
ledger = "ledger.db"
models = "models"
sensitive = ["blood"]
keep = 5

[source]
dump = "site.sql"

[pictures]
folder = "pictures"
url = "https://images.example/{shot_image_id}"

[train]
encoder = "lite0"
min_count = 20

[promises]
blood = 0.95

[gates]
margin = 0.02

[notify]
command = "mail admin@example.org"
"""


@pytest.fixture
def plan_file(tmp_path):
    def write(*changes):
        text = WHOLE
        for right, wrong in changes:
            assert right in text
            text = text.replace(right, wrong, 1)
        (tmp_path / "retrain.toml").write_text(text)
        return tmp_path / "retrain.toml"

    return write


def wrong_with(path):
    with pytest.raises(MovieTaggerError) as e:
        read_plan(path)
    said = str(e.value)
    assert said.startswith(str(path)) and "\n" not in said and said[-1] in ".?"
    return said.removeprefix(str(path))


def test_a_whole_plan_is_read_and_its_paths_start_at_the_file(plan_file, tmp_path, monkeypatch):
    path = plan_file()
    monkeypatch.chdir(tmp_path.parent)
    plan = read_plan(Path(tmp_path.name, path.name))
    assert (plan.ledger, plan.models, plan.pictures.folder, plan.source.dump) == tuple(
        tmp_path / n for n in ("ledger.db", "models", "pictures", "site.sql")
    )
    assert (plan.sensitive, plan.promises, plan.keep, plan.gates.margin, plan.train) == (
        ("blood",),
        {"blood": 0.95},
        5,
        0.02,
        Train(),
    )
    assert plan.pictures.address("a b/ü?.jpg") == "https://images.example/a%20b/%C3%BC%3F.jpg"


@pytest.mark.parametrize(
    "change, said",
    [
        (
            ("margin = 0.02", "margn = 0.02"),
            ", line 22: [gates] `margn`: there is no such key; did you mean `margin`?",
        ),
        (
            ("[pictures]", "[picture]"),
            ", line 10: `picture`: there is no such table; did you mean `pictures`?",
        ),
        (("keep = 5", "kept = 5"), ", line 5: `kept`: there is no such key; did you mean `keep`?"),
        (
            ("keep = 5", "xyzzy = 5"),
            ", line 5: `xyzzy`: there is no such key; there are ledger, models, source",
        ),
        (("keep = 5", "keep = 0"), ", line 5: `keep`: it must be 1 or more."),
        (
            ("min_count = 20", 'min_count = "20"'),
            ", line 16: [train] `min_count`: it must be a whole number, not '20'.",
        ),
        (
            ("min_count = 20", "min_count = true"),
            ", line 16: [train] `min_count`: it must be a whole number, not True.",
        ),
        (
            ("min_count = 20", "min_count = 1"),
            ", line 16: [train] `min_count`: it must be 2 or more.",
        ),
        (
            ('encoder = "lite0"', 'recipe = "magic"'),
            ", line 15: [train] `recipe`: it is 'head', 'best' or 'finetune', not 'magic'.",
        ),
        (('models = "models"', 'models = ""'), ", line 3: `models`: it is empty."),
        (('ledger = "ledger.db"\n', ""), ": `ledger`: it is missing; add ledger = …."),
        (
            ('[source]\ndump = "site.sql"\n', ""),
            ": `source`: it is missing; add the table [source].",
        ),
        (
            ('dump = "site.sql"', 'dump = "site.sql"\ndatabase_env = "SITE"'),
            ", line 8: [source] `dump`: give either `database_env` or `dump`",
        ),
        (
            ('dump = "site.sql"', 'name = "site"'),
            ": [source] `dump`: give either `database_env` or `dump`",
        ),
        (
            ('dump = "site.sql"', 'database_env = "mysql://a:secret@b/c"'),
            ", line 8: [source] `database_env`: it is the name of an environment variable",
        ),
        (
            ("{shot_image_id}", "{id}"),
            ", line 12: [pictures] `url`: it needs {shot_image_id} where the picture's name goes",
        ),
        (
            ("{shot_image_id}", "{shot_image_id"),
            ", line 12: [pictures] `url`: it needs {shot_image_id}",
        ),
        (
            ("{shot_image_id}", "{shot_image_id.__class__}"),
            ", line 12: [pictures] `url`: it needs {shot_image_id}",
        ),
        (
            ("https://", "ftp://"),
            ", line 12: [pictures] `url`: it must begin with https:// or http://.",
        ),
        (
            ('folder = "pictures"', 'folder = ["pictures"]'),
            ", line 11: [pictures] `folder`: it must be a path in quotes, not ['pictures'].",
        ),
        (
            ("blood = 0.95", "blood = 95"),
            ", line 18: `promises`: the recall of 'blood' must be a number between 0 and 1",
        ),
        (
            ('["blood"]', '["Blood"]'),
            ", line 4: `sensitive`: tags are written in lower case and with single spaces: "
            "write 'blood' for 'Blood'.",
        ),
        (
            ('["blood"]', "[17]"),
            ", line 4: `sensitive`: a tag is a text in quotes, and 17 is none.",
        ),
        (
            ('["blood"]', '"blood"'),
            ", line 4: `sensitive`: it must be a list in square brackets, not 'blood'.",
        ),
        (("[notify]\ncommand", "notify"), ", line 24: "),
        (
            ('"mail admin@example.org"', '"mail \'admin"'),
            ", line 25: [notify] `command`: its quotes do not close.",
        ),
        (
            ('command = "mail admin@example.org"', 'webhook = "admin@example.org"'),
            ", line 25: [notify] `webhook`: it must begin with https:// or http://.",
        ),
        (
            ('encoder = "lite0"', 'aim = "precisin=0.9"'),
            ", line 15: [train] `aim`: 'precisin=0.9' is no aim: give f1, precision=0.9",
        ),
        (
            ('encoder = "lite0"', "aim = 0.9"),
            ", line 15: [train] `aim`: it must be a text in quotes, not 0.9.",
        ),
        (
            ('encoder = "lite0"', 'aim = "aims.csv"'),
            ", line 15: [train] `aim`: Cannot read ",
        ),
        (("keep = 5", "keep = "), " is not a TOML file: "),
    ],
)
def test_a_mistake_is_one_sentence_with_its_line_and_key(plan_file, change, said):
    found = wrong_with(plan_file(change))
    if change[0].startswith("[notify]"):
        said = ""  # a key of [gates] now
    assert said in found and "secret" not in found


def test_aims_tag_by_tag_lie_beside_the_plan_and_are_read_with_it(plan_file, tmp_path):
    assert read_plan(plan_file()).train.aim is None
    path = plan_file(('encoder = "lite0"', 'aim = "aims.csv"'))
    (tmp_path / "aims.csv").write_text("tag,aim\nblood,recall=0.95\nkiss,f1\n")
    assert read_plan(path).train.aim == {"blood": "recall=0.95", "kiss": "f1"}
    for table, said in {
        "tag,aim\nblood,recall=95\n": "aims.csv: 'recall=95' is no aim",
        "tag,aim\nblood,top=5\n": "about all tags of a picture",
        "tag,aim\nBlood,f1\n": "write 'blood' for 'Blood'",
        "tag,aim\nblood,f1\nblood,f1\n": "has two aims for the tag 'blood'",
        "tag\nblood\n": "needs the columns tag and aim",
    }.items():
        (tmp_path / "aims.csv").write_text(table)
        found = wrong_with(path)
        assert found.startswith(", line 15: [train] `aim`: ") and said in found


def test_what_the_rules_make_impossible_is_said(plan_file, tmp_path):
    path = plan_file(("keep = 5", 'keep = 5\nrules = "rules.toml"'))
    for rules, said in (
        ('exclude = ["blood"]', "the rules exclude 'blood'"),
        ('[merge]\ngore = ["blood"]', "the rules merge 'blood' into 'gore': write that"),
        ('[merge]\ngore = "a"\nhat = "a"', "`a` is merged into both"),
        ("x = ", "is not a TOML file"),
    ):
        (tmp_path / "rules.toml").write_text(rules)
        assert said in wrong_with(path)
    (tmp_path / "rules.toml").unlink()
    assert "Cannot read the rules" in wrong_with(path)


def test_a_file_that_is_no_plan_is_a_sentence(tmp_path):
    for name, content in (
        ("none.toml", None),
        ("binary.toml", b"\xff\xfe\x00"),
        ("folder.toml", "folder"),
    ):
        path = tmp_path / name
        if content == "folder":
            path.mkdir()
        elif content:
            path.write_bytes(content)
        with pytest.raises(MovieTaggerError, match="Cannot read the plan"):
            read_plan(path)
    (tmp_path / "empty.toml").touch()
    assert "`ledger`: it is missing" in wrong_with(tmp_path / "empty.toml")


def test_the_command_line_says_the_same_and_ends_with_one(plan_file):
    done = movie_tagger("retrain", plan_file(("margin", "margn")))
    assert (
        done.code == 1
        and done.err.startswith("movie-tagger: ")
        and "did you mean `margin`?" in done.err
    )


def test_a_variable_that_is_not_set_is_named(plan_file, monkeypatch):
    monkeypatch.delenv("SITE_DATABASE", raising=False)
    plan = read_plan(plan_file(('dump = "site.sql"', 'database_env = "SITE_DATABASE"')))
    with pytest.raises(
        MovieTaggerError, match="SITE_DATABASE, which the plan names as `database_env`, is not set"
    ):
        plan.source.address()


def test_the_example_in_the_repository_is_a_plan_that_knows_every_table():
    plan = read_plan(REPO / "schedule" / "retrain.toml")
    text = (REPO / "schedule" / "retrain.toml").read_text()
    assert isinstance(plan, Plan)
    for field in dataclasses.fields(Plan):
        assert field.name in text, field.name
