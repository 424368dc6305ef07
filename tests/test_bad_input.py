"What users get wrong, and what breaks under them: one sentence, exit code 1, nothing half written."

import json
import os
import resource
import shutil
import subprocess
import sys
import time

import pandas as pd
import pytest
from conftest import SCRIPT, draw_poster, draw_posters, files, movie_tagger, shell
from PIL import Image


def refused(done, *says):
    "Holds for a command that failed as it should, saying all of `says`."
    assert done.code == 1, (done.out, done.err)
    assert done.err.startswith("movie-tagger: ") and done.err.count("\n") == 1, done.err
    assert "Traceback" not in done.err
    for words in says:
        assert str(words) in done.err
    return True


@pytest.fixture
def work(posters, tmp_path, monkeypatch):
    "A folder to work in, with drawn posters; what a refused command wrote there is a failure."
    monkeypatch.chdir(tmp_path)
    (tmp_path / "posters").symlink_to(posters)
    return tmp_path


def table(path, rows, header="image,label"):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def train(source, *options):
    return movie_tagger("train", source, "--out", "model", "--force", *options)


# --- folders


def test_an_empty_folder(work):
    (work / "empty").mkdir()
    assert refused(train("empty"), "No pictures in class folders below empty", "one folder a class")


def test_loose_pictures_only(work, posters):
    shutil.copytree(posters / "horror", work / "loose")
    assert refused(train("loose"), "the 20 pictures that lie loose in it have no class")


def test_one_class_only(work, posters):
    (work / "one").mkdir()
    (work / "one" / "horror").symlink_to(posters / "horror")
    assert refused(train("one"), "There is only one class, 'horror'")


def test_a_class_with_one_picture(work, posters):
    shutil.copytree(posters, work / "data")
    draw_poster(work / "data" / "western" / "lonely.jpg", "horror", 99)
    assert refused(train("data"), "The class 'western' has 1 usable picture and needs at least 2")


def test_a_folder_that_is_not_there(work):
    assert refused(train("nowhere"), "There is no file or folder nowhere")


def test_all_pictures_the_same(work, posters):
    for genre in ("horror", "romance"):
        (work / "data" / genre).mkdir(parents=True)
        for i in range(3):
            shutil.copy(posters / "horror" / "000.jpg", work / "data" / genre / f"{i}.jpg")
    done = train("data", "--json", "metrics.json")
    assert done.code == 0 and "Not measured" in done.out
    assert json.loads((work / "metrics.json").read_text()) == {
        "n": 0,
        "kind": "single",
        "metrics": {},
        "per_tag": [],
    }
    assert refused(train("data", "--folds", 3), "belong to one group")


# --- tables


