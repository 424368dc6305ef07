"From the site into the ledger: one moment, checked before it is written, and people's words stay."

import json
import re
import shutil
import socket
import threading
import uuid
from contextlib import contextmanager
from dataclasses import replace

import pandas as pd
import pytest
from conftest import need_database
from months import LIVE, draw_site, plan_at, state

from movie_tagger import features, tags
from movie_tagger.core import MovieTaggerError, sha256
from movie_tagger.ledger.exchange import inside
from movie_tagger.ledger.ledger import Ledger
from movie_tagger.retrain.inspection import Month, Refused, look_at_tables, said_since
from movie_tagger.retrain.sync import catch_up, fetch_missing, learnable, read_tables
from movie_tagger.sample import site


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    "A hundred stills of forty films, and the site's dump."
    return draw_site(tmp_path_factory.mktemp("drawn") / "stills", 100, 40, seed=3)


@pytest.fixture
def plan(drawn, tmp_path):
    "A plan of its own for a test, on exported tables that it may change."
    shutil.copytree(drawn / "export", tmp_path / "export")
    shutil.copytree(drawn / "images", tmp_path / "pictures")
    return plan_at(tmp_path / "retrain.toml", 'dump = "export"')


def rows(**columns):
    "Rows as they stand in an export."
    return pd.DataFrame(
        columns | {"created_at": "2019-01-01 00:00:00", "updated_at": "2019-01-01 00:00:00"}
    ).astype(str)


def change(plan, table, f):
    "The site after `f` has changed one of its tables."
    path = plan.source.dump / f"{table}.csv"
    f(pd.read_csv(path, dtype=str, keep_default_na=False)).to_csv(path, index=False)


# --- what was refused is not written


@pytest.mark.parametrize(
    "table, f, said",
    [
        ("shots", lambda t: t[::2], "Of the 100 rows that shots had last time 50 are still there"),
        ("tags", lambda t: t[:10], "that tags had last time 10 are still there"),
        (
            "tags",
            lambda t: pd.concat(
                [
                    t,
                    rows(
                        id=range(10_000, 10_200),
                        value="blood",
                        ref_id=[*range(1, 101)] * 2,
                        user_id=77,
                    ),
                ]
            ),
            "User 77 typed 'blood' in 200 of the 200 new rows",
        ),
    ],
)
def test_a_month_that_is_not_sane_leaves_the_ledger_as_it_was(plan, table, f, said):
    first = catch_up(plan)
    before = state(plan)
    change(plan, table, f)
    with pytest.raises(Refused, match=re.escape(said)) as e:
        catch_up(plan, first.facts)
    assert str(e.value).endswith("run once with --accept.") and not all(
        v.passed for v in e.value.verdicts
    )
    after = state(plan)
    assert after[0] == before[0] and after[1].equals(before[1]) and after[2].equals(before[2])
    assert catch_up(plan, first.facts, accept=True).events > 0


def test_a_table_that_is_empty_is_refused_in_the_first_month_too(plan):
    change(plan, "tags", lambda t: t[:0])
    with pytest.raises(MovieTaggerError, match="The table tags has 0 rows"):
        catch_up(plan)
    assert not plan.ledger.exists()


def test_a_folder_of_pictures_that_is_away_is_noticed_before_anything_is_written(plan):
    first = catch_up(plan)
    before = state(plan)[0]
    plan.pictures.folder.rename(plan.pictures.folder.with_name("elsewhere"))
    with pytest.raises(Refused, match="Of the 100 pictures that were there last time 100 are gone"):
        catch_up(plan, first.facts)
    assert state(plan)[0] == before


def test_new_pictures_that_cannot_be_read_are_refused_and_a_few_are_not(plan, drawn):
    first = catch_up(plan)
    new = rows(
        id=range(101, 171), shot_image_id=[f"new {i}.jpg" for i in range(70)], movie_id=7, user_id=1
    )
    change(plan, "shots", lambda t: pd.concat([t, new]))
    source = sorted((drawn / "images").iterdir())
    for i in range(70):
        (plan.pictures.folder / f"new {i}.jpg").write_bytes(
            source[i].read_bytes()[: 300 if i < 20 else None]
        )

    def embed(paths):
        return features.embed(paths)[0]

    with pytest.raises(Refused, match="Of 70 new pictures 20 cannot be read"):
        catch_up(plan, first.facts, embed)
    for i in range(1, 20):
        shutil.copy(source[i], plan.pictures.folder / f"new {i}.jpg")
    assert len(catch_up(plan, first.facts, embed).new) == 70


