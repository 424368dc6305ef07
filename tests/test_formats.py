"HEIC, JPEG XL and AVIF: read by their plug-ins under the same limits, or named with the way out."

import io
import os
import shutil
import struct
import subprocess
import sys
import threading
import warnings
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler

import numpy as np
import pandas as pd
import pytest
from conftest import Done, movie_tagger, shell
from PIL import Image

from movie_tagger import data
from movie_tagger.curate.panel import small
from movie_tagger.download.pictures import download_images
from movie_tagger.images import BadPicture, TooLarge, decode, find_images, kind_of, open_image

pillow_heif = pytest.importorskip("pillow_heif")
pytest.importorskip("pillow_jxl")
pillow_heif.register_heif_opener()

INSTALL = "run pip install 'movie_tagger[formats]'"
COLOURS = np.random.default_rng(0).integers(0, 255, (4, 6, 3), dtype=np.uint8)
PICTURE = Image.fromarray(COLOURS).resize((96, 64), Image.Resampling.NEAREST)
BEST = dict(HEIF=dict(quality=-1, chroma=444), JXL=dict(lossless=True), AVIF=dict(quality=100))
ENDINGS = {"HEIF": ".heic", "JXL": ".jxl", "AVIF": ".avif"}


def saved(image, kind, **more):
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the plug-in tells that it packs a JPEG anew
        image.save(file, kind, **BEST[kind] | more)
    return file.getvalue()


def turned_jpeg(path):
    exif = Image.Exif()
    exif[0x0112] = 6
    PICTURE.save(path, quality=95, subsampling=0, exif=exif)
    return Image.open(path)


def patched(file, width, height):
    "A HEIC or AVIF that claims another size."
    at = file.index(b"ispe") + 8
    return file[:at] + struct.pack(">II", width, height) + file[at + 8 :]


def jxl_header(width, height, *fields):  # fields: (value, bits) after the size
    "The beginning of a JPEG XL, and no pixels."
    bits = [(0, 1), (3, 2), (height - 1, 30), (0, 3), (3, 2), (width - 1, 30), *fields]
    number, at = 0, 0
    for value, n in bits:
        number |= value << at
        at += n
    return b"\xff\x0a" + number.to_bytes(100, "little")


FILES = {kind: saved(PICTURE, kind) for kind in ENDINGS}


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA"])
@pytest.mark.parametrize("kind", ENDINGS)
def test_a_picture_comes_out_as_it_went_in(kind, mode):
    seen = np.asarray(open_image(saved(PICTURE.convert(mode), kind)), float)
    wanted = np.asarray(PICTURE.convert(mode).convert("RGB"), float)
    assert seen.shape == wanted.shape and np.abs(seen - wanted).mean() < 4


def test_deep_colours_containers_and_further_pictures():
    deep = np.asarray(PICTURE.convert("L")).astype(np.uint16) * 257
    grey = np.asarray(PICTURE.convert("L").convert("RGB"))
    assert np.array_equal(open_image(saved(Image.fromarray(deep), "JXL")), grey)
    boxed = saved(PICTURE, "JXL", use_container=True, exif=b"MM\0*\0\0\0\x08\0\0\0\0\0\0")
    assert boxed[4:8] == b"JXL " and np.array_equal(open_image(boxed), PICTURE)
    pair = pillow_heif.HeifFile()
    pair.add_from_pillow(PICTURE)
    pair.add_from_pillow(PICTURE.resize((32, 32)))
    file = io.BytesIO()
    pair.save(file, **BEST["HEIF"])
    assert open_image(file.getvalue()).size == PICTURE.size


@pytest.mark.parametrize("kind", ["HEIF", "JXL"])
def test_a_photograph_is_turned_once(tmp_path, kind):
    with turned_jpeg(tmp_path / "phone.jpg") as phone:
        file = saved(phone, kind)
    upright = np.asarray(open_image(tmp_path / "phone.jpg"), float)
    seen = np.asarray(open_image(file), float)
    assert seen.shape == upright.shape == (96, 64, 3) and np.abs(seen - upright).mean() < 4
    assert np.abs(decode(file, (96, 64)) - upright).mean() < 4


def test_kinds_are_told_by_content():
    assert [kind_of(file[:1024]) for file in FILES.values()] == list(FILES)
    other_brand = FILES["AVIF"][:8] + b"mif1" + FILES["AVIF"][12:]
    assert kind_of(other_brand) == "AVIF" and open_image(other_brand).size == PICTURE.size


