"A site's tables as CSV, as programs write them: each row is read rightly, or it is said why not."

import warnings

import pytest
from conftest import movie_tagger
from hypothesis import given, settings
from hypothesis import strategies as st

from movie_tagger.core import MovieTaggerError
from movie_tagger.tags.sql import delimited
from movie_tagger.tags.sql.delimited import Columns, Dialect, exact_rows, fast_part
from movie_tagger.tags.sql.dump import read_dump

SHOTS = "id,shot_image_id,movie_id\n1,a.jpg,7\n2,b.jpg,7\n3,c.jpg,8\n"
TAGS = "id,value,ref_id\n1,car,1\n2,tree,1\n3,car,2\n4,sea,3\n"
RIGHT = {"a.jpg": "car, tree", "b.jpg": "car", "c.jpg": "sea"}


@pytest.fixture
def site(tmp_path):
    "Writes a folder of exports, texts or bytes."

    def write(tags=TAGS, shots=SHOTS):
        for name, content in {"shots": shots, "tags": tags}.items():
            content = content if isinstance(content, bytes) else content.encode()
            (tmp_path / f"{name}.csv").write_bytes(content)
        return tmp_path

    return write


def made(folder, *options):
    "Picture → tags in the table that the command makes, and what it said."
    out = folder / "out" / "table.csv"
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        done = movie_tagger("tags", folder, "--min-count", 0, "--out", out, *options)
    assert done.code == 0, done.err
    rows = read_dump(out)["table"]
    told = done.out + " ".join(str(w.message) for w in said)
    return dict(zip(rows["image"], rows["tags"])), told


def refusal(folder, *options):
    "The sentence of a command that makes no table."
    done = movie_tagger("tags", folder, "--min-count", 0, "--out", folder / "t", *options)
    assert done.code == 1 and done.err.count("\n") == 1 and not (folder / "t").exists()
    return done.err


# --- how programs write


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\r\r\n"])
@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
@pytest.mark.parametrize("above", ["", "sep={}\n", '"sep={}"\n', "\n \n# made by hand\n"])
def test_separators_and_line_ends(site, end, mark, above):
    texts = [(above.format(mark) + t.replace(",", mark)).replace("\n", end) for t in (TAGS, SHOTS)]
    assert made(site(*texts)) == (RIGHT, made(site())[1])


