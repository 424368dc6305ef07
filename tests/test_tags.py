"Tags: rules, cleaning that accounts for each row, the table, a real site from dump to model."

import tomllib

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from movie_tagger import data, features, tags
from movie_tagger.core import MovieTaggerError
from movie_tagger.judge.evaluation import evaluate
from movie_tagger.learn import head
from movie_tagger.sample import site
from movie_tagger.tags import clean
from movie_tagger.tags.clean import (
    clean_tags,
    tag_labels,
    tag_table,
    write_table,
)
from movie_tagger.tags.rules import Rules, read_rules, unknown_names

SITE_RULES = """
exclude = [
  "awesome upload", "SotD", "couple", "rejected once", "imdb top 250", "my favourite director",
]
[merge]
building = ["buildings"]
sky = ["skies"]
tree = ["trees"]
eye = ["eyes"]
beard = ["bearded"]
glasses = ["eyeglasses"]
close-up = ["closeup", "close up"]
phone = ["telephone", "phones"]
car = ["cars"]
gun = ["guns"]
child = ["children"]
"b/w" = ["black and white", "b&w"]
"""


@given(st.text())
def test_normalise_is_done_in_one_go(text):
    once = tags.normalise(pd.Series([text]))
    assert tags.normalise(once)[0] == once[0] == once[0].strip() and "  " not in once[0]


def test_normalise_keeps_the_rows():
    typed = pd.Series(["Phone", None, " \u200b", "Straße"], index=[7, 3, 3, 1], name="value")
    found = tags.normalise(typed)
    assert found.index.tolist() == [7, 3, 3, 1] and found.name == "value"
    assert (
        found.tolist()[0::2] == ["phone", ""]
        and pd.isna(found.iloc[1])
        and found.iloc[3] == "straße"
    )
    assert tags.normalise(pd.Series([], dtype=object)).tolist() == []


INVISIBLE = (
    "\u00ad\u061c\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060"
    "\u2066\u2067\u2068\u2069\ufeff"
)
JOINED = [
    "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",  # Persian: I want
    "\u0915\u094d\u200d\u0937",  # Hindi: a half letter before another
    "\u0915\u094d\u200c\u0937",
    "\u0dc1\u0dca\u200d\u0dbb\u0dd3",  # Sinhala: sri
    "\U0001f468\u200d\U0001f469\u200d\U0001f467",  # a family
    "\U0001f469\U0001f3fd\u200d\U0001f680",  # a woman in space
    "\U0001f3f3\u200d\U0001f308",  # a flag
]


@pytest.mark.parametrize("mark", INVISIBLE)
def test_marks_that_cannot_be_seen_go(mark):
    typed = pd.Series([f"{mark}red car", f"red{mark} car", f"re{mark}d car{mark}"])
    assert set(tags.normalise(typed)) == {"red car"}
    assert tags.normalise(pd.Series([f"\u05e9{mark}\u05dc", f"e{mark}\u0301"])).tolist() == [
        "\u05e9\u05dc",
        "\u00e9",
    ]


@pytest.mark.parametrize("word", JOINED)
def test_joiners_stay_where_they_join(word):
    first, *_, last = word
    typed = [word, f" {word}\u200c", f"\u200d{word}", f"{word}\u200d car", f"\u202b{word}\u202c"]
    assert set(tags.normalise(pd.Series(typed))) == {word, f"{word} car"}
    assert tags.normalise(pd.Series([f"{first} \u200c{last}\u200d"]))[0] == f"{first} {last}"


@pytest.mark.parametrize("joiner", ["\u200c", "\u200d", "\u200d\u200c"])
def test_joiners_go_where_they_join_nothing(joiner):
    typed = pd.Series([f"ca{joiner}r", f"{joiner}car", f"car{joiner}", f"\ufeff{joiner} car"])
    assert set(tags.normalise(typed)) == {"car"}


