"Folders and tables as people have them: read rightly and said, or refused with the way out."

import json
import shutil
import unicodedata
import warnings
from pathlib import Path

import numpy as np
import pytest
from conftest import draw_poster, movie_tagger

from movie_tagger import data
from movie_tagger.core import MovieTaggerError, one_form

GENRES = ["Action", "Comedy", "Drama", "Horror"]
LOOKS = ["horror", "romance", "superhero"]


def names(n=24):
    return [f"tt{i:04}" for i in range(n)]


def tags_of(i):
    return sorted({GENRES[i % 4], GENRES[i * 7 // 4 % 4]})


def picture(path, i):
    return draw_poster(path, LOOKS[i % 3], i)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    "A folder `images` with 24 pictures; only to be read."
    folder = tmp_path_factory.mktemp("forms")
    for i, name in enumerate(names()):
        picture(folder / "images" / f"{name}.jpg", i)
    return folder


@pytest.fixture
def work(drawn, tmp_path):
    shutil.copytree(drawn / "images", tmp_path / "images")
    return tmp_path


def table(folder, header, line, n=24, encoding="utf-8"):
    rows = [line(name, tags_of(i)) for i, name in enumerate(names(n))]
    (folder / "table.csv").write_bytes("\n".join([header, *rows, ""]).encode(encoding))
    return folder / "table.csv"


def read(*args, **kwargs):
    "Items, labels, and all that was said about them."
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        items, labels = data.read(*args, **kwargs)
    return items, labels, " ".join(str(w.message) for w in said)


def right(labels):
    "Has each picture its tags, all others being no?"
    expected = [[tag in tags_of(i) for tag in GENRES] for i in range(len(labels))]
    return list(labels) == GENRES and np.array_equal(labels.to_numpy(bool), np.array(expected))


# --- tags in a cell


@pytest.mark.parametrize(
    "form",
    [
        lambda tags: f'"{tags}"',
        lambda tags: '"' + json.dumps(tags).replace('"', '""') + '"',
        lambda tags: '"[' + " ".join(map(repr, tags)) + ']"',
        lambda tags: f'"{[{"id": 18, "name": tag} for tag in tags]}"',
        lambda tags: f'"[{", ".join(tags)}]"',
        lambda tags: f'"{tuple(tags)}"',
        lambda tags: f'"{{{", ".join(map(repr, tags))}}}"',
    ],
    ids=["python", "json", "numpy", "records", "bare", "tuples", "sets"],
)
@pytest.mark.parametrize("column", ["tags", "label"])
def test_lists_in_cells_are_lists_of_tags(work, form, column):
    path = table(work, f"image,{column}", lambda n, tags: f"images/{n}.jpg,{form(tags)}")
    items, labels, said = read(path, absent="no")
    assert right(labels) and items["error"].isna().all()
    assert f"Took the cells of `{column}` for lists of tags" in said


def test_empty_lists_and_nothing_are_no_tags(work):
    rows = ["images/tt0000.jpg,['Drama']", "images/tt0001.jpg,[]", "images/tt0002.jpg,nan"]
    (work / "table.csv").write_text("\n".join(["image,tags", *rows]))
    _, labels, _ = read(work / "table.csv", absent="unknown")
    assert labels["Drama"].eq(True).fillna(False).tolist() == [True, False, False]
    assert labels["Drama"].isna().sum() == 2


@pytest.mark.parametrize(
    "cells, says",
    [
        (["\"['Drama', 'Crime']\"", '"Drama, Crime"'], "row 3: 'Drama, Crime' is no list"),
        (["\"{'Drama': 1}\"", "[]"], "is not a list that can be read"),
        (["\"['Drama', ['Crime']]\"", "[]"], "is not a list that can be read"),
        (["\"['Drama, Crime']\"", "[]"], "has a comma"),
        (["[" * 5000 + "'a'" + "]" * 5000, "[]"], "is not a list that can be read"),
    ],
)
def test_what_is_no_list_is_said(work, cells, says):
    rows = [f"images/tt{i:04}.jpg,{cell}" for i, cell in enumerate(cells)]
    (work / "table.csv").write_text("\n".join(["image,tags", *rows]))
    with pytest.raises(MovieTaggerError, match=says):
        data.read(work / "table.csv", absent="no")


def test_a_tag_in_brackets_is_a_tag(work):
    (work / "table.csv").write_text("image,tags\nimages/tt0000.jpg,[REC]\nimages/tt0001.jpg,car\n")
    assert list(read(work / "table.csv", absent="no")[1]) == ["[REC]", "car"]


@pytest.mark.parametrize("mark", ["|", ";", ", "])
def test_several_labels_in_label(work, mark):
    path = table(work, "image,label", lambda n, tags: f'images/{n}.jpg,"{mark.join(tags)}"')
    with pytest.raises(MovieTaggerError, match="row 4: `label` holds several.*--absent no"):
        data.read(path)
    _, labels, said = read(path, absent="no")
    assert right(labels) and "`label` for lists of tags" in said


def test_few_cells_with_another_comma_are_seen(work):
    tags = ["car", "car", "car", "tree", "car|tree"]
    rows = [f"images/tt{i:04}.jpg,{tag}" for i, tag in enumerate(tags)]
    (work / "table.csv").write_text("\n".join(["image,tags", *rows]))
    with pytest.raises(MovieTaggerError, match="seems to separate tags with '|'"):
        data.read(work / "table.csv", absent="no")


# --- a column a tag


def one_hot(work, yes="1", no="0"):
    def line(name, tags):
        return f'{name},"{tags}",' + ",".join(yes if t in tags else no for t in GENRES)

    return table(work, f"Id,Genre,{','.join(GENRES)}", line)


@pytest.mark.parametrize("yes, no", [("1", "0"), ("1.0", "0.0"), ("True", "False"), ("1", "-1")])
def test_the_public_genre_set_is_read(work, yes, no):
    items, labels, said = read(one_hot(work, yes, no), images=work / "images")
    assert right(labels) and items["error"].isna().all() and items.index[3] == "tt0003"
    assert "Took 4 columns for tags (Action, Comedy, Drama, Horror): 1 is yes, 0 is no." in said
    assert "'tt0000' for 'tt0000.jpg'" in said


def test_the_public_genre_set_becomes_a_model(work):
    done = movie_tagger(
        "train", one_hot(work), "--images", work / "images", "--out", work / "model"
    )
    assert done.code == 0, done.err
    assert json.loads((work / "model" / "manifest.json").read_text())["tags"] == GENRES


def test_a_zero_that_says_nothing(work):
    _, labels, said = read(one_hot(work), images=work / "images", absent="unknown")
    assert labels.eq(False).sum().sum() == 0 and labels.isna().any().all()
    assert "0 is nobody looked" in said


def test_an_empty_cell_is_unknown(work):
    (work / "table.csv").write_text("image,car,sea\nimages/tt0000.jpg,1,\nimages/tt0001.jpg,0,1\n")
    _, labels, _ = read(work / "table.csv")
    assert labels.isna().to_numpy().tolist() == [[False, True], [False, False]]


# --- names that are nearly right


@pytest.mark.parametrize("images", [None, "images"])
def test_names_without_ending(work, images):
    path = table(work, "image,label", lambda n, tags: f"{n},{tags[0]}")
    items, _, said = read(path, images=images and work / images)
    assert items["error"].isna().all() and "Took 24 names for what is there" in said
    assert items["path"].str.endswith(tuple(f"{n}.jpg" for n in names())).all()


@pytest.mark.parametrize(
    "written, there",
    [
        ("images\\a.jpg", "images/a.jpg"),
        (".\\images\\a.jpg", "images/a.jpg"),
        ("images/A.JPG", "images/a.jpg"),
        ("images/a.jpg ", "images/a.jpg"),
        ("images/caf\u00e9.jpg", "images/cafe\u0301.jpg"),
        ("images/cafe\u0301.jpg", "images/caf\u00e9.jpg"),
        ("IMAGES/CAFE\u0301", "images/caf\u00e9.jpeg"),
    ],
)
def test_names_in_another_form(tmp_path, written, there):
    picture(tmp_path / there, 0)
    picture(tmp_path / "images" / "other.jpg", 1)
    rows = [f'"{written}",x', "images/other.jpg,y"]
    (tmp_path / "table.csv").write_text("\n".join(["image,label", *rows]), encoding="utf-8")
    items, _, _ = read(tmp_path / "table.csv")
    assert items["path"].iloc[0] == str(tmp_path / there) and items["error"].isna().all()


def test_a_name_that_fits_two_pictures_is_left_open(work):
    picture(work / "more" / "tt0001.png", 50)
    (work / "table.csv").write_text("image,label\ntt0000,x\ntt0001,y\n")
    items, _, said = read(work / "table.csv")
    assert items["error"].isna().tolist() == [True, False]
    assert "'tt0001' fits 'images/tt0001.jpg' and 'more/tt0001.png'" in said


# --- splits


def test_a_split_column_is_kept_to(work):
    path = table(
        work,
        "image,label,split",
        lambda n, tags: (
            f"images/{n}.jpg,{GENRES[int(n[2:]) % 3]},{'test' if int(n[2:]) < 6 else 'train'}"
        ),
    )
    items, _, said = read(path)
    assert data.held_out(items).tolist() == [True] * 6 + [False] * 18
    assert "18 train, 6 test" in said
    done = movie_tagger("train", path, "--out", work / "model", "--json", work / "m.json")
    assert done.code == 0 and "Held out by the split" in done.out and "6 pictures" in done.out
    manifest = json.loads((work / "model" / "manifest.json").read_text())
    assert manifest["data"]["pictures"] == 18
    assert json.loads((work / "m.json").read_text())["n"] == 6
    done = movie_tagger("evaluate", work / "model", path)
    assert done.code == 0 and "18 pictures" in done.out


def test_a_group_on_both_sides_is_not_measured_on(work):
    path = table(
        work,
        "image,label,split,group",
        lambda n, tags: (
            f"images/{n}.jpg,{GENRES[int(n[2:]) % 3]},{'valid' if int(n[2:]) < 6 else 'train'},"
            f"{'both' if int(n[2:]) in (5, 6) else n}"
        ),
    )
    with pytest.warns(UserWarning, match="Not measured on 1 picture of those held out"):
        done = movie_tagger("train", path, "--out", work / "model", "--json", work / "m.json")
    assert done.code == 0 and json.loads((work / "m.json").read_text())["n"] == 5


@pytest.mark.parametrize("cell", ["", "maybe", "3"])
def test_a_split_in_other_words(work, cell):
    path = table(work, "image,label,split", lambda n, tags: f"images/{n}.jpg,x,{cell}")
    with pytest.raises(MovieTaggerError, match=f"row 2: `split` says '{cell}'; write train"):
        data.read(path)


def test_is_valid_is_a_split(work):
    path = table(work, "image,label,is_valid", lambda n, tags: f"images/{n}.jpg,x,{n[-1] == '3'}")
    assert data.held_out(read(path)[0]).sum() == 3


def test_nothing_left_to_train_on(work):
    path = table(work, "image,label,split", lambda n, tags: f"images/{n}.jpg,{tags[0]},test")
    done = movie_tagger("train", path, "--out", work / "model")
    assert done.code == 1 and "nothing to train on" in done.err


@pytest.fixture
def splits(tmp_path):
    for i in range(24):
        part = "train" if i < 18 else "valid"
        picture(tmp_path / "splits" / part / GENRES[i % 3] / f"{i}.jpg", i)
    return tmp_path / "splits"


def test_folders_of_a_split(splits, tmp_path):
    items, labels, said = read(splits)
    assert "Took 'train' and 'valid' for splits: 18 and 6 pictures." in said
    assert list(labels) == GENRES[:3] and data.kind(labels) == "single"
    assert data.held_out(items).sum() == 6 and items.index[0] == "train/Action/0.jpg"
    done = movie_tagger("train", splits, "--out", tmp_path / "model", "--json", tmp_path / "m.json")
    assert done.code == 0 and json.loads((tmp_path / "m.json").read_text())["n"] == 6


def test_a_test_folder_without_classes_is_left_out(splits):
    for i in range(3):
        picture(splits / "Test" / f"{i}.jpg", 100 + i)
    items, _, said = read(splits)
    assert len(items) == 24 and "Left out 3 pictures in 'Test' without a class" in said


def test_a_class_beside_a_split_is_refused(splits):
    picture(splits / "horror" / "0.jpg", 100)
    with pytest.raises(MovieTaggerError, match="beside 'horror': move that elsewhere"):
        data.read(splits)


def test_parts_without_class_folders_are_refused(tmp_path):
    for i, part in enumerate(("train", "valid")):
        picture(tmp_path / part / "0.jpg", i)
    with pytest.raises(MovieTaggerError, match="have no class folders inside"):
        data.read(tmp_path)


def test_a_class_may_be_called_train(tmp_path):
    for i, name in enumerate(("train", "car")):
        picture(tmp_path / name / "0.jpg", i)
    items, labels, said = read(tmp_path)
    assert list(labels) == ["car", "train"] and "split" not in items and said == ""


def test_a_ledger_keeps_no_split(splits, tmp_path):
    from movie_tagger.ledger import Ledger, exchange

    with pytest.warns(UserWarning, match="keeps no split"):
        assert exchange.import_data(Ledger(tmp_path / "ledger"), splits)


# --- what is skipped


@pytest.mark.parametrize(
    "name", ["@eaDir", "__MACOSX", "$RECYCLE.BIN", "#recycle", ".thumbnails", ".ipynb_checkpoints"]
)
def test_folders_of_systems_are_skipped_and_counted(tmp_path, name):
    for i in range(8):
        genre = GENRES[i % 2]
        picture(tmp_path / genre / f"{i}.jpg", i)
        picture(tmp_path / genre / name / f"{i}.jpg", i)
        picture(tmp_path / name / genre / f"{i}.jpg", i + 100)
    items, labels, said = read(tmp_path)
    assert len(items) == 8 and list(labels) == GENRES[:2]
    assert f"Skipped folders of systems and photo stations in {tmp_path}: 3 {name}." in said


def test_what_is_no_picture_is_said_by_ending(tmp_path):
    for i in range(6):
        picture(tmp_path / GENRES[i % 2] / f"{i}.jpg", i)
    for name in ("IMG_1.PSD", "IMG_2.psd", "Thumbs.db", "README"):
        (tmp_path / "Action" / name).write_bytes(b"x")
    picture(tmp_path / "loose.jpg", 9)
    items, _, said = read(tmp_path)
    assert len(items) == 6 and "1 .db, 2 .psd, 1 without ending." in said
    assert "Left out 1 picture that lie loose" in said


def test_one_class_in_two_forms(tmp_path):
    for i, form in enumerate(("NFC", "NFD")):
        picture(tmp_path / unicodedata.normalize(form, "Com\u00e9die") / f"{i}.jpg", i)
    picture(tmp_path / "drama" / "0.jpg", 5)
    assert list(read(tmp_path)[1]) == ["Com\u00e9die", "drama"]


@pytest.mark.parametrize(
    "header, cells, said",
    [
        (
            "filename,class",
            ["sea", "car"],
            "Took the column `filename` for `image` and `class` for",
        ),
        ("file_name,label", ["sea", "car"], "Took the column `file_name` for `image`."),
        ("image,genres", ["sea|car", "car"], "Took the column `genres` for `tags`."),
        ("image,genre", ["\"['sea', 'car']\"", "['car']"], "`genre` for `label`"),
    ],
)
def test_columns_by_names_that_programs_give_them(header, cells, said, tmp_path):
    cells = [cell.replace("|", ",") for cell in cells]
    rows = [f'{i}.jpg,"{c}"' if "[" not in c else f"{i}.jpg,{c}" for i, c in enumerate(cells)]
    for i in range(2):
        picture(tmp_path / f"{i}.jpg", i)
    (tmp_path / "a.csv").write_text("\n".join([header, *rows]), encoding="utf-8")
    _, labels, told = read(tmp_path / "a.csv", absent="no")
    assert sorted(labels) == ["car", "sea"] and said in told


def test_one_column_a_tag_beside_one_with_their_names(tmp_path):
    for i in range(2):
        picture(tmp_path / f"{i}.jpg", i)
    table = "file,genre,car,sea\n0.jpg,Car,1,0\n1.jpg,Sea,0,1\n"
    (tmp_path / "a.csv").write_text(table, encoding="utf-8")
    assert sorted(read(tmp_path / "a.csv")[1]) == ["car", "sea"]


def test_two_columns_that_may_name_the_pictures(tmp_path):
    (tmp_path / "a.csv").write_text("file,path,label\n0.jpg,0.jpg,sea\n", encoding="utf-8")
    with pytest.raises(MovieTaggerError, match="needs a column `image`.*it has 'file', 'path'"):
        read(tmp_path / "a.csv")


def test_a_single_part_of_a_split_is_no_class(tmp_path):
    picture(tmp_path / "images" / "train" / "0.jpg", 0)
    with pytest.raises(MovieTaggerError, match="'train' in .* looks like a part of a split"):
        read(tmp_path / "images")


def test_a_class_called_as_nothing_is_said(tmp_path):
    for i in range(2):
        picture(tmp_path / f"{i}.jpg", i)
    (tmp_path / "a.csv").write_text("image,label\n0.jpg,NaN\n1.jpg,sea\n", encoding="utf-8")
    assert "Took 'NaN' in 1 row for a class" in read(tmp_path / "a.csv")[2]


@pytest.mark.parametrize("written, stored", [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_of_files_in_two_forms(written, stored, tmp_path):
    "A Mac stores accents apart; a table from elsewhere has them in one."
    name = "Ame\u0301lie/sce\u0300ne 1.jpg"
    picture(tmp_path / unicodedata.normalize(stored, name), 1)
    picture(tmp_path / "b.jpg", 2)
    (tmp_path / "a.csv").write_text(
        f"image,tags\n{unicodedata.normalize(written, name)},sea\nb.jpg,car\n", encoding="utf-8"
    )
    items, labels, _ = read(tmp_path / "a.csv", absent="no")
    assert all(Path(path).exists() for path in items["path"])
    assert sorted(labels) == ["car", "sea"] and len(items) == 2


MARKED = "\u200eCome\u0301die\u200f"  # with marks of direction, and accents apart


def test_signs_that_nobody_sees_make_no_second_class(tmp_path):
    names = (MARKED, "Com\u00e9die", "Drama")
    for i, name in enumerate(names):
        picture(tmp_path / "data" / name / f"{i}.jpg", i)
    pictures = sorted((tmp_path / "data").rglob("*.jpg"), key=lambda p: p.name)
    assert list(read(tmp_path / "data")[1]) == ["Com\u00e9die", "Drama"]
    rows = [f"{path},{name}" for path, name in zip(pictures, names)]
    for column in ("label", "tags"):
        (tmp_path / "a.csv").write_text("\n".join([f"image,{column}", *rows]), encoding="utf-8")
        labels = read(tmp_path / "a.csv", absent="no")[1]
        assert sorted(labels) == ["Com\u00e9die", "Drama"], column
    rows = [f"{path},{i % 2},{1 - i % 2}" for i, path in enumerate(pictures)]
    table = "\n".join([f"image,{MARKED},Drama", *rows])
    (tmp_path / "a.csv").write_text(table, encoding="utf-8")
    assert list(read(tmp_path / "a.csv", absent="no")[1]) == ["Com\u00e9die", "Drama"]
    (tmp_path / "a.csv").write_text(table.replace("Drama", "Com\u00e9die"), encoding="utf-8")
    with pytest.raises(MovieTaggerError, match="Two columns are called 'Com\u00e9die'"):
        read(tmp_path / "a.csv", absent="no")


def test_one_form_is_the_last_one():
    for text in (MARKED, "e\u200b\u0301", "\u200e \u200f", "\U0001f469\u200d\U0001f680", "\ufeffa"):
        assert one_form(one_form(text)) == one_form(text)
    assert one_form("e\u200b\u0301") == "\u00e9" and "\u200d" in one_form(
        "\U0001f469\u200d\U0001f680"
    )


# --- tables out of programs


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [";", ",", "\t", "|"])
@pytest.mark.parametrize("said", [True, False])
def test_separators_and_line_ends(tmp_path, end, mark, said):
    rows = [f"sep={mark}"] * said + [mark.join(("Image", "Label")), mark.join(("a.jpg", "x"))]
    (tmp_path / "t.csv").write_bytes(end.join([*rows, ""]).encode())
    found = data.read_table(tmp_path / "t.csv")
    assert found.to_dict("list") == {"image": ["a.jpg"], "label": ["x"]}


def test_an_index_without_a_name_is_let_be(tmp_path):
    (tmp_path / "t.csv").write_text(",image,tags\n0,a.jpg,car\n1,b.jpg,\n")
    assert list(data.read_table(tmp_path / "t.csv")) == ["image", "tags"]


def test_the_encoding_of_windows_is_said(tmp_path):
    (tmp_path / "t.csv").write_bytes("image,label\na.jpg,caf\u00e9 \u2013 bar\n".encode("cp1252"))
    with pytest.warns(UserWarning, match="is not UTF-8: read as Windows-1252"):
        assert data.read_table(tmp_path / "t.csv")["label"].item() == "caf\u00e9 \u2013 bar"


@pytest.mark.parametrize(
    "content",
    [
        "image,label\na.jpg,\u043a\u043e\u043c\u0435\u0434\u0438\u044f\n".encode("cp1251"),
        "image,label\na.jpg,caf\u00e9\n".encode() + b"b.jpg,\xe9\n",
        b"image,label\na.jpg,\x81\n",
    ],
    ids=["cyrillic", "broken UTF-8", "neither"],
)
def test_other_encodings_are_refused(tmp_path, content):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(MovieTaggerError, match="is not UTF-8 text. Save it as CSV in UTF-8"):
        data.read_table(tmp_path / "t.csv")


@pytest.mark.parametrize(
    "rows, says",
    [
        (['a.jpg,"car, tree', 'b.jpg,"sea"'], "row that begins in line 2"),
        (['"a.jpg","car', '"b.jpg","sea"'], "row that begins in line 2"),
        (["a.jpg,car", 'b.jpg,"sea', "c.jpg,car"], "a quote that opens in line 3 is never closed"),
        (["a.jpg,car", 'b.jpg,"sea', *["c.jpg,car"] * 50_000], "begins in line 3 does not end"),
        (["a.jpg," + "x" * 5_000_000], "line 2 has more than"),
    ],
)
def test_a_missing_quote_loses_no_row(tmp_path, rows, says):
    (tmp_path / "t.csv").write_text("\n".join(["image,tags", *rows, ""]))
    with pytest.raises(MovieTaggerError, match=says):
        data.read_table(tmp_path / "t.csv")


@pytest.mark.parametrize(
    "name, content, says",
    [
        ("a.sql", b"whatever", "movie-tagger tags a.sql"),
        ("a.sql.gz", b"\x1f\x8b", "movie-tagger tags a.sql.gz"),
        ("dump.csv", b"-- MariaDB dump 10.19\n", "movie-tagger tags dump.csv"),
        ("dump.csv", b"/*!40101 SET NAMES utf8 */;\n", "movie-tagger tags dump.csv"),
        ("dump.txt", b"INSERT INTO `tags` VALUES (1);\n", "movie-tagger tags dump.txt"),
        ("a.jpg", b"\xff\xd8\xff\xe0" + bytes(90), "a.jpg is a picture"),
        ("a.csv", b"\x89PNG\r\n\x1a\n", "a.csv is a picture"),
        ("a.xlsx", b"PK\x03\x04", "Excel"),
        ("a.json", b'[{"image": "a.jpg"}]', "is JSON"),
        ("a.csv", b"<!DOCTYPE html><html>", "is a web page"),
        ("a.csv", b"image\0,label", "not text"),
    ],
)
def test_what_is_no_table_is_named(tmp_path, monkeypatch, name, content, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(content)
    done = movie_tagger("train", name, "--out", "model")
    assert done.code == 1 and says in done.err and done.err.count("\n") == 1


def test_tagging_says_what_it_skips_and_finds_names_nearly_right(work, bundle):
    (work / "images" / "@eaDir").mkdir()
    (work / "images" / "IMG.PSD").write_bytes(b"x")
    done = movie_tagger("tag", bundle, work / "images", "--out", work / "tags.csv")
    assert done.code == 0 and "as no pictures: 1 .psd, 1 @eaDir." in done.err
    (work / "list.csv").write_text("image\nTT0001\n")
    done = movie_tagger("tag", bundle, work / "list.csv", "--out", work / "tags.csv")
    assert done.code == 0 and "Took 1 name for what is there" in done.err
    assert "images/tt0001.jpg" in (work / "tags.csv").read_text()