@pytest.mark.parametrize("table, column", [("shots", "id"), ("tags", "id"), ("tags", "ref_id")])
def test_numbers_that_became_words_are_named(plan, table, column):
    change(plan, table, lambda t: t.assign(**{column: "u" + t[column]}))
    with pytest.raises(
        MovieTaggerError,
        match=f"The column {column} of {table} does not hold whole numbers, as the first, 'u",
    ):
        catch_up(plan)
    assert not plan.ledger.exists()


def test_tags_that_belong_to_no_still_any_more_are_refused(plan):
    first = catch_up(plan)
    before = state(plan)[0]
    change(plan, "tags", lambda t: t.assign(ref_id=(t["ref_id"].astype(int) + 1000).astype(str)))
    with pytest.raises(Refused, match="rows of tags 0 belong to stills that are there"):
        catch_up(plan, first.facts)
    assert state(plan)[0] == before
    with pytest.raises(Refused, match="rows of tags 0 belong to stills"):
        catch_up(replace(plan, ledger=plan.ledger.with_name("new.db")))


def test_a_site_whose_tags_are_all_numbers_is_read(plan):
    change(plan, "tags", lambda t: t.assign(value=(t.index % 7).astype(str)))
    catch_up(plan)
    assert set(state(plan)[1]) <= set("0123456")


# --- what is written


def test_a_second_sync_writes_nothing_and_a_picture_that_has_changed_is_left_out(plan):
    first = catch_up(plan)
    assert first.events > 100 and catch_up(plan, first.facts).events == 0
    (plan.pictures.folder / "0004.jpg").write_bytes(b"not what it was")
    catch_up(plan, first.facts)
    assert (
        "has changed since it was added" in state(plan)[2].loc["0004.jpg", "error"]
        and catch_up(plan, first.facts).events == 0
    )


def test_removed_stills_are_hidden_and_come_back_and_removed_tags_are_unknown(plan):
    first = catch_up(plan)
    with Ledger(plan.ledger) as ledger:
        ledger.exclude("0002.jpg", "curator:anna", "a test card")
    typed = tags.read_dump(plan.source.dump)["tags"]
    gone = typed[typed["ref_id"] == 10].iloc[0]
    change(plan, "shots", lambda t: t[~t["id"].isin(["1", "2", "3"])])
    change(plan, "tags", lambda t: t[~((t["ref_id"] == "10") & (t["value"] == gone["value"]))])
    second = catch_up(plan, first.facts)
    _, labels, items = state(plan)
    assert not {"0000.jpg", "0001.jpg", "0002.jpg"} & set(items.index) and len(items) == 97
    assert gone["value"] not in labels or pd.isna(labels.loc["0009.jpg", gone["value"]])
    assert catch_up(plan, second.facts).events == 0
    change(
        plan,
        "shots",
        lambda t: pd.concat(
            [rows(id=[1, 3], shot_image_id=["0000.jpg", "0002.jpg"], movie_id=1, user_id=1), t]
        ),
    )
    catch_up(plan, second.facts)
    items = state(plan)[2]
    assert (
        "0000.jpg" in items.index and "0002.jpg" not in items.index
    )  # what a curator hid stays hidden
    with Ledger(plan.ledger) as ledger:
        assert ledger.events(item="0000.jpg")["value"].dropna().tolist() == [
            "gone from the site",
            "on the site again",
        ]


def test_what_people_said_is_neither_lost_nor_overridden(plan):
    first = catch_up(plan)
    with Ledger(plan.ledger) as ledger:
        item, typed = ledger.labels(raw=True).stack().index[0]
        ledger.decide(
            pd.DataFrame({"item": item, "tag": [typed, "zither"], "state": [False, True]}),
            "user:17",
            batch="upload 1",
        )
    catch_up(plan, first.facts)
    labels = state(plan)[1]
    assert not labels.loc[item, typed] and labels.loc[item, "zither"]