@pytest.mark.parametrize(
    "one, other",
    [
        ("caf\u00e9", "cafe\u0301"),
        ("\u2764\ufe0f", "\u2764"),
        ("\u2764\ufe0f\u200d\U0001f525", "\u2764\u200d\U0001f525"),
        ("1\ufe0f\u20e3", "1\u20e3"),
        ("\uac00", "\u1100\u1161"),
        ("\ufb01lm", "film"),
        ("\uff23\uff21\uff32", "car"),
        ("\u212bngstr\u00f6m", "a\u030angstro\u0308m"),
    ],
)
def test_one_form_of_each_letter(one, other):
    assert tags.normalise(pd.Series([one, other])).nunique() == 1


mixed = st.text(st.sampled_from([*INVISIBLE, *"".join(JOINED), *" aE\u0301\u0130\ufe0f\u00df1"]))


@given(mixed)
def test_marks_and_joiners_are_settled_in_one_go(text):
    once = tags.normalise(pd.Series([text]))
    assert tags.normalise(once)[0] == once[0] and not set(INVISIBLE) & set(once[0])


def test_the_ledger_and_exports_read_tags_in_one_form(tmp_path):
    "A word with marks is the same tag as one without, wherever it comes from."
    typed = pd.DataFrame({"value": ["\u202bred car\u202c", "Red\u00a0car"], "ref_id": [1, 2]})
    clean, _ = clean_tags(typed, Rules())
    assert clean["value"].tolist() == ["red car"] * 2
    assert tags.respelled(typed["value"], Rules({"red car": "car"})).tolist() == ["car"] * 2


# --- rules


def test_rules_in_every_form(tmp_path):
    (tmp_path / "rules.toml").write_text(SITE_RULES)
    assert (
        read_rules(tmp_path / "rules.toml")
        == read_rules(SITE_RULES)
        == read_rules(tomllib.loads(SITE_RULES))
        == read_rules(str(tmp_path / "rules.toml"))
    )
    rules = read_rules(
        {
            "merge": {"Phone": ["TELEPHONE ", "phone", "phones"], "tele": "phone"},
            "implies": {"foal": "horse", "horse": ["animal"]},
            "exclude": ["SotD"],
            "min_count": 5,
        }
    )
    assert rules == Rules(
        {"telephone": "tele", "phone": "tele", "phones": "tele"},
        {"foal": ("horse", "animal"), "horse": ("animal",)},
        frozenset({"sotd"}),
        5,
    )
    assert read_rules({}) == Rules()


BAD_RULES = {
    "a circle": (
        {"merge": {"a": ["b"], "b": ["c"], "c": ["a"]}},
        "the merges go round in a circle: `b` → `a` → `c` → `b`",
    ),
    "two targets": ({"merge": {"a": ["x"], "b": ["X "]}}, "`x` is merged into both `a` and `b`"),
    "an exclusion that never meets its tag": (
        {"merge": {"a": ["x"]}, "exclude": ["x"]},
        "`x` is merged into `a`, so `exclude` never meets it",
    ),
    "an implication that never meets its tag": (
        {"merge": {"a": ["x"]}, "implies": {"x": ["y"]}},
        "`x` is merged into `a`, so `implies` never meets it",
    ),
    "an implication of what is excluded": (
        {"implies": {"a": ["b"]}, "exclude": ["b"]},
        "`a` implies `b`, which is excluded",
    ),
    "an implication of itself": (
        {"implies": {"a": ["b"], "b": ["a"]}},
        "`a` implies itself through `b`",
    ),
    "a comma": ({"merge": {"a, b": ["x"]}}, "the tag 'a, b' cannot be used"),
    "a minus": ({"exclude": ["-a"]}, "the tag '-a' cannot be used"),
    "another rule": ({"merges": {}}, "there is no rule 'merges'"),
    "a number": ({"exclude": [1917]}, "a tag must be a text in quotes, and 1917 is none"),
    "a table that is a list": ({"merge": ["a"]}, "`merge` must be a table"),
    "a list that is a text": ({"exclude": "SotD"}, "`exclude` must be a list"),
    "a list that is a number": ({"merge": {"a": 3}}, "`merge` needs lists of tags, and 3 is none"),
    "a count below zero": ({"min_count": -1}, "min_count must be a whole number from 0"),
    "a count that is a text": ({"min_count": "many"}, "min_count must be a whole number from 0"),
    "no TOML": ("exclude = [\n'a'\n", "is not a TOML file"),
}