@pytest.mark.parametrize(
    "header, rows, options, says",
    [
        ("image,colour", ["posters/horror/000.jpg,horror"], [], ["`label` or `tags`", "'colour'"]),
        ("where,label", ["posters/horror/000.jpg,horror"], [], ["a column `image`", "'where'"]),
        (
            "image,Image,label",
            ["posters/horror/000.jpg,posters/horror/001.jpg,horror"],
            [],
            ["several columns 'image'"],
        ),
        (
            "image,label,tags",
            ["posters/horror/000.jpg,horror,dark"],
            [],
            ["one of `label` or `tags`"],
        ),
        ("image,tags", ["posters/horror/000.jpg,dark"], [], ["--absent no", "--absent unknown"]),
        (
            "image,tags",
            ["posters/horror/000.jpg,dark"],
            ["--absent", "maybe"],
            ["--absent no", "--absent unknown"],
        ),
        (
            "image,tags",
            ["posters/horror/000.jpg,red", 'posters/horror/001.jpg,"dark, -dark"'],
            ["--absent", "no"],
            ["row 3", "`dark` and `-dark`"],
        ),
        (
            "id,image,label",
            ["a,posters/horror/000.jpg,x", "a,posters/horror/001.jpg,y"],
            [],
            ["'a' more than once"],
        ),
        (
            "image,label",
            ["posters/horror/000.jpg,x", "posters/horror/000.jpg,y"],
            [],
            ["'posters/horror/000.jpg' more than once"],
        ),
        (
            "image,label",
            ["posters/horror/000.jpg,x", "posters/horror/001.jpg, "],
            [],
            ["row 3", "label is empty"],
        ),
        (
            "image,label",
            ["posters/horror/000.jpg,x", "posters/horror/001.jpg"],
            [],
            ["row 3", "label is empty"],
        ),
        (
            "image,label",
            ["posters/horror/000.jpg,x", "posters/horror/001.jpg,x,y"],
            [],
            ["Cannot read table.csv"],
        ),
        (
            "image,tags",
            ["posters/horror/000.jpg,red, dark", "posters/horror/001.jpg,red, dark"],
            ["--absent", "no"],
            ["more cells than", "quotes"],
        ),
        (
            "image,tags",
            ["posters/horror/000.jpg,red; dark", "posters/horror/001.jpg,red; wet"],
            ["--absent", "no"],
            ["separate tags with ';', as in 'red; dark'", "commas"],
        ),
        (
            "image,tags",
            ["posters/horror/000.jpg,red|dark", "posters/horror/001.jpg,red|wet"],
            ["--absent", "no"],
            ["separate tags with '|'"],
        ),
        (
            "image,label",
            ["https://example.com/1.jpg,x", "https://example.com/2.jpg,y"],
            [],
            ["is an address and no file", "movie-tagger download"],
        ),
        (
            "image,tags",
            ["posters/horror/000.jpg,", "posters/horror/001.jpg,"],
            ["--absent", "no"],
            ["has no tag in any row"],
        ),
        (
            "image,tags",
            ['posters/horror/000.jpg,"red, wet"', "posters/horror/001.jpg,dark"],
            ["--absent", "no"],
            ["No tag is used 2 times"],
        ),
        ("image,label", [], [], ["has no rows"]),
        (
            "image,label",
            ["gone/1.jpg,x", "gone/2.jpg,y"],
            [],
            ["None of the 2 pictures", "gone/1.jpg is not there"],
        ),
        ("image,label", [",x", ",y"], [], ["more than once"]),
    ],
)
def test_a_table_that_cannot_be_used(work, header, rows, options, says):
    before = files(work)
    assert refused(train(table(work / "table.csv", rows, header).name, *options), *says)
    assert files(work) == sorted([*before, "table.csv"])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n\n",
        b"\xff\xfei\0m\0a\0g\0e\0",
        b"\0\0\0\0",
        b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
        b'image,label\n"a,b\n',
        "image,label\na.jpg,café\n".encode("cp1252"),
    ],
)
def test_a_file_that_is_no_table(work, content):
    (work / "table.csv").write_bytes(content)
    assert refused(train("table.csv"), "table.csv")


def test_slips_are_said_and_the_work_goes_on(work):
    rows = [
        f"posters/{genre}/{i:03}.jpg,{genre if i else genre.title()}"
        for genre in ("horror", "romance")
        for i in range(6)
    ]
    rows += [f"posters/{genre}/000.jpg,{genre.title()}" for genre in ("horror", "romance")] + [
        "posters/horror/003.jpg,romance"
    ]
    done = train(
        table(
            work / "table.csv", [f"still {i},{row}" for i, row in enumerate(rows)], "id,image,label"
        )
    )
    assert (done.code, done.err) == (0, "")
    assert "taken for different classes: Horror and horror, Romance and romance." in done.out
    assert "labels that contradict each other: 1 picture, such as still 3 and still 14." in done.out


def test_class_folders_without_pictures_and_without_end(work):
    shutil.copytree(work / "posters", work / "data")
    (work / "data" / "western").mkdir()
    (work / "data" / "western" / "IMG_1.PSD").write_bytes(b"x")
    with pytest.warns(
        UserWarning, match="data/western has no pictures, so there is no class 'western'."
    ):
        assert train("data").code == 0
    (work / "data" / "again").symlink_to(".")
    assert refused(train("data"), "data/again is a link to the data set itself")


@pytest.mark.parametrize("comma, encoding", [(";", "utf-8"), ("\t", "utf-16"), (",", "utf-8-sig")])
def test_tables_out_of_spreadsheets(work, comma, encoding):
    rows = [
        comma.join((f"posters/{genre}/{i:03}.jpg", f'"{genre}, café"', ""))
        for genre in ("horror", "romance")
        for i in range(6)
    ]
    (work / "table.csv").write_bytes(
        "\r\n".join([comma.join(("Image", " TAGS", "Note")), *rows]).encode(encoding)
    )
    done = train("table.csv", "--absent", "no")
    assert (done.code, done.err) == (0, "") and json.loads(
        (work / "model" / "manifest.json").read_text()
    )["tags"] == ["café", "horror", "romance"]
    done = movie_tagger("tag", "model", "table.csv", "--out", "tags.csv")
    assert (done.code, done.err) == (0, "") and len(pd.read_csv(work / "tags.csv")) == 12