def test_an_upload_and_its_still_are_one_item_for_learning(plan):
    catch_up(plan)
    with Ledger(plan.ledger) as ledger:
        items, raw = ledger.read(raw=True)
        typed = raw.loc["0005.jpg"].dropna().index[0]
        digest = items["sha256"]["0005.jpg"]
        stranger = "f" * 64
        ledger.add(
            pd.DataFrame(
                {"path": "", "sha256": [digest, stranger], "source": "upload"},
                index=pd.Index([digest, stranger], name="item"),
            ),
            "api:site",
        )
        ledger.decide(
            pd.DataFrame(
                {
                    "item": [digest, digest, stranger],
                    "tag": [typed, "zither", "zither"],
                    "state": [False, True, True],
                }
            ),
            "user:17",
            batch="u",
        )
        got, labels = learnable(ledger)
        assert (
            digest not in got.index
            and stranger in got.index
            and got["group"]["0005.jpg"] == items["group"]["0005.jpg"]
        )
        assert not labels.loc["0005.jpg", typed] and labels.loc["0005.jpg", "zither"]
        frozen = ledger.tag_version("before anna")
        ledger.set("0005.jpg", typed, True, "curator:anna")
        assert (
            learnable(ledger)[1].loc["0005.jpg", typed]
            and not learnable(ledger, "before anna")[1].loc["0005.jpg", typed]
            and frozen < ledger.version
        )
        ledger.undo("user:17", batch="u")
        assert "zither" not in learnable(ledger)[1].columns
        ledger.exclude("0005.jpg", "curator:anna")
        assert not {digest, "0005.jpg"} & set(learnable(ledger)[0].index)


def test_stills_without_a_film_are_films_of_their_own_and_names_outside_the_folder_are_none(plan):
    change(
        plan,
        "shots",
        lambda t: t.assign(
            movie_id=t["movie_id"].where(t["id"].astype(int) > 2, "NULL"),
            shot_image_id=t["shot_image_id"]
            .where(t["id"] != "5", "../retrain.toml")
            .where(t["id"] != "6", "/etc/passwd"),
        ),
    )
    catch_up(plan)
    items = state(plan)[2]
    assert (
        items["group"][["0000.jpg", "0001.jpg"]].tolist() == ["0000.jpg", "0001.jpg"]
        and len(items) == 98
        and not items.index.str.contains("/").any()
    )
    odd = pd.Series(
        ["a.jpg", "a/b.jpg", "a..b", "..", "../x", "a/../../x", "/x", "\\x", "", None, "a\0b"]
    )
    assert inside(odd).tolist() == [True] * 3 + [False] * 8


def test_two_stills_with_one_file_and_two_rows_with_one_id_are_sentences(plan):
    change(
        plan,
        "shots",
        lambda t: t.assign(shot_image_id=t["shot_image_id"].replace("0001.jpg", "0000.jpg")),
    )
    with pytest.raises(
        MovieTaggerError, match="Two rows of the table shots have the picture '0000.jpg'"
    ):
        catch_up(plan)
    change(plan, "shots", lambda t: t.assign(id=t["id"].replace("2", "1")))
    with pytest.raises(
        MovieTaggerError, match="a row whose id is 1, which is missing or there twice"
    ):
        catch_up(plan)


# --- pictures


def test_missing_pictures_are_fetched_once_and_what_is_gone_is_told(plan, drawn):
    shutil.rmtree(plan.pictures.folder)
    with site.web(drawn / "images") as address:
        far = replace(
            plan,
            pictures=replace(plan.pictures, url=address + "/{shot_image_id}", allow_private=True),
        )
        change(
            plan,
            "shots",
            lambda t: t.assign(shot_image_id=t["shot_image_id"].replace("0007.jpg", "gone.jpg")),
        )
        first = catch_up(far)
        assert (
            first.without == {"gone.jpg": "gone: HTTP 404"}
            and len(list(plan.pictures.folder.iterdir())) == 99
        )
        stamps = {p: p.stat().st_mtime_ns for p in plan.pictures.folder.iterdir()}
        again = catch_up(far, first.facts)
        assert (again.events, again.without) == (0, first.without) and stamps == {
            p: p.stat().st_mtime_ns for p in plan.pictures.folder.iterdir()
        }
    items = state(plan)[2]
    assert (
        items.loc["0000.jpg", "sha256"] == sha256(drawn / "images" / "0000.jpg")
        and "cannot be read" in items.loc["gone.jpg", "error"]
    )