@pytest.mark.parametrize("what", BAD_RULES)
def test_rules_that_make_no_sense(what, tmp_path):
    said, sentence = BAD_RULES[what]
    with pytest.raises(MovieTaggerError, match=sentence) as e:
        read_rules(said)
    assert "\n" not in str(e.value)


def test_a_rules_file_is_named_in_the_error(tmp_path):
    (tmp_path / "rules.toml").write_text("exclude = []\nmerge = = 1\n")
    with pytest.raises(MovieTaggerError, match=r"rules.toml is not a TOML file: .*line 2"):
        read_rules(tmp_path / "rules.toml")
    with pytest.raises(MovieTaggerError, match="Cannot read the rules .*no.toml: No such file"):
        read_rules(tmp_path / "no.toml")


# --- cleaning

WORDS = ["a", "A ", "b", "c", "d", "x,y", "-z", "", None, "e"]
SOME_RULES = Rules({"b": "a"}, {"c": ("d", "f"), "a": ("e",)}, frozenset({"d"}), 2)
typed_rows = st.lists(st.tuples(st.integers(1, 6), st.sampled_from(WORDS)), max_size=30)


def slowly(rows, rules, pictures):
    "What the rules mean, a row at a time."
    kept = []
    for ref, value in rows:
        tag = rules.merge.get(
            " ".join((value or "").lower().split()), " ".join((value or "").lower().split())
        )
        if not tag or "," in tag or tag[0] == "-" or not pictures.get(ref):
            continue
        kept += [(ref, tag), *((ref, other) for other in rules.implies.get(tag, ()))]
    kept = {(ref, tag) for ref, tag in kept if tag not in rules.exclude}
    return {(ref, tag) for ref, tag in kept if sum(t == tag for _, t in kept) >= rules.min_count}


@settings(deadline=None)
@given(typed_rows, st.sampled_from(["Int64", object, float]))
def test_each_row_is_accounted_for(rows, kind):
    typed = pd.DataFrame(rows, columns=["ref_id", "value"])
    typed["ref_id"] = typed["ref_id"].astype("Int64" if kind is object else kind)
    if kind is object:
        typed["ref_id"] = typed["ref_id"].map(str)
    pictures = {1: "1.jpg", 2: "2.jpg", 3: "3.jpg", 4: None, 5: ""}
    shots = pd.DataFrame(
        {
            "id": pd.Series(list(pictures)).map(str if kind is object else int),
            "shot_image_id": list(pictures.values()),
        }
    )
    clean, report = clean_tags(typed, SOME_RULES, shots)
    assert report["typed"].sum() == len(rows)
    assert sorted(zip(clean["ref_id"].map(int), clean["value"])) == sorted(
        slowly(rows, SOME_RULES, pictures)
    )
    assert len(clean) == report.iloc[:3][["typed", "implied"]].to_numpy().sum()


def test_other_columns_and_the_order_stay():
    typed = pd.DataFrame(
        {"user_id": [1, 2, 3], "value": ["c", "q", "B"], "ref_id": [2, 1, 2]}, index=[5, 6, 7]
    )
    clean, _ = clean_tags(typed, Rules({"b": "a"}, {"c": ("f",)}))
    assert list(clean) == ["user_id", "value", "ref_id"] and clean.index.tolist() == [5, 5, 6, 7]
    assert clean["value"].tolist() == ["c", "f", "q", "a"] and clean["user_id"].tolist() == [
        1,
        1,
        2,
        3,
    ]
    assert typed["value"].tolist() == ["c", "q", "B"]