def test_a_wrong_images_folder(work):
    table(work / "table.csv", ["horror/000.jpg,x", "horror/001.jpg,y"])
    assert refused(train("table.csv", "--images", "nowhere"), "nowhere/horror/000.jpg is not there")


def test_rows_without_a_picture_are_listed_and_the_work_goes_on(work):
    rows = [
        f"posters/{genre}/{i:03}.jpg,{genre}" for genre in ("horror", "romance") for i in range(6)
    ]
    table(work / "table.csv", [*rows, "posters/gone.jpg,horror", "posters/also gone.jpg,romance"])
    done = train("table.csv")
    assert (done.code, done.err) == (
        0,
        "",
    ) and "Left out, and model-problems.csv says why: 2 pictures." in done.out
    problems = pd.read_csv(work / "model-problems.csv")
    assert (
        list(problems["item"]) == ["posters/gone.jpg", "posters/also gone.jpg"]
        and problems["error"].str.contains("is not there").all()
    )
    assert json.loads((work / "model" / "manifest.json").read_text())["data"]["pictures"] == 12
    assert train(table(work / "better.csv", rows)).code == 0 and "model-problems.csv" not in files(
        work
    ), "an old list would mislead"


# --- pictures


def plant_bad_pictures(folder, good):
    "Puts into `folder` what a download leaves behind, and returns how many files that is."
    (folder / "empty.jpg").touch()
    (folder / "page.jpg").write_text("<!DOCTYPE html><html><body>404</body></html>")
    (folder / "cut.jpg").write_bytes(good.read_bytes()[:1500])
    (folder / "noise.png").write_bytes(b"\x89PNG\r\n\x1a\n" + os.urandom(500))
    (folder / "a folder.jpg").mkdir()
    Image.new("1", (20_000, 20_000)).save(folder / "huge.png")
    return 5


def test_bad_pictures_among_good_ones_are_listed_and_the_work_goes_on(work, posters):
    shutil.copytree(posters, work / "data")
    bad = plant_bad_pictures(work / "data" / "horror", posters / "horror" / "000.jpg")
    done = train("data")
    assert (done.code, done.err) == (0, "") and f"says why: {bad} pictures." in done.out
    errors = pd.read_csv(work / "model-problems.csv", index_col="item")["error"]
    assert (
        len(errors) == bad
        and "0 bytes" in errors["horror/empty.jpg"]
        and "web page" in errors["horror/page.jpg"]
    )
    assert "cut off" in errors["horror/cut.jpg"] and "pixels allowed" in errors["horror/huge.png"]

    done = movie_tagger(
        "tag", "model", "data/horror", "--out", "tags.csv", "--scores", "scores.csv"
    )
    told = pd.read_csv(work / "tags.csv", keep_default_na=False)
    assert done.code == 0 and len(told) == 20 + bad and told["error"].ne("").sum() == bad
    assert (
        told["tags"].eq("").equals(told["error"].ne(""))
        and len(pd.read_csv(work / "scores.csv")) == 20
    )
    shutil.rmtree(work / "data" / "romance")
    shutil.copytree(posters / "romance", work / "data" / "romance")
    draw_posters(work / "data", 25)
    done = movie_tagger("evaluate", "model", "data")
    assert done.code == 0 and f"Left out: {bad} pictures (unreadable)." in done.out


def test_bad_pictures_with_groups_are_found_later_and_listed_too(work, posters):
    bad = work / "bad.jpg"
    bad.write_text("<html>")
    rows = [
        f"posters/{genre}/{i:03}.jpg,{genre},film {i}"
        for genre in ("horror", "romance")
        for i in range(6)
    ]
    table(work / "table.csv", [*rows, "bad.jpg,horror,film 1"], "image,label,group")
    done = train("table.csv")
    assert (done.code, done.err) == (0, "") and "says why: 1 picture." in done.out
    assert files(work) == [
        "bad.jpg",
        "model-problems.csv",
        "model/card.md",
        "model/manifest.json",
        "model/model.onnx",
        "table.csv",
    ]


def test_only_bad_pictures(work, bundle):
    for genre in ("horror", "romance"):
        (work / "data" / genre).mkdir(parents=True)
        (work / "data" / genre / "page.jpg").write_text("<html>")
    assert refused(train("data"), "None of the 2 pictures", "web page")
    assert refused(movie_tagger("evaluate", bundle, "data"), "None of the 2 pictures")
    assert refused(
        movie_tagger("tag", bundle, "data", "--scores", "scores.csv"),
        "None of the 2 pictures can be read",
    )
    assert "model" not in os.listdir(work)