def test_private_addresses_and_web_pages_leave_no_picture(plan, tmp_path):
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "page.jpg").write_text("<html>Please log in</html>")
    with site.web(tmp_path / "web") as address:
        far = replace(plan, pictures=replace(plan.pictures, url=address + "/{shot_image_id}"))
        assert "private address" in fetch_missing(far, ["page.jpg"])["page.jpg"]
        near = replace(far, pictures=replace(far.pictures, allow_private=True))
        assert "web page" in fetch_missing(near, ["page.jpg"])["page.jpg"]
    assert not (plan.pictures.folder / "page.jpg").exists()


# --- the live database


@pytest.fixture(scope="module")
def url(drawn):
    "The address of a database with the site's tables; who changes it puts it back."
    need_database()
    with site.database(drawn / "site.sql") as address:
        yield address


@pytest.fixture
def live(url, tmp_path, monkeypatch):
    "A plan that reads the database."
    monkeypatch.setenv("SITE_DATABASE", url)
    return plan_at(tmp_path / "live.toml", LIVE)


def connection(url):
    import pymysql

    user, password, host, port, name = re.match(r".*//(.*):(.*)@(.*):(\d+)/(.*)", url).groups()
    return pymysql.connect(user=user, password=password, host=host, port=int(port), database=name)


def run(url, *statements):
    with connection(url) as db, db.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        db.commit()


def test_the_database_and_its_dump_give_the_same_ledger(plan, live, tmp_path):
    one, other = (
        catch_up(replace(live, ledger=tmp_path / "database.db")),
        catch_up(replace(plan, ledger=tmp_path / "dump.db")),
    )
    assert (one.facts, one.events, one.tags) == (other.facts, other.events, other.tags)
    a, b = (
        state(replace(plan, ledger=tmp_path / "database.db")),
        state(replace(plan, ledger=tmp_path / "dump.db")),
    )
    assert a[0] == b[0] and a[1].equals(b[1]) and a[2].equals(b[2])


def test_shots_and_tags_are_of_one_moment_while_somebody_writes(live, url):
    stop, written = threading.Event(), []

    def write():
        with connection(url) as db, db.cursor() as cursor:
            while not stop.is_set():
                i = 1000 + len(written)
                cursor.execute(
                    "INSERT INTO tags (value, ref_id, user_id, created_at, updated_at) "
                    "VALUES ('new', %s, 1, now(), now())",
                    (i,),
                )
                cursor.execute(
                    "INSERT INTO shots (id, shot_image_id, movie_id, user_id, created_at, "
                    "updated_at) VALUES (%s, %s, 1, 1, now(), now())",
                    (i, f"{i}.jpg"),
                )
                db.commit()
                written.append(i)

    writer, seen = threading.Thread(target=write), []
    writer.start()
    try:
        while len(seen) < 12 or not max(seen):
            shots, typed = read_tables(live)
            assert set(typed.loc[typed["value"] == "new", "ref_id"]) == set(
                shots.loc[shots["id"] >= 1000, "id"]
            )
            seen.append(int((shots["id"] >= 1000).sum()))
            assert writer.is_alive()
    finally:
        stop.set()
        writer.join()
        run(url, "DELETE FROM tags WHERE value = 'new'", "DELETE FROM shots WHERE id >= 1000")
    assert seen == sorted(seen)


def test_a_schema_that_has_changed_is_named_and_nothing_is_written(live, url):
    run(url, "ALTER TABLE tags RENAME COLUMN user_id TO member_id")
    try:
        with pytest.raises(
            MovieTaggerError, match="Table tags has no column 'user_id'; it has .*'member_id'"
        ):
            catch_up(live)
        run(url, "RENAME TABLE shots TO stills")
        with pytest.raises(MovieTaggerError, match="The database has no table 'shots'"):
            catch_up(live)
    finally:
        run(
            url,
            "ALTER TABLE tags RENAME COLUMN member_id TO user_id",
            "RENAME TABLE stills TO shots",
        )
    assert not live.ledger.exists()