def test_missing_columns_are_named():
    with pytest.raises(
        MovieTaggerError, match="The table tags has no column 'value'; it has 'tag', 'ref_id'"
    ):
        clean_tags(pd.DataFrame({"tag": [], "ref_id": []}))
    with pytest.raises(MovieTaggerError, match="The table shots has no column 'movie_id'"):
        tag_table(
            pd.DataFrame({"id": [1], "shot_image_id": ["a"]}),
            pd.DataFrame({"value": ["x"], "ref_id": [1]}),
        )


def test_names_that_nobody_typed():
    typed = pd.DataFrame({"value": ["phone", "foal"]})
    rules = read_rules(
        {
            "merge": {"telephone": ["phone", "fone"]},
            "implies": {"foal": ["horse"], "telephone": ["machine"], "cat": ["animal"]},
            "exclude": ["SotD"],
        }
    )
    assert unknown_names(typed, rules) == ["cat", "fone", "sotd"]


# --- the table

SHOTS = pd.DataFrame(
    {
        "id": [3, 1, 2],
        "shot_image_id": ['c "3".jpg', "a.jpg", "b.jpg"],
        "movie_id": pd.array([8, 7, None], "Int64"),
    }
)


def test_the_table_reads_back(tmp_path):
    clean = pd.DataFrame({"value": ["b", "a", "a", "a"], "ref_id": [1, 1, 3, 9]})
    table = tag_table(SHOTS, clean)
    assert (
        table["id"].tolist() == [3, 1]
        and table["tags"].tolist() == ["a", "a, b"]
        and table["group"].tolist() == [8, 7]
    )
    write_table(tmp_path / "tags.csv", table)
    assert (tmp_path / "tags.csv").read_text().startswith("id,image,tags,group\n")
    again = pd.read_csv(tmp_path / "tags.csv")
    assert again["image"].tolist() == ['c "3".jpg', "a.jpg"] and again["tags"].tolist() == [
        "a",
        "a, b",
    ]
    labels = tag_labels(table)
    assert (
        labels.loc[1].tolist() == [True, True]
        and labels.loc[3, "a"]
        and labels.loc[3, "b"] is pd.NA
        and set(labels.dtypes) == {pd.BooleanDtype()}
    )


def test_pictures_in_folders_below(tmp_path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "a.jpg").touch()
    table = tag_table(SHOTS, pd.DataFrame({"value": ["x", "x"], "ref_id": [1, 2]}), images=tmp_path)
    assert table["image"].tolist() == ["deep/er/a.jpg", "b.jpg"]


def test_tables_that_cannot_be_made():
    x = pd.DataFrame({"value": ["x"], "ref_id": [1]})
    with pytest.raises(MovieTaggerError, match="has the id 1 more than once"):
        tag_table(pd.concat([SHOTS, SHOTS[1:2]]), x)
    with pytest.raises(MovieTaggerError, match="The tag 'a,b' cannot be written"):
        tag_table(SHOTS, x.assign(value="a,b"))
    with pytest.raises(MovieTaggerError, match="No tag is left"):
        tag_table(SHOTS, x[:0])


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(clean.csv, "write_csv", full)
    with pytest.raises(MovieTaggerError, match="No space left"):
        write_table(
            tmp_path / "tags.csv", tag_table(SHOTS, pd.DataFrame({"value": ["x"], "ref_id": [1]}))
        )
    assert list(tmp_path.iterdir()) == []


# --- proposals


def test_merges_are_proposed_and_never_applied():
    rows = [(i, "horses" if i % 3 else "horse") for i in range(40)] + [
        (i, w) for i in range(40) for w in (["sky"] if i % 3 else ["skies", "closeup"])
    ]
    rows += [(50 + i, w) for i in range(9) for w in ("close-up", "umbrella")] + [
        (70 + i, "umbrela") for i in range(5)
    ]
    typed = pd.DataFrame(rows, columns=["ref_id", "value"])
    found = tags.propose_merges(typed)
    wanted = {
        ("horse", "horses", "plural"),
        ("umbrela", "umbrella", "one letter"),
        ("skies", "sky", "plural"),
        ("close-up", "closeup", "spaces and signs"),
    }
    assert wanted <= {(r.merge, r.into, r.why) for r in found.itertuples()}
    assert (found["stills"] <= found["stills of into"]).all()
    assert tags.propose_merges(typed[:0]).empty