def test_names_that_are_no_unicode(work, bundle, posters):
    odd = os.fsdecode(b"odd \xff.jpg")
    shutil.copytree(posters, work / "data")
    shutil.copy(posters / "horror" / "000.jpg", work / "data" / "horror" / odd)
    assert movie_tagger("tag", bundle, "data/horror", "--out", "tags.csv").code == 0
    assert b"odd \xff.jpg,horror," in (work / "tags.csv").read_bytes()
    done = shell(
        "tag",
        bundle,
        f"data/horror/{odd}",
        cwd=work,
        env=os.environ | {"PYTHONIOENCODING": "utf-8:strict"},
    )
    assert done.code == 0 and done.out.startswith("data/horror/odd \\udcff.jpg: horror")
    assert refused(shell("train", "data", "--out", "model", cwd=work), "odd \\udcff.jpg", "rename")


# --- labels that are hard to learn from


def test_a_tag_without_a_yes_in_a_fold(work):
    rows = []
    for genre in ("horror", "romance", "superhero"):
        for i in range(10):
            tags = "horror, rare" if genre == "horror" and i < 2 else genre
            rows.append(f'posters/{genre}/{i:03}.jpg,"{tags}",{genre} {i // 2}')
    table(work / "table.csv", rows, "image,tags,group")
    done = train("table.csv", "--absent", "no", "--folds", 5)
    assert (done.code, done.err) == (0, "") and json.loads(
        (work / "model" / "manifest.json").read_text()
    )["tags"][1] == "rare"


def test_a_fold_without_a_class(work):
    rows = [
        f"posters/{genre}/{i:03}.jpg,{genre},{genre}"
        for genre in ("horror", "romance", "superhero")
        for i in range(8)
    ]
    done = train(table(work / "table.csv", rows, "image,label,group"), "--folds", 3)
    assert (done.code, done.err) == (0, "")


def test_many_labels_that_look_like_single_ones_outside_a_fold(work, monkeypatch):
    "All pictures with two tags are of one film, so what is left without it has one tag a picture."
    from movie_tagger.learn import head

    kinds, fit = set(), head.fit

    def watched(*args, **kwargs):
        found = fit(*args, **kwargs)
        kinds.add(found[0].kind)
        return found

    monkeypatch.setattr(head, "fit", watched)
    rows = []
    for genre in ("horror", "romance", "superhero"):
        for i in range(10):
            tags, group = ("horror, night", "one") if genre == "horror" else (genre, i)
            rows.append(f'posters/{genre}/{i:03}.jpg,"{tags}",{group}')
    done = train(
        table(work / "table.csv", rows, "image,tags,group"), "--absent", "no", "--folds", 5
    )
    assert (done.code, done.err, kinds) == (0, "", {"multi"})


# --- encoders


def test_an_unknown_encoder(work):
    assert refused(
        train("posters", "--encoder", "resnte34"), "no encoder 'resnte34'", "did you mean resnet34"
    )
    assert refused(train("posters", "--encoder", "resnet34.nosuch"), "resnet34.nosuch")
    assert refused(train("posters", "--encoder", "torchvision/resnte34"), "resnte34")
    assert refused(train("posters", "--encoder", "lite0@big"), "from 32 to 1024")
    assert files(work) == []


def test_weights_that_cannot_be_reached_are_said_at_once(work):
    "The address is one where nobody listens, so that this also holds with a network."
    start = time.monotonic()
    env = os.environ | {
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "HF_HOME": str(work / "hub"),
        "MOVIE_TAGGER_CACHE": str(work / "cache"),
    }
    done = shell("train", "posters", "--out", "model", "--encoder", "resnet34", cwd=work, env=env)
    assert refused(done, "The weights of resnet34 cannot be reached", "--weights")
    assert time.monotonic() - start < 55, "trying again and again takes a minute"


def test_weights_that_do_not_fit(work, posters):
    torch = pytest.importorskip("torch")
    torch.save({"nothing.of.it": torch.zeros(3)}, work / "other.pth")
    assert refused(
        train("posters", "--encoder", "resnet10t@32", "--weights", "other.pth"),
        "other.pth",
        "do not fit",
    )
    (work / "text.pth").write_text("no weights")
    assert refused(
        train("posters", "--encoder", "resnet10t@32", "--weights", "text.pth"), "text.pth"
    )
    assert refused(
        train("posters", "--encoder", "resnet10t@32", "--weights", "gone.pth"),
        "gone.pth",
        "cannot be read",
    )


