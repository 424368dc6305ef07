"What changed in old rows: recognised, named and refused; taken over only by hand, and then said."

import os
import shutil
from dataclasses import replace

import pandas as pd
import pytest
import sqlalchemy
from conftest import need_database
from months import LIVE, draw_site, plan_at, state

from movie_tagger.retrain.changes import LEAST, Tables, changed_cells, kept, place, what_changed
from movie_tagger.retrain.inspection import Refused
from movie_tagger.retrain.sync import catch_up, read_tables, this_month
from movie_tagger.sample import site


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    "Two hundred stills of eighty films, and the site's dump."
    return draw_site(tmp_path_factory.mktemp("drawn") / "stills", 200, 80, seed=7, keep=0.7)


@pytest.fixture(scope="module")
def server(drawn):
    need_database()
    with site.database(drawn / "site.sql") as url:
        yield url, sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)


@pytest.fixture
def sql(server):
    "A function that changes the live database; it is put back afterwards."
    _, engine = server

    def run(*statements):
        with engine.begin() as db:
            for statement in statements:
                db.exec_driver_sql(statement.replace("%", "%%"))

    tables = ("shots", "tags")
    run(*(f"CREATE TABLE saved_{t} LIKE {t}" for t in tables))
    run(*(f"INSERT INTO saved_{t} SELECT * FROM {t}" for t in tables))
    yield run
    run(*(f"DROP TABLE {t}" for t in tables))
    run(*(f"RENAME TABLE saved_{t} TO {t}" for t in tables))


@pytest.fixture
def make_plan(server, drawn, tmp_path, monkeypatch):
    "A function that makes a plan of its own for a test, with more in its [source]."
    monkeypatch.setenv("SITE_DATABASE", server[0])
    (tmp_path / "pictures").symlink_to(drawn / "images")

    def make(more=""):
        return plan_at(tmp_path / "live.toml", f"{LIVE}\n{more}")

    return make


# rows of the same drawn site, changed without adding one
NIGHTS = {
    "one user replaces nine tenths": (
        ["UPDATE tags SET value = concat('lol ', id % 7), user_id = 17 WHERE id % 10"],
        r"User 17 changed (\d+) of the \d+ cells",
    ),
    "a restore hands out ids again": (
        [
            "UPDATE shots SET shot_image_id = concat('re', shot_image_id), movie_id = 999 "
            "WHERE id > 150"
        ],
        "50 ids now name other pictures",
    ),
    "a bulk rename": (
        ["UPDATE tags SET value = 'heaven' WHERE value = 'sky'"],
        r"The tag 'sky' became 'heaven' in (\d+) of \1 rows",
    ),
    "a rename by deleting and typing anew": (
        [
            "INSERT INTO tags (value, ref_id, user_id, created_at, updated_at) "
            "SELECT 'heaven', ref_id, user_id, now(), now() FROM tags WHERE value = 'sky'",
            "DELETE FROM tags WHERE value = 'sky'",
        ],
        "The tag 'sky' became 'heaven' in",
    ),
    "a tag is removed": (
        ["DELETE FROM tags WHERE value = 'sky'"],
        "The tag 'sky' was removed, or changed, in",
    ),
    "a seventh is deleted": (["DELETE FROM tags WHERE id % 7 = 0"], r"cells .* have changed \("),
    "the stills of tags slip by a row": (
        [
            "CREATE TEMPORARY TABLE slipped SELECT id, "
            "coalesce(lag(ref_id) OVER (ORDER BY id), 1) AS ref FROM tags",
            "UPDATE tags JOIN slipped USING (id) SET ref_id = ref",
        ],
        "in most of them the still is that of the row above",
    ),
    "the words slip by a row": (
        [
            "CREATE TEMPORARY TABLE slipped SELECT id, "
            "coalesce(lead(value) OVER (ORDER BY id), 'sky') AS word FROM tags",
            "UPDATE tags JOIN slipped USING (id) SET value = word",
        ],
        "in most of them the word is that of the row below",
    ),
    "the names of pictures slip by a row": (
        [
            "CREATE TEMPORARY TABLE slipped SELECT id, "
            "lag(shot_image_id, 1) OVER (ORDER BY id) AS name FROM shots",
            "UPDATE shots JOIN slipped USING (id) SET shot_image_id = name",
        ],
        "199 ids now name other pictures, .* most of them what stood in the row above",
    ),
    "the names of pictures are gone": (
        ["UPDATE shots SET shot_image_id = NULL WHERE id % 3 = 0"],
        "66 ids name no picture",
    ),
    "the films are gone": (["UPDATE shots SET movie_id = NULL"], "200 stills .* other films, or"),
    "the films slip by a row": (
        ["UPDATE shots SET movie_id = movie_id + 1"],
        "200 stills now belong to other films, or none",
    ),
}