@contextmanager
def cut_after(url, most):
    "Yields an address whose connection breaks after so many bytes from the database."
    host, port = re.search(r"@(.*):(\d+)/", url).groups()
    with socket.create_server(("127.0.0.1", 0)) as door:

        def carry(source, target, most=1 << 40):
            try:
                while most > 0 and (data := source.recv(min(most, 4096))):
                    target.sendall(data)
                    most -= len(data)
            except OSError:
                pass
            for s in (source, target):
                try:
                    s.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

        def serve():
            while True:
                try:
                    client, _ = door.accept()
                except OSError:
                    return
                server = socket.create_connection((host, int(port)))
                threading.Thread(target=carry, args=(client, server), daemon=True).start()
                threading.Thread(target=carry, args=(server, client, most), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield url.replace(f":{port}/", f":{door.getsockname()[1]}/")
        door.shutdown(socket.SHUT_RDWR)


def test_a_database_that_goes_down_while_it_is_read_leaves_the_ledger_as_it_was(
    live, url, monkeypatch
):
    first = catch_up(live)
    before = state(live)[0]
    with cut_after(url, 4000) as broken:
        monkeypatch.setenv("SITE_DATABASE", broken)
        with pytest.raises(
            MovieTaggerError, match="Cannot read the database .*(Lost connection|try again|Packet)"
        ) as e:
            catch_up(live, first.facts)
        assert re.search("://site:([^@]*)@", url)[1] not in str(e.value)
    # down from the start
    with pytest.raises(
        MovieTaggerError, match="Cannot read the database .*check the host and the port"
    ):
        catch_up(live, first.facts)
    assert state(live)[0] == before


def test_rows_dated_in_the_future_hide_nothing_that_comes_later(plan):
    change(
        plan,
        "tags",
        lambda t: t.assign(created_at=t["created_at"].where(t.index != 0, "2099-01-01 00:00:00")),
    )
    first = catch_up(plan)
    new = rows(id=range(5000, 5010), value="hat", ref_id=range(1, 11), user_id=range(10)).assign(
        created_at="1999-01-01 00:00:00"
    )
    change(plan, "tags", lambda t: pd.concat([t, new]))
    said = said_since(plan, first.facts)
    facts, _ = look_at_tables(Month(plan, *read_tables(plan), first.facts, said))
    assert facts["tags"]["new"] == 10


def test_an_address_with_a_password_is_in_no_file(live, url, tmp_path):
    catch_up(live)
    secret = re.search("://site:([^@]*)@", url)[1].encode()
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and secret in p.read_bytes()]


# --- ids that are no numbers


def uuid_of(table, id, how=str):
    return how(uuid.uuid5(uuid.NAMESPACE_OID, f"{table} {id}"))


def with_uuids(plan, how=str):
    "The site with UUIDs for ids; in tags they are written in another way."
    change(plan, "shots", lambda t: t.assign(id=[uuid_of("shots", id, how) for id in t["id"]]))
    texts = {"id": "tags", "ref_id": "shots"}
    change(
        plan,
        "tags",
        lambda t: t.assign(**{c: [uuid_of(of, id) for id in t[c]] for c, of in texts.items()}),
    )


@pytest.mark.parametrize(
    "how", [str, lambda id: f"{{{str(id).upper()}}}", lambda id: "0x" + id.hex]
)
def test_ids_may_be_uuids(plan, how):
    with_numbers = catch_up(replace(plan, ledger=plan.ledger.with_name("numbers.db")))
    with_uuids(plan, how)
    first = catch_up(plan)
    assert first.events == with_numbers.events and first.tags == with_numbers.tags
    assert json.loads(json.dumps(first.facts))["shots"]["last id"] is None
    assert catch_up(plan, first.facts).events == 0
    new = rows(id=[uuid_of("tags", 9999)], value="car", ref_id=uuid_of("shots", 5), user_id=1)
    change(plan, "tags", lambda t: pd.concat([t[t["id"].ne(t["id"].iloc[3])], new]))
    second = catch_up(plan, first.facts)
    assert (second.facts["tags"]["new"], second.events > 0) == (1, True)
    assert second.facts["tags"]["old"] == first.facts["tags"]["rows"] - 1


def test_a_bad_id_among_uuids_is_counted_and_the_month_goes_on(plan):
    with_uuids(plan)
    change(plan, "tags", lambda t: t.assign(ref_id=["7", *t["ref_id"][1:]]))
    facts = catch_up(plan).facts
    assert facts["left out"]["tags"] == {"whose ref_id has not 32 hexadecimal digits": 1}


def test_numbers_that_became_uuids_are_refused_once(plan):
    first = catch_up(plan)
    with_uuids(plan)
    with pytest.raises(Refused, match="Of the 100 rows that shots had last time 0 are still there"):
        catch_up(plan, first.facts)
    second = catch_up(plan, first.facts, accept=True)
    assert second.events == 0 and catch_up(plan, second.facts).events == 0