# --- bundles


@pytest.fixture
def copied(bundle, work):
    shutil.copytree(bundle, work / "copy")
    return work / "copy"


@pytest.mark.parametrize("name", ["model.onnx", "manifest.json", "card.md"])
@pytest.mark.parametrize("harm", ["a changed byte", "cut off", "gone"])
def test_a_damaged_bundle(copied, name, harm):
    file, picture = copied / name, "posters/horror/000.jpg"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    if harm == "gone":
        file.unlink()
    else:
        file.write_bytes(content if harm == "a changed byte" else content[: len(content) // 2])
    assert refused(movie_tagger("tag", "copy", picture, "--out", "tags.csv"), name)
    assert refused(movie_tagger("evaluate", "copy", "posters"), name)
    assert files(copied.parent) == sorted(f"copy/{p.name}" for p in copied.iterdir())


def test_a_bundle_of_a_newer_version(copied):
    from movie_tagger.models import bundle

    bundle.amend(copied, format=bundle.FORMAT + 1)
    assert refused(
        movie_tagger("tag", "copy", "posters/horror/000.jpg"),
        "newer",
        "pip install -U movie_tagger",
    )


@pytest.mark.parametrize("path", ["nowhere", "posters", "posters/horror/000.jpg"])
def test_no_bundle(work, path):
    assert refused(
        movie_tagger("tag", path, "posters/horror/000.jpg", "--out", "tags.csv"),
        f"{path} is not a bundle",
    )
    assert files(work) == []


def test_a_data_set_of_other_classes(work, bundle, posters):
    (work / "data").mkdir()
    for name in ("noir", "western"):
        (work / "data" / name).symlink_to(posters / "horror")
    assert refused(movie_tagger("evaluate", bundle, "data"), "no tag in common")


# --- what to tag


def test_pictures_that_are_not_there(work, bundle):
    assert refused(
        movie_tagger("tag", bundle, "gone.jpg", "--out", "tags.csv"), "gone.jpg", "no such file"
    )
    (work / "empty").mkdir()
    assert refused(movie_tagger("tag", bundle, "empty"), "no pictures in empty")


@pytest.mark.parametrize(
    "content, says",
    [
        ("path\nposters/horror/000.jpg\n", "a column `image`"),
        ('image\n"x', "inside string"),
        ("image\nposters/horror/000.jpg\na.jpg,too many\n", "line 3, saw 2"),
        ("image\n", "at least one row"),
        ("", "list.csv"),
        (None, "list.csv"),
    ],
)
def test_a_list_of_pictures_that_cannot_be_used(work, bundle, content, says):
    if content is not None:
        (work / "list.csv").write_text(content)
    assert refused(movie_tagger("tag", bundle, "list.csv", "--out", "tags.csv"), says)
    assert "tags.csv" not in files(work)


def test_one_file_for_two_tables(work, bundle):
    assert refused(
        movie_tagger("tag", bundle, "posters", "--out", "t.csv", "--scores", work / "t.csv"),
        "tags and scores would go to t.csv",
    )


def test_a_list_with_holes_is_tagged_as_far_as_it_goes(work, bundle):
    (work / "list.csv").write_text(
        "note,image\na,posters/horror/000.jpg\nb\nc,\nd,posters/horror/001.jpg\n"
    )
    assert movie_tagger("tag", bundle, "list.csv", "--out", "tags.csv").code == 0
    assert list(pd.read_csv(work / "tags.csv", keep_default_na=False)["error"].ne("")) == [
        False,
        True,
        True,
        False,
    ]


# --- places that cannot be written to


def test_a_full_disk_leaves_the_older_bundle(work, bundle):
    shutil.copytree(bundle, work / "model")
    before = {f: (work / f).read_bytes() for f in files(work)}

    def at_most_a_megabyte():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    assert refused(
        shell(
            "train",
            "posters",
            "--out",
            "model",
            "--force",
            "--seed",
            5,
            cwd=work,
            preexec_fn=at_most_a_megabyte,
        ),
        "Cannot write model",
        "untouched",
    )
    assert {f: (work / f).read_bytes() for f in files(work)} == before


def test_a_full_disk_leaves_the_older_tables(work, bundle):
    movie_tagger("tag", bundle, "posters/horror/000.jpg", "--out", "tags.csv")
    before = (work / "tags.csv").read_text()

    def at_most_a_few_rows():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

    assert refused(
        shell(
            "tag", bundle, "posters", "--out", "tags.csv", cwd=work, preexec_fn=at_most_a_few_rows
        ),
        "Cannot write tags.csv",
    )
    assert files(work) == ["tags.csv"] and (work / "tags.csv").read_text() == before


def mounted(script, folder, options):
    "Runs a shell script that alone sees `folder` mounted with `options`."
    command = f"mount {options} '{folder}' || exit 77; " + script
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", command], capture_output=True, text=True, timeout=120
    )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("mounting is not allowed here")
    return done


needs_mount = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0 or not shutil.which("unshare"),
    reason="mounting needs Linux and root",
)