def test_what_one_user_types_stands_out():
    rng = np.random.default_rng(0)
    typed = pd.DataFrame(
        {
            "value": rng.choice(["car", "sky", "tree"], 600),
            "ref_id": range(600),
            "user_id": rng.integers(1, 90, 600),
            "created_at": pd.Timestamp("2020-01-01")
            + pd.to_timedelta(rng.integers(0, 900, 600), unit="D"),
        }
    )
    typed.loc[:29, ["value", "user_id"]] = ["rejected", 3]
    typed.loc[30:59, "value"], typed.loc[30:59, "created_at"] = "oscars", pd.Timestamp("2021-03-01")
    found = tags.propose_exclusions(
        typed, pd.DataFrame({"id": range(600), "movie_id": rng.integers(1, 60, 600)})
    )
    assert (
        found["user"].idxmax() == "rejected"
        and found["month"].idxmax() == "oscars"
        and set(found.index[:2]) == {"rejected", "oscars"}
    )
    with pytest.raises(MovieTaggerError, match="user_id or created_at"):
        tags.propose_exclusions(typed[["value", "ref_id"]])


# --- the real site


@pytest.mark.parametrize("layout", ["site.sql", "site_oneline.sql"])
def test_the_real_dump_adds_up(real_data, layout, tmp_path):
    found = tags.read_site(real_data / "site" / layout)
    clean, report = clean_tags(
        found["tags"], read_rules("min_count = 10\n" + SITE_RULES), found["shots"]
    )
    assert len(found["shots"]) == 2028 and report["typed"].sum() == len(found["tags"]) == 1858
    assert report.loc["the still is gone", "typed"] > 0 and report.loc["excluded", "typed"] > 100
    assert clean["value"].value_counts().min() >= 10


def test_the_dump_and_the_live_database_are_the_same_site(real_data):
    from conftest import need_database

    need_database()
    dumped = tags.read_dump(real_data / "site" / "site.sql")
    with site.database(real_data / "site" / "site.sql") as url:
        live = tags.read_database(url, ["shots", "tags"])
    for name in dumped:
        pd.testing.assert_frame_equal(dumped[name], live[name])


@pytest.mark.slow
def test_typed_tags_train_a_model_that_the_truth_judges(real_data, tmp_path):
    "What lazy people typed leads two thirds of the way from chance to what the truth teaches."
    found = tags.read_site(real_data / "site" / "site.sql")
    clean, _ = clean_tags(
        found["tags"], read_rules("min_count = 10\n" + SITE_RULES), found["shots"]
    )
    write_table(
        tmp_path / "tags.csv", tag_table(found["shots"], clean, images=real_data / "stills")
    )
    items, labels = data.usable(
        *data.read(tmp_path / "tags.csv", images=real_data / "stills", absent="unknown")
    )
    x, _ = features.embed(items)
    _, p = head.fit(x, labels, items["group"])
    _, truth = data.read(real_data / "stills" / "truth.csv", absent="no")
    number = items["path"].str.extract(r"(\w+)\.jpg$")[0]
    looked, common = number.isin(truth.index).to_numpy(), [t for t in labels if t in truth]
    true = truth.loc[number[looked], common].set_axis(items.index[looked])
    _, best = head.fit(x[looked], true, items["group"][looked])

    def score(p):
        return evaluate(data.to_array(true), p, common, "multi", items["group"][looked]).metrics[
            "mean average precision"
        ]

    typed, whole = score(p[looked][:, labels.columns.get_indexer(common)]), score(best)
    assert looked.sum() > 700 and len(common) > 25
    assert typed["low"] > typed["baseline"]
    assert typed["value"] - typed["baseline"] > 0.66 * (whole["value"] - whole["baseline"])