FORMS = {
    "phpMyAdmin": lambda text: "\n".join(
        ",".join(f'"{cell}"' for cell in line.split(",")) for line in text.splitlines()
    ),
    "pandas": lambda text: "\n".join(
        f"{i - 1 if i else ''},{line}" for i, line in enumerate(text.splitlines())
    ),
    "spaces": lambda text: text.replace(",", ", "),
    "columns": lambda text: "\n".join(
        " ; ".join(cell.ljust(15) for cell in line.split(",")) for line in text.splitlines()
    ),
    "spaces and quotes": lambda text: "\n".join(
        ", ".join(f'"{cell}"' for cell in line.split(",")) for line in text.splitlines()
    ),
    "drawn": lambda text: "\n".join(
        ["+----+----+----+"]
        + ["| " + " | ".join(line.split(",")) + " |" for line in text.splitlines()]
        + ["+----+----+----+", ""]
    ),
    "psql": lambda text: (
        " "
        + text.replace(",", " | ").replace("\n", "\n ", 3).replace("_id\n", "_id\n---+---+---\n", 1)
        + "(4 rows)\n"
    ),
    "byte order mark": lambda text: "\ufeff" + text,
    "names in capitals": lambda text: text.replace("id", "ID").replace("value", "Value"),
    "names with spaces": lambda text: text.replace("_id", " Id").replace(
        "shot_image", "Shot image"
    ),
    "camel case": lambda text: text.replace("ref_id", "refId").replace("movie_id", "movieId"),
    "names with tables": lambda text: text.replace(
        "id,value,ref_id", "tags.id,tags.value,t.ref_id"
    ),
    "a title": lambda text: "The tags of our site; 2008\n\n" + text,
    "a column without a name": lambda text: text.replace("\n", ",\n"),
    "rows of nothing": lambda text: text + ",,\n,,\n",
    "a last line without end": lambda text: text.rstrip("\n"),
    "the end of DOS": lambda text: text + "\x1a",
    "ids with zeros": lambda text: text.replace("\n", "\n000"),
    "ids as floats": lambda text: text.replace(",1\n", ",1.0\n").replace(",2\n", ",2.0\n"),
    "ids as formulas": lambda text: text.replace(",1\n", ',"=""1"""\n'),
    "ids as texts of a spreadsheet": lambda text: text.replace("\n1,", "\n'1,"),
    "ids with spaces": lambda text: text.replace("\n1,", '\n" 1",').replace(",1\n", ",1 \n"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("which", ["tags", "shots", "both"])
def test_forms_of_programs(site, form, which):
    tags, shots = (
        FORMS[form](text).removesuffix("000") if which in (name, "both") else text
        for name, text in (("tags", TAGS), ("shots", SHOTS))
    )
    assert made(site(tags, shots))[0] == RIGHT


def test_a_title_and_empty_rows_are_said(site):
    _, told = made(site(FORMS["a title"](TAGS) + ",,\n"))
    assert "names its columns below the line 'The tags of our site; 2008'" in told
    assert "left out 1 row with nothing in 'value', 'ref_id'" in told


@pytest.mark.parametrize(
    "typed, written",
    [
        ("close-up face", '"close-up face"'),
        ("say hello", '"say\nhello"'),
        ('a "b" c', '"a ""b"" c"'),
        ('12" disk', '12" disk'),
        ("it's", "it's"),
        ('"', '""""'),
    ],
)
def test_texts_in_quotes(site, typed, written):
    assert made(site(TAGS + f"5,{written},3\n"))[0] == RIGHT | {"c.jpg": f"{typed}, sea"} or (
        made(site(TAGS + f"5,{written},3\n"))[0] == RIGHT | {"c.jpg": f"sea, {typed}"}
    )


def test_backslashes(tmp_path):
    for written, meant in {
        '"a \\"b\\" c"': 'a "b" c',
        '"C:\\"': "C:\\",
        '"C:\\dir"': "C:\\dir",
        "\\N": None,
    }.items():
        (tmp_path / "t.csv").write_text(f"id,name\n1,{written}\n2,x\n")
        found = read_dump(tmp_path / "t.csv")["t"]["name"]
        assert found[0] == meant or (meant is None and found.isna()[0]), written


@pytest.mark.parametrize("name", ["tags.csv", "tags.tsv", "tags.txt"])
@pytest.mark.parametrize("quoted", [True, False])
def test_tabs_in_any_file(site, name, quoted):
    folder = site()
    (folder / "tags.csv").unlink()
    typed = '"car, red\there"' if quoted else "car, red\\there"
    (folder / name).write_text(f"value\tref_id\n{typed}\t1\nsea\t2\n")
    found = read_dump(folder, ["tags"])["tags"]
    assert found["value"].tolist() == ["car, red\there", "sea"] and found["ref_id"].sum() == 3


# --- nothing

WORDS = r'"" NULL "NULL" null "null" \N (null) [NULL] None "None" NaN "nan" #N/A "#N/A" N/A'.split()


@pytest.mark.parametrize("word", ["", *WORDS])
def test_ids_and_pictures_that_are_nothing(site, word):
    "Only that row is lost, and it is counted."
    found, told = made(site(TAGS + f"5,sky,{word}\n", SHOTS.replace("c.jpg", word)))
    assert found == {name: tags for name, tags in RIGHT.items() if name != "c.jpg"}
    assert "1  the still is gone: sky" in told and "1  the still has no picture: sea" in told
    found, _ = made(site(TAGS, SHOTS + f"{word},d.jpg,8\n{word},e.jpg,8\n4,f.jpg,{word}\n"))
    assert found == RIGHT


def test_nothing_as_r_writes_it(tmp_path):
    "R quotes texts and names alike: NA without quotes is nothing; elsewhere it may be a word."
    file = tmp_path / "tags.csv"
    file.write_text('"","value","ref_id"\n"1",NA,1\n"2","NA",2\n"3","sea",NA\n')
    found = read_dump(file, columns={"tags": ["value", "ref_id"]})["tags"]
    assert found["value"].isna().tolist() == [True, False, False]
    assert found["ref_id"].isna().tolist() == [False, False, True]
    file.write_text("value,ref_id\nNA,1\n")
    assert read_dump(file, columns={"tags": ["value", "ref_id"]})["tags"]["value"][0] == "NA"


@pytest.mark.parametrize("word", ["NULL", "null", "None", "NaN", "#N/A", "(null)", "[NULL]"])
def test_a_word_for_nothing_that_somebody_typed(site, word):
    found, told = made(site(TAGS + f"5,{word},3\n"))
    assert found == RIGHT and "1  empty" in told
    found, told = made(site(TAGS + f'5,"{word}",3\n'))
    assert word.lower() in found["c.jpg"].split(", ")
    assert f"1 cell of value say '{word}' in quotes" in told


# --- ids


def test_an_odd_id_makes_only_its_row_odd(site):
    found, told = made(site(TAGS + "5,sky,x7\n6,sky,2\n"))
    assert found == RIGHT | {"b.jpg": "car, sky"}
    assert "tags.csv, row 5: 'x7' is no number, as ref_id is elsewhere (1 such row)." in told
    assert "1  the still is gone: sky" in told
    found, told = made(site(TAGS, SHOTS + "x,d.jpg,9\n"))
    assert found == RIGHT and "shots.csv, row 4: 'x' is no number" in told
    found, told = made(site(TAGS.replace(",1\n", ",1E+05\n")))
    assert found == {"b.jpg": "car", "c.jpg": "sea"} and "'1E+05' is no number" in told
    assert "(2 such rows)" in told and "2  the still is gone" in told


@pytest.mark.parametrize(
    "here, there",
    [
        ("550e8400-e29b-41d4-a716-44665544000", "550E8400-E29B-41D4-A716-44665544000"),
        ("550e8400e29b41d4a71644665544000", "550E8400-E29B-41D4-A716-44665544000"),
        ("dQw4w9WgXc", "dQw4w9WgXc"),
        ("tt011", "tt011"),
        ("1000000000000000000000", "1000000000000000000000"),
        ("-", "-000"),
        ("1e3-", "1e3-"),
    ],
)
def test_ids_are_compared_as_what_they_are(site, here, there):
    shots = SHOTS.replace("\n1,", f"\n{here}1,").replace("\n2,", f"\n{here}2,")
    tags = TAGS.replace(",1\n", f",{there}1\n").replace(",2\n", f",{there}2\n")
    assert made(site(tags, shots))[0] == RIGHT


def test_ids_that_differ_only_in_zeros_or_case_stay_apart(site):
    shots = "id,shot_image_id,movie_id\n7,a.jpg,1\n007,b.jpg,1\nAb,c.jpg,1\naB,d.jpg,1\n"
    tags = "value,ref_id\ncar,7\nsea,007\nsky,Ab\ntree,aB\n"
    assert made(site(tags, shots))[0] == {
        "a.jpg": "car",
        "b.jpg": "sea",
        "c.jpg": "sky",
        "d.jpg": "tree",
    }


def test_an_id_that_is_there_twice(site):
    assert "has the id 3 more than once" in refusal(site(TAGS, SHOTS + "3,d.jpg,8\n"))
    shots = SHOTS.replace("\n", "\nx")
    assert "has the id x3 more than once" in refusal(site(TAGS, shots + "3,d.jpg,8\n"))


# --- encodings


@pytest.mark.parametrize(
    "word, encoding, name",
    [
        ("café", "utf-8", None),
        ("café", "utf-8-sig", None),
        ("café", "utf-16", None),
        ("кино", "utf-16-be", None),
        ("café – “naïve”", "cp1252", "Windows-1252"),
        ("straße", "latin-1", "Windows-1252"),
        ("où été garçon", "mac_roman", "Mac Roman"),
        ("żółty książka", "cp1250", "Windows-1250"),
    ],
)
def test_encodings_that_can_be_seen(site, word, encoding, name):
    text = ("\ufeff" * (encoding == "utf-16-be") + TAGS).replace("sea", word)
    found, told = made(site(text.encode(encoding)))
    assert found == RIGHT | {"c.jpg": word} and (f"read as {name};" in told if name else True)
    assert name or "read as" not in told


@pytest.mark.parametrize("encoding", ["cp1251", "koi8-r", "cp866", "shift_jis", "gb18030"])
def test_encodings_that_cannot_be_seen(site, encoding):
    word = "комедия и кино"
    content = TAGS.replace("sea", word).encode(encoding)
    said = refusal(site(content))
    assert "tags.csv is not UTF-8" in said and "--encoding" in said
    assert made(site(content), "--encoding", encoding)[0] == RIGHT | {"c.jpg": word}


def test_encodings_that_are_wrong(site):
    said = refusal(site(), "--encoding", "klingon")
    assert "There is no encoding 'klingon'" in said
    assert "is not utf-8 text" in refusal(site(b"value,ref_id\n\xff,1\n"), "--encoding", "utf-8")
    mixed = "value,ref_id\ncafé,1\n".encode() + b"caf\xe9,1\n"
    assert "line 3: at b'\\xe9,1\\n' UTF-8 meets another encoding" in refusal(site(mixed))


# --- headers


def test_columns_that_are_missing_or_there_twice(site):
    said = refusal(site("id,value,still\n1,car,1\n"))
    assert "tags.csv has no column 'ref_id'; it has 'id', 'value', 'still'." in said
    said = refusal(site("value,ref_id,ref_id\ncar,1,2\n"))
    assert "has several columns 'ref_id'" in said
    joined = "shots.id,tags.value,tags.ref_id\n9,car,1\n"
    assert made(site(joined))[0] == {"a.jpg": "car"}


@pytest.mark.parametrize("text", ["1,car,1\n2,sea,1\n", "car,1\n", '"1";"car";"1"\n', "car 1\n"])
def test_no_line_of_names(site, text):
    said = refusal(site(text))
    assert "has no line with the names of its columns, 'value', 'ref_id'" in said
    assert repr(text.splitlines()[0]) in said and "Export it with column names" in said


@pytest.mark.parametrize(
    "content, says",
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        ("value,ref_id\ncar,1\n".encode("utf-32"), "is not text, or UTF-32"),
        (b"'value','ref_id'\n'car','1'\n", "has single quotes around texts"),
        (b"PK\x03\x04" + bytes(26) + b"[Content_Types].xml", "is an Excel workbook"),
        (b"\xd0\xcf\x11\xe0", "is an Excel workbook"),
        (b"<!DOCTYPE html><html>", "is a web page"),
        (b"INSERT INTO tags VALUES (1);", "is an SQL dump"),
        (b"\x89PNG\r\n\x1a\n\0\0", "is a picture"),
        (b"SQLite format 3\0", "is an SQLite database"),
    ],
)
def test_what_is_no_export(site, content, says):
    assert says in refusal(site(content))


# --- which file is which table


@pytest.mark.parametrize(
    "name", ["Tags.CSV", "tags_202611281130.csv", "site.tags.csv", "tags (1).csv", "tags.csv.gz"]
)
def test_files_named_nearly_right(site, name):
    import gzip

    folder = site()
    text = (folder / "tags.csv").read_bytes()
    (folder / "tags.csv").unlink()
    (folder / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    (folder / "._tags.csv").write_bytes(b"\0\5\x16\7")
    assert made(folder)[0] == RIGHT


def test_two_files_for_a_table(site):
    folder = site()
    (folder / "tags.tsv").write_text(TAGS.replace(",", "\t"))
    assert "several files for the table tags: 'tags.csv', 'tags.tsv'" in refusal(folder)
    (folder / "tags.tsv").unlink()
    (folder / "tags.csv").rename(folder / "labels.csv")
    assert "has no table 'tags'; it has" in refusal(folder)


# --- what is broken


@pytest.mark.parametrize(
    "row, says",
    [
        ('5,"car,3\n6,sea,1\n', "a quote that opens in line 6 is never closed"),
        ('5,"car,3\n6,"sea",1\n', "a quote is missing, or one too many, in the row at line 6"),
        ('5,"car" red,3\n', "a quote is missing, or one too many, in the row at line 6"),
        ("5,car, red,3\n", "line 6: '5,car, red,3' has 4 values for 3 columns"),
        ("5,close\nup,3\n", "line 6: '5,close' has 2 values for 3 columns"),
        ("5,ca", "line 6: '5,ca' has 2 values for 3 columns (was the file cut off?)"),
        ('5,"a\nb",3\n6,"x\n', "a quote that opens in line 8 is never closed"),
    ],
)
def test_broken_rows_are_told_by_line(site, row, says):
    assert says in refusal(site(TAGS + row)).replace("\\n", "")


@pytest.mark.parametrize("row", ["5,car,3\n", '5,"car",3\n'])
def test_a_missing_quote_in_a_file_of_any_size(tmp_path, monkeypatch, row):
    "It is found where it is, whether other quotes follow or not: the rest is not read."
    (tmp_path / "tags.csv").write_text(TAGS + '4,"sea,3\n' + row * 3_000_000)
    reads, more = [], delimited.Text.more
    monkeypatch.setattr(delimited.Text, "more", lambda self: reads.append(1) or more(self))
    with pytest.raises(MovieTaggerError, match="line 6"):
        read_dump(tmp_path / "tags.csv")
    assert len(reads) < 5


# --- once exactly and once fast

cells = st.text("ab,;\n\"' \\\u00e9N", max_size=4)


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.lists(cells, min_size=2, max_size=3), max_size=6),
    st.sampled_from(
        [Dialect(), Dialect(";"), Dialect("\t", False, "spells"), Dialect(",", True, "takes")]
    ),
    st.booleans(),
)
def test_the_fast_way_reads_what_the_exact_way_reads(rows, dialect, final):
    block = "".join(dialect.separator.join(row) + "\n" for row in rows).encode()
    columns = Columns(["a", "b"], [0, 1])
    fast = fast_part(block, dialect, columns, final)
    if not fast:
        return
    exact = [
        [None if cell is None else cell.decode() for cell in cells]
        for cells, *_ in exact_rows(block[: fast[1]], dialect)
    ]
    found = [list(row.values()) for row in fast[0].to_pylist()]
    assert list(filter(any, found)) == list(filter(any, exact))


@settings(deadline=None)
@given(st.lists(st.tuples(cells, st.booleans()), min_size=1, max_size=8))
def test_what_is_written_is_read(tmp_path_factory, typed):
    import csv

    path = tmp_path_factory.mktemp("written") / "t.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerow(["id", "written"])
        writer.writerows([[i, text] for i, (text, _) in enumerate(typed)])
    found = read_dump(path)["t"]["written"]
    assert [text.replace("\r\n", "\n") for text, _ in typed] == found.tolist()