@pytest.mark.parametrize("night", NIGHTS)
def test_old_rows_that_changed_are_refused_by_name_and_accepted_by_hand(night, make_plan, sql):
    statements, said = NIGHTS[night]
    plan = make_plan()
    first, before = catch_up(plan), state(plan)
    sql(*statements)
    with pytest.raises(Refused, match=said) as e:
        catch_up(plan, first.facts)
    assert "--accept" in str(e.value)
    after = state(plan)
    assert after[0] == before[0] and after[1].equals(before[1]) and after[2].equals(before[2])
    accepted = catch_up(plan, first.facts, accept=True)
    assert not all(v.passed for v in accepted.verdicts)
    assert catch_up(plan, accepted.facts).events == 0


def test_what_people_do_in_a_month_is_not_refused(make_plan, sql):
    plan = make_plan()
    first = catch_up(plan)
    sql(
        "UPDATE tags SET value = 'zither' WHERE id % 60 = 0",
        "UPDATE tags SET user_id = NULL WHERE user_id < 9",
        "UPDATE tags SET value = upper(value)",
        "DELETE FROM tags WHERE id % 61 = 0",
        "DELETE FROM shots WHERE movie_id = 3",
        "UPDATE shots SET shot_image_id = 'cut anew.jpg' WHERE id = 9",
    )
    second = catch_up(plan, first.facts)
    assert second.facts["old rows"]["lost"] >= 3 and all(v.passed for v in second.verdicts)


def test_a_rename_that_the_rules_know_changes_nothing(make_plan, sql, tmp_path):
    plan = make_plan()
    (tmp_path / "rules.toml").write_text('exclude = ["couple"]\n[merge]\nheaven = ["sky"]\n')
    plan = replace(plan, rules=tmp_path / "rules.toml")
    first = catch_up(plan)
    sql("UPDATE tags SET value = 'Heaven' WHERE value = 'sky'")
    sql("DELETE FROM tags WHERE value = 'couple'")
    assert catch_up(plan, first.facts).facts["old rows"]["lost"] == 0


def test_ids_that_were_free_are_new_rows(make_plan, sql):
    "An id below the last one may have been deleted, and handed out again."
    sql("DELETE FROM tags WHERE id % 3 = 0")
    plan = make_plan()
    first = catch_up(plan)
    sql(
        "INSERT INTO tags (id, value, ref_id, user_id, created_at, updated_at) "
        "SELECT id, 'blood', ref_id, 666, created_at, updated_at FROM saved_tags WHERE id % 3 = 0"
    )
    with pytest.raises(Refused, match="User 666 typed 'blood' in"):
        catch_up(plan, first.facts)


def test_without_the_kept_tables_the_ledger_knows_what_there_was(make_plan, sql, recwarn):
    plan = make_plan()
    first = catch_up(plan)
    sql("UPDATE tags SET value = 'heaven', user_id = 17 WHERE value = 'sky'")
    (place(plan) / "tags.parquet").write_bytes(b"not what it was")
    with pytest.raises(Refused, match="The tag 'sky' became 'heaven' in"):
        catch_up(plan, first.facts)
    assert "cannot be read" in str(recwarn.pop(UserWarning).message)
    shutil.rmtree(place(plan))
    with pytest.raises(Refused, match="The tag 'sky' became 'heaven' in"):
        catch_up(plan, first.facts)
    catch_up(plan, first.facts, accept=True)
    shots, tags = read_tables(plan)
    assert len(kept(plan).tags) == len(tags) and kept(plan).shots["id"].equals(shots["id"])


def test_few_changes_are_no_bulk():
    shots = pd.DataFrame({"id": [1, 2], "shot_image_id": ["1.jpg", "2.jpg"], "movie_id": 1})

    def tables(n, word):
        ids = range(n)
        rows = {"id": ids, "value": [f"{word} {i}" for i in ids], "ref_id": 1, "user_id": 5}
        return Tables(shots, pd.DataFrame(rows))

    for n in (LEAST - 1, LEAST):
        changes = what_changed(
            tables(n, "hat"), tables(n, "cap"), pd.Series([False] * n).to_numpy()
        )
        verdicts = changed_cells(changes)
        assert all(v.passed for v in verdicts) == (n < LEAST)