BOMBS = {
    "HEIC": (patched(FILES["HEIF"], 20_000, 20_000), "more than the 100,000,000 pixels"),
    "AVIF": (patched(FILES["AVIF"], 12_000, 12_000), "more than the 100,000,000 pixels"),
    "JPEG XL": (jxl_header(20_000, 20_000), "more than the 100,000,000 pixels"),
    "JPEG XL, a billion": (jxl_header(1 << 30, 1 << 30), "more than the 100,000,000 pixels"),
    "JPEG XL, long": (jxl_header(2_000_000, 1, (1, 1)), "1,000,000 pixels a side"),
    "JPEG XL in memory": (jxl_header(9_900, 9_900, (1, 1)), "bytes of memory"),
    # not as usual; nothing extra; 8 bits; buffers of 16; 4,096 channels beside the colours
    "JPEG XL, channels": (
        jxl_header(2_000, 2_000, (0, 2), (0, 3), (1, 1), (3, 2), (4095, 12)),
        "bytes of memory",
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_by_its_header(name):
    file, why = BOMBS[name]
    assert len(file) < 30_000
    with pytest.raises(TooLarge, match=why):
        open_image(file)


def test_a_small_size_does_not_hide_a_large_picture():
    large = saved(Image.new("RGB", (2000, 2000)), "HEIF")
    with pytest.raises(BadPicture, match="HEIC photograph that is damaged"):
        open_image(patched(large, 64, 64))


def test_an_animated_jpeg_xl_is_refused_because_all_of_it_would_be_unpacked():
    # extra fields: upright, no size to show it at, no preview, an animation
    with pytest.raises(BadPicture, match="animated JPEG XL; save one"):
        open_image(jxl_header(64, 64, (0, 1), (1, 1), (0, 3), (0, 1), (0, 1), (1, 1)))


@pytest.mark.parametrize("kind, what", [("HEIF", "HEIC photograph"), ("JXL", "JPEG XL picture")])
def test_a_cut_file_is_refused_wherever_it_is_cut(kind, what):
    file = FILES[kind]
    for end in (*range(16, 64), *range(64, len(file) - 1, max(1, len(file) // 50)), len(file) - 1):
        with pytest.raises(BadPicture, match=f"{what} that is damaged or cut off"):
            open_image(file[:end])


def test_damage_is_a_sentence():
    rng = np.random.default_rng(0)
    refused = 0
    for k in range(300):
        file = bytearray(FILES["HEIF" if k % 2 else "JXL"])
        for at in rng.integers(0, min(len(file), 400), 4):
            file[at] = rng.integers(0, 256)
        try:
            open_image(bytes(file))
        except BadPicture:
            refused += 1
    assert refused > 100


# --- everywhere


@pytest.fixture
def folder(tmp_path):
    "Two classes with a picture in each of the formats."
    for name in ("Action", "Drama"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for kind, ending in ENDINGS.items():
            (tmp_path / "data" / name / f"still{ending.upper()}").write_bytes(FILES[kind])
        PICTURE.save(tmp_path / "data" / name / "still.jpg")
    return tmp_path / "data"


def test_a_folder_is_read_whole(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        items, labels = data.read(folder)
    assert len(items) == 8 and list(labels) == ["Action", "Drama"]
    assert all(small(path)[0].startswith(b"\xff\xd8") for path in find_images(folder))


def test_pictures_are_tagged_from_folders_and_lists(folder, bundle, tmp_path):
    done = movie_tagger("tag", bundle, folder / "Action", "--out", tmp_path / "tags.csv")
    assert done.code == 0 and len(pd.read_csv(tmp_path / "tags.csv")) == 4, done.err
    (tmp_path / "list.csv").write_text("image\ndata/Drama/still.HEIC\ndata/Drama/still.JXL\n")
    done = movie_tagger("tag", bundle, tmp_path / "list.csv", "--out", tmp_path / "two.csv")
    assert done.code == 0 and len(pd.read_csv(tmp_path / "two.csv")) == 2, done.err


def test_what_is_fetched_gets_its_ending(tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    for kind in ENDINGS:
        picture = PICTURE.rotate(90 * len(kind)).resize((200, 150))
        (site / f"{kind}.jpg").write_bytes(saved(picture, kind))
    with HTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=site)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        start = f"http://127.0.0.1:{server.server_address[1]}"
        table = download_images(
            [f"{start}/{kind}.jpg" for kind in ENDINGS], tmp_path / "out", allow_private=True
        )
        server.shutdown()
    assert list(table["format"]) == list(ENDINGS)
    kept = table[table["status"] == "ok"]
    assert all(row.file.endswith(ENDINGS[row.format]) for row in kept.itertuples())
    assert set(table["status"]) <= {"ok", "duplicate"} and len(kept)


def test_uploads_are_answered():
    pytest.importorskip("fastapi")
    from movie_tagger.serve.champion import Looks
    from movie_tagger.serve.problem import Problem

    assert {Looks().check(file) for file in FILES.values()} == {PICTURE.size}
    for name in ("HEIC", "JPEG XL"):
        with pytest.raises(Problem, match="25,000,000 pixels"):
            Looks().check(BOMBS[name][0])


# --- without the plug-ins

HIDDEN = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("pillow_heif", "_pillow_heif", "pillow_jxl"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hidden())
"""


@pytest.fixture
def hidden(tmp_path):
    "An environment in which Python does not find the plug-ins."
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "sitecustomize.py").write_text(HIDDEN)
    path = [str(tmp_path / "hidden"), os.environ.get("PYTHONPATH")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, path))}


def python(program, *args, env=None):
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, args)], capture_output=True, text=True, env=env
    )
    return Done(done.returncode, done.stdout, done.stderr)


EACH_PLACE = """
import sys
from movie_tagger import data
from movie_tagger.curate.panel import small
from movie_tagger.download.fetch import Options
from movie_tagger.download.pictures import inspect
from movie_tagger.images import BadPicture, open_image
from movie_tagger.serve.champion import Looks
from movie_tagger.serve.problem import Problem

def said(function, *args):
    try:
        function(*args)
    except (BadPicture, Problem) as e:
        return str(e)

for path in sys.argv[1:]:
    file = open(path, "rb").read()
    print(said(open_image, path))
    print(said(inspect, file, Options()))
    print(said(Looks().check, file))
    print(small(path)[1])
"""


def test_a_missing_plug_in_is_named_with_the_command(folder, hidden):
    pytest.importorskip("fastapi")
    pictures = [folder / "Action" / "still.HEIC", folder / "Action" / "still.JXL"]
    done = python(EACH_PLACE, *pictures, env=hidden)
    lines = done.out.splitlines()
    assert done.code == 0 and len(lines) == 8, done.err
    for line, what in zip(lines, [*["HEIC photograph"] * 4, *["JPEG XL picture"] * 4]):
        assert f"it is a {what}. To read it, {INSTALL}, or save it as JPEG." in line
    assert python(EACH_PLACE, *pictures).out.splitlines() == ["None", "None", "None", ""] * 2


def test_skipped_files_are_counted_and_the_command_is_named(folder, hidden, bundle, tmp_path):
    read = f"from movie_tagger import data; print(len(data.read({str(folder)!r})[0]))"
    done = python(read, env=hidden)
    assert (done.code, done.out) == (0, "4\n")
    assert f"2 .heic, 2 .jxl (to use them, {INSTALL}, or save them as JPEG)." in done.err
    done = shell("tag", bundle, folder, "--out", tmp_path / "tags.csv", env=hidden)
    assert done.code == 0 and len(pd.read_csv(tmp_path / "tags.csv")) == 4
    assert f"as no pictures: 2 .heic, 2 .jxl (to use them, {INSTALL}" in done.err
    shutil.copy(folder / "Drama" / "still.HEIC", tmp_path / "one.heic")
    done = shell("tag", bundle, tmp_path / "one.heic", env=hidden)
    assert INSTALL in done.err + done.out and "Traceback" not in done.err


def test_the_doctor_lists_the_extra(hidden):
    assert "[formats] installed" in shell("doctor").out
    done = shell("doctor", env=hidden)
    assert (
        done.code == 0
        and "[formats] missing pillow_heif, pillow_jxl: pip install 'movie_tagger[formats]'"
        in done.out
    )


def test_plug_ins_are_imported_only_when_such_a_file_is_met(folder):
    program = """
import sys
from movie_tagger.images import find_images, open_image

found = {path.suffix: path for path in find_images(sys.argv[1])}
for ending in (".jpg", ".AVIF", ".HEIC", ".JXL"):
    open_image(found[ending])
    print(ending, *sorted({"pillow_heif", "pillow_jxl"} & sys.modules.keys()))
"""
    assert python(program, folder / "Action").out.splitlines() == [
        ".jpg",
        ".AVIF",
        ".HEIC pillow_heif",
        ".JXL pillow_heif pillow_jxl",
    ]