@needs_mount
def test_a_really_full_disk(work, bundle):
    small = work / "small"
    small.mkdir()
    done = mounted(
        f"cp -r '{bundle}' '{small}/model' && cd '{work}' && "
        f"{SCRIPT} train posters --out small/model --force; "
        "echo $? $(ls -A small small/model);"
        f"{SCRIPT} tag small/model posters/horror/000.jpg",
        small,
        "-t tmpfs -o size=16m tmpfs",
    )
    assert (
        done.stderr.startswith("movie-tagger: Cannot write small/model")
        and done.stderr.count("\n") == 1
    ), done.stderr
    assert (
        done.stdout.splitlines()[-2]
        == "1 small: model small/model: card.md manifest.json model.onnx"
    )
    assert done.stdout.splitlines()[-1].startswith("posters/horror/000.jpg: horror")


@needs_mount
def test_a_cache_that_cannot_be_written_is_read_all_the_same(work, cache, bundle):
    "The bundle's training has filled the cache; three new posters are computed and not kept."
    draw_posters(work / "data", 21)
    done = mounted(
        f"cd '{work}' && {SCRIPT} train data --out model && "
        f"{SCRIPT} tag model posters/horror/000.jpg",
        cache,
        f"-o bind,ro '{cache}'",
    )
    assert done.returncode == 0, done.stderr
    assert "63 pictures, 3 classes; 3 to embed" in done.stdout
    assert (
        done.stderr.startswith("movie-tagger: The cache ")
        and "the work goes on without it" in done.stderr
        and done.stderr.count("\n") == 1
    )


def test_a_cache_folder_that_is_a_file(work, monkeypatch):
    (work / "cache").write_text("not a folder")
    monkeypatch.setenv("MOVIE_TAGGER_CACHE", str(work / "cache"))
    assert refused(train("posters"), "Cannot use the cache folder", "MOVIE_TAGGER_CACHE")
    assert refused(movie_tagger("doctor"), "MOVIE_TAGGER_CACHE")


def test_an_out_that_is_in_the_way(work, bundle):
    (work / "file").write_text("mine")
    (work / "folder").mkdir()
    assert refused(
        movie_tagger("train", "nowhere", "--out", "file"), "file exists and is no bundle"
    ), "said before the work, not after it"
    assert refused(
        movie_tagger("train", "posters", "--out", "file/model"), "Cannot write file/model"
    )
    assert refused(movie_tagger("tag", bundle, "posters", "--out", "folder"), "Cannot write folder")
    assert refused(
        movie_tagger("evaluate", bundle, "posters/../posters", "--json", "file/m.json"),
        "trained on 60",
    )
    assert files(work) == ["file"] and (work / "file").read_text() == "mine"


# --- wrong usage


@pytest.mark.parametrize(
    "command",
    [
        ["--nonsense"],
        ["nonsense"],
        ["train"],
        ["train", "posters"],
        ["train", "posters", "--out"],
        ["tag", "model"],
        ["train", "posters", "--out", "m", "--folds", "1"],
        ["train", "posters", "--out", "m", "--seed", "x"],
    ],
)
def test_wrong_usage(work, command):
    done = movie_tagger(*command)
    assert (
        done.code == 2
        and "Traceback" not in done.err
        and "Error: " in done.err
        and files(work) == []
    )


def test_an_unknown_recipe(work):
    assert refused(train("posters", "--recipe", "soup"), "no recipe 'soup'", "'head'")


def test_errors_of_a_real_process(work):
    done = shell("train", "nowhere", "--out", "model", cwd=work)
    assert refused(done, "There is no file or folder nowhere")
    assert done.out == "Reading nowhere ...\n"
    assert shell("train", cwd=work).code == 2