# --- rows that a site only marks as removed


@pytest.mark.parametrize(
    "declared, mark",
    [
        ("datetime", "now()"),
        ("timestamp NULL", "now()"),
        ("date", "'2020-01-01'"),
        ("tinyint(1) NOT NULL DEFAULT 0", "1"),
        ("bit(1) DEFAULT b'0'", "b'1'"),
        ("int DEFAULT 0", "1577836800"),
        ("varchar(5) DEFAULT 'no'", "'yes'"),
    ],
)
def test_rows_that_are_marked_as_removed_are_gone_and_come_back(declared, mark, make_plan, sql):
    sql(f"ALTER TABLE tags ADD gone {declared}", f"ALTER TABLE shots ADD gone {declared}")
    plan = make_plan('deleted = ["tags.gone", "shots.gone"]')
    first, whole = catch_up(plan), state(plan)
    sql(
        f"UPDATE tags SET gone = {mark} WHERE id = 4",
        f"UPDATE shots SET gone = {mark} WHERE id = 9",
    )
    second = catch_up(plan, first.facts)
    assert second.facts["left out"] == {
        "shots": {"marked as deleted": 1},
        "tags": {"marked as deleted": 1},
    }
    assert len(state(plan)[2]) == len(whole[2]) - 1
    sql("UPDATE tags SET gone = DEFAULT", "UPDATE shots SET gone = DEFAULT")
    catch_up(plan, second.facts)
    assert state(plan)[1].equals(whole[1])


def test_many_rows_marked_as_removed_are_a_mass_deletion(make_plan, sql):
    sql("ALTER TABLE tags ADD is_deleted tinyint(1) DEFAULT 0")
    plan = make_plan('deleted = ["tags.is_deleted"]')
    first = catch_up(plan)
    sql("UPDATE tags SET is_deleted = 1 WHERE id % 4")
    with pytest.raises(Refused, match="rows that tags had last time .* are still there"):
        catch_up(plan, first.facts)


# --- rows that make no sense


def test_a_picture_name_that_no_file_can_have_costs_its_row_and_not_the_month(make_plan, sql):
    names = ["x" * 300, "ü" * 200, "../../etc/passwd", "/etc/passwd", "a/", ".", "./b.jpg", "a\0b"]
    sql("ALTER TABLE shots MODIFY shot_image_id varchar(400)")
    for i, name in enumerate(names, 1):
        quoted = name.replace("\0", "\\0")
        sql(f"UPDATE shots SET shot_image_id = '{quoted}' WHERE id = {i}")
    sql("UPDATE shots SET shot_image_id = '0100.jpg/x.jpg' WHERE id = 9")
    plan = make_plan()
    month = this_month(plan, None)
    (why,) = month.left_out["shots"]
    assert "no file in the folder can have" in why and month.left_out["shots"][why] == len(names)
    catch_up(plan)
    items = state(plan)[2]
    assert len(items) == 200 - len(names)
    assert "cannot be read" in items.loc["0100.jpg/x.jpg", "error"]


def test_a_picture_name_that_is_a_folder_is_a_picture_that_cannot_be_read(make_plan, sql, drawn):
    (drawn / "images" / "folder").mkdir(exist_ok=True)
    sql("UPDATE shots SET shot_image_id = 'folder' WHERE id = 1")
    plan = make_plan()
    catch_up(plan)
    assert "cannot be read" in state(plan)[2].loc["folder", "error"]
    os.rmdir(drawn / "images" / "folder")


@pytest.mark.parametrize("table, column", [("shots", "id"), ("tags", "id"), ("tags", "ref_id")])
@pytest.mark.parametrize("odd", ["abc", "4.5", "9" * 30, "550e8400-e29b-41d4-a716-446655440000"])
def test_an_id_of_another_type_costs_its_row_and_not_the_month(
    table, column, odd, make_plan, sql, tmp_path
):
    sql(f"ALTER TABLE {table} MODIFY {column} varchar(40)")
    sql(f"UPDATE {table} SET {column} = '{odd}' WHERE {column} = '4' LIMIT 1")
    month = this_month(make_plan(), None)
    assert month.left_out[table] == {f"whose {column} is no whole number": 1}
    rows = getattr(month, table)
    assert pd.api.types.is_integer_dtype(rows[column])
    sql(f"UPDATE {table} SET {column} = concat('u', {column}) WHERE {column} LIKE '%1'")
    with pytest.raises(Refused, match=f"rows of {table} .* are of no use, .* whose {column} is no"):
        catch_up(make_plan())
