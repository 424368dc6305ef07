"Everything that may come in through a file; nothing but a picture or `BadPicture` comes out."

import base64
import gc
import io
import math
import os
import struct
import threading
import time
import warnings
import zlib
from pathlib import Path

import imagehash
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageOps, PngImagePlugin

from movie_tagger import images
from movie_tagger.core import MovieTaggerError
from movie_tagger.duplicates import duplicate_groups, hamming, near_duplicates, phash
from movie_tagger.images import (
    BadPicture,
    contact_sheet,
    decode,
    find_images,
    letterbox,
    open_image,
    thumbnail,
)

ENTRIES = {
    "open_image": open_image,
    "decode": lambda s: decode(s, 32),
    "decode, bars cut": lambda s: decode(s, 32, crop_bars=True),
    "phash": phash,
    "letterbox": letterbox,
}


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def drawn(width=120, height=80, seed=0):
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (width, height), tuple(rng.integers(60, 256, 3).tolist()))
    pen = ImageDraw.Draw(image)
    for _ in range(8):
        (x0, x1), (y0, y1) = np.sort(rng.integers(0, width, 2)), np.sort(rng.integers(0, height, 2))
        pen.rectangle(
            (int(x0), int(y0), int(x1), int(y1)), fill=tuple(rng.integers(0, 256, 3).tolist())
        )
    return image


def saved(image, format, **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def png(width, height, rows=b""):
    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def zeros(n):
    packer, block = zlib.compressobj(1), bytes(1 << 20)
    return b"".join(
        [packer.compress(block) for _ in range(n >> 20)]
        + [packer.compress(bytes(n % (1 << 20))), packer.flush()]
    )


FILES = {f: saved(drawn(), f) for f in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")}
FILES |= {
    "progressive JPEG": saved(drawn(), "JPEG", progressive=True),
    "lossless WEBP": saved(drawn(), "WEBP", lossless=True),
    "TIFF, LZW": saved(drawn(), "TIFF", compression="tiff_lzw"),
    "TIFF, deflate": saved(drawn(), "TIFF", compression="tiff_adobe_deflate"),
    "MPO": saved(drawn(), "MPO", save_all=True, append_images=[drawn(seed=1)]),
}

BAD = {
    "empty.jpg": (b"", "empty"),
    "page.jpg": (b"\n<!DOCTYPE html><html><body>Not found</body></html>", "web page"),
    "page2.jpg": (b"\xef\xbb\xbf<HTML lang=en>", "web page"),
    "drawing.svg": (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
    "drawing2.svg": (b'<svg width="9" height="9"><rect/></svg>', "SVG"),
    "notes.txt": ("Amélie, page 3".encode(), "text"),
    "report.pdf": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\x00\x01", "none of"),
    "phone.jpg": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
    "icon.jpg": (saved(drawn(), "ICO"), "none of"),
    "vector.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "text"),
    "noise.jpg": (np.random.default_rng(0).bytes(999), "none of"),
    "half.jpg": (FILES["JPEG"][: len(FILES["JPEG"]) // 2], "cut off"),
    "half.png": (FILES["PNG"][: len(FILES["PNG"]) // 2], "cut off"),
    "half.webp": (FILES["WEBP"][: len(FILES["WEBP"]) // 2], "damaged"),
    "half.gif": (FILES["GIF"][: len(FILES["GIF"]) // 2], "cut off"),
    "header.jpg": (FILES["JPEG"][:30], "cut off"),
    "header.png": (FILES["PNG"][:20], "cut off"),
    "scratched.png": (FILES["PNG"].replace(b"IDAT", b"IDOT"), "header"),
    "huge.png": (png(20_000, 20_000, b"x"), "more than the 100,000,000 pixels"),
    "large.png": (png(11_000, 10_000, b"x"), "more than the 100,000,000 pixels"),
    "no width.png": (png(0, 5, b"x"), "header|pixels"),
}


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_named_with_their_reason(tmp_path, name, entry):
    content, reason = BAD[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadPicture, match=reason) as from_file:
        ENTRIES[entry](tmp_path / name)
    assert name in str(from_file.value)
    with pytest.raises(BadPicture, match=reason) as from_bytes:
        ENTRIES[entry](content)
    assert "the picture" in str(from_bytes.value)
    for error in from_file.value, from_bytes.value:
        assert (
            str(error).endswith(".")
            and "\n" not in str(error)
            and isinstance(error, MovieTaggerError)
        )


@pytest.mark.parametrize("entry", ENTRIES)
def test_paths_without_a_readable_file(tmp_path, entry, monkeypatch):
    (tmp_path / "album.jpg").mkdir()
    (tmp_path / "link.jpg").symlink_to(tmp_path / "gone.jpg")
    (tmp_path / "file.txt").write_text("x")
    for path, reason in {
        "lost.jpg": "no such file",
        "album.jpg": "folder",
        "link.jpg": "no such file",
        "file.txt/a.jpg": "no such file",
        "x" * 300 + ".jpg": "name too long",
    }.items():
        with pytest.raises(BadPicture, match=reason):
            ENTRIES[entry](tmp_path / path)
        with pytest.raises(BadPicture, match=reason):
            ENTRIES[entry](str(tmp_path / path))
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(BadPicture, match="regular file"):
        ENTRIES[entry](tmp_path / "pipe.jpg")
    with pytest.raises(BadPicture, match="NoneType"):
        ENTRIES[entry](None)

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(BadPicture, match="file.txt: you may not read it"):
        ENTRIES[entry](tmp_path / "file.txt")


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything"
)
def test_no_permission(tmp_path):
    (tmp_path / "secret.jpg").write_bytes(FILES["JPEG"])
    (tmp_path / "secret.jpg").chmod(0)
    with pytest.raises(BadPicture, match="may not read"):
        open_image(tmp_path / "secret.jpg")


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4)),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_arrays_that_are_no_pictures(array):
    with pytest.raises(BadPicture):
        open_image(array)


def test_too_many_pixels_are_refused_before_unpacking(monkeypatch):
    bomb = png(
        20_000, 20_000, zeros(20_000 * 60_001)
    )  # complete and valid: a browser would show it
    assert len(bomb) < 6_000_000
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", lambda self: pytest.fail("unpacked"))
    for entry in ENTRIES.values():
        with pytest.raises(BadPicture, match="pixels allowed"):
            entry(bomb)
    for pixels in (9_599, 1):
        with pytest.raises(BadPicture, match=f"{pixels:,} pixels"):
            open_image(FILES["PNG"], max_pixels=pixels)


def test_the_limit_is_ours_and_pillow_does_not_warn(monkeypatch):
    assert open_image(FILES["PNG"], max_pixels=9_600).size == (120, 80)
    for entry in ENTRIES.values():
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5_000)  # Pillow would warn
        entry(FILES["PNG"])
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4_000)  # Pillow raises its own error
        with pytest.raises(BadPicture, match="8,000 pixels"):
            entry(FILES["PNG"])
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
        entry(FILES["PNG"])


def test_broken_camera_data_is_no_reason_to_refuse_or_to_warn():
    exif = (
        b"Exif\0\0II*\0\x08\0\0\0"
        + struct.pack("<H", 9)
        + struct.pack("<HHII", 0x0112, 3, 1, 6)
        + struct.pack("<HHII", 0x010E, 2, 999, 4000)
    )
    file = saved(drawn(), "JPEG", exif=exif)
    for entry in ENTRIES.values():
        entry(file)
    with pytest.warns(UserWarning):
        Image.open(io.BytesIO(file)).getexif()  # only ours are silent


def test_pillows_warnings_come_back_after_the_last_thread():
    before, barrier = list(warnings.filters), threading.Barrier(4)

    def work():
        barrier.wait()
        for _ in range(30):
            with images._hushed():
                time.sleep(0.0005)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert warnings.filters == before and images._hushed_by == 0


def whatever_comes_out(data):
    for entry in (open_image, ENTRIES["decode"], phash):
        try:
            result = entry(data)
        except BadPicture:
            continue
        if entry is open_image:
            assert result.mode == "RGB" and np.asarray(result).ndim == 3


@pytest.mark.parametrize("kind", FILES)
def test_any_truncation_gives_a_picture_or_bad_picture(kind, capfd):
    @settings(max_examples=30, deadline=None, derandomize=True)
    @given(st.integers(0, len(FILES[kind]) - 1))
    @example(1) if len(FILES[kind]) > 1 else lambda f: f
    def check(n):
        whatever_comes_out(FILES[kind][:n])

    check()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", FILES)
def test_any_damage_gives_a_picture_or_bad_picture(kind):
    @settings(max_examples=30, deadline=None, derandomize=True)
    @given(
        st.lists(
            st.tuples(st.integers(0, len(FILES[kind]) - 1), st.integers(0, 255)),
            min_size=1,
            max_size=12,
        )
    )
    def check(damage):
        data = bytearray(FILES[kind])
        for at, value in damage:
            data[at] = value
        whatever_comes_out(bytes(data))

    check()


@settings(
    max_examples=100, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
@given(
    st.binary(max_size=300),
    st.sampled_from(
        [
            b"",
            b"\xff\xd8\xff",
            b"\x89PNG\r\n\x1a\n",
            b"GIF89a",
            b"BM",
            b"II*\0",
            b"RIFF\0\0\0\0WEBPVP8 ",
            b"\0\0\0\x1cftypavif",
        ]
    ),
)
def test_any_bytes_give_a_picture_or_bad_picture(data, start):
    whatever_comes_out(start + data)


@pytest.mark.parametrize("kind", FILES)
def test_every_format_is_read_from_a_path_and_from_bytes(kind, tmp_path):
    (tmp_path / "picture.xyz").write_bytes(FILES[kind])  # the name does not matter
    for source in (
        FILES[kind],
        bytearray(FILES[kind]),
        tmp_path / "picture.xyz",
        str(tmp_path / "picture.xyz"),
    ):
        image = open_image(source)
        assert (image.mode, image.size) == ("RGB", (120, 80))
        assert np.abs(np.asarray(image, int) - np.asarray(drawn())).mean() < 12
        np.testing.assert_array_equal(decode(source, (80, 120)), np.asarray(image))


def test_pillow_images_and_arrays_pass_through():
    picture = drawn()
    for source in (picture, np.asarray(picture)):
        np.testing.assert_array_equal(np.asarray(open_image(source)), np.asarray(picture))
    same = open_image(picture)
    same.putpixel((0, 0), (1, 2, 3))
    assert picture.getpixel((0, 0)) != (1, 2, 3)
    lazy = Image.open(io.BytesIO(saved(drawn(1200, 800), "JPEG")))
    decode(lazy, 32)
    assert lazy.size == (1200, 800)  # somebody else's image is not drafted
    with pytest.raises(BadPicture, match="cut off"):
        open_image(Image.open(io.BytesIO(BAD["half.jpg"][0])))


RAMP = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(4, 0)  # 257 apart
EIGHT = np.arange(256, dtype=np.uint8)[None].repeat(4, 0)
SIGNED = (RAMP.astype(np.int32) - 30_000) * 1000


def with_alpha(mode, alpha=0):
    image = Image.new(mode, (4, 4), {"RGBA": (10, 20, 30, alpha), "LA": (10, alpha)}[mode])
    return image


def palette(transparency):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([9, 9, 9, 200, 100, 50])
    return saved(image, "PNG", **({} if transparency is None else {"transparency": transparency}))


@pytest.mark.parametrize(
    "source, expected",
    [
        (saved(Image.fromarray(RAMP), "PNG"), EIGHT),
        (saved(Image.fromarray(RAMP), "TIFF"), EIGHT),
        (saved(Image.fromarray(RAMP.astype(">u2")), "TIFF"), EIGHT),
        (Image.fromarray(RAMP), EIGHT),
        (Image.fromarray(RAMP.astype(np.int32)), EIGHT),
        (saved(Image.fromarray(RAMP.astype(np.int32)), "TIFF"), EIGHT),
        (Image.fromarray(EIGHT.astype(np.int32)), EIGHT),
        (Image.fromarray(SIGNED), EIGHT),
        (Image.fromarray((RAMP / 65535).astype(np.float32)), EIGHT),
        (saved(Image.fromarray((RAMP / 65535).astype(np.float32)), "TIFF"), EIGHT),
        (Image.fromarray(EIGHT.astype(np.float32)), EIGHT),
        (Image.fromarray(RAMP.astype(np.float32)), EIGHT),
        (Image.fromarray(np.full((4, 4), np.nan, np.float32)), 0),
        (
            Image.fromarray(np.array([[0, 1], [np.inf, np.nan]], np.float32)),
            np.uint8([[0, 255], [0, 0]]),
        ),
        (Image.fromarray(np.full((4, 4), -7.0, np.float32)), 0),
        (saved(Image.fromarray(EIGHT), "PNG"), EIGHT),
        (saved(Image.fromarray(EIGHT > 99), "PNG"), np.uint8(EIGHT > 99) * 255),
        (
            saved(Image.fromarray(EIGHT > 99), "TIFF", compression="group4"),
            np.uint8(EIGHT > 99) * 255,
        ),
        (saved(with_alpha("RGBA"), "PNG"), 255),
        (saved(with_alpha("LA"), "PNG"), 255),
        (with_alpha("LA").convert("La"), 255),
        (with_alpha("RGBA").convert("RGBa"), 255),
        (saved(with_alpha("RGBA"), "WEBP", lossless=True), 255),
        (saved(with_alpha("RGBA"), "TIFF"), 255),
        (saved(with_alpha("RGBA", 255), "PNG"), (10, 20, 30)),
        (saved(with_alpha("RGBA", 51), "PNG"), (206, 208, 210)),
        (with_alpha("LA", 255).convert("PA"), 10),
        (palette(None), (200, 100, 50)),
        (palette(1), 255),
        (palette(b"\xff\x33"), (244, 224, 214)),
        (saved(Image.new("RGB", (4, 4), (1, 2, 3)), "PNG", transparency=(1, 2, 3)), 255),
        (saved(Image.new("L", (4, 4), 7), "PNG", transparency=7), 255),
        (saved(Image.new("L", (4, 4), 7), "GIF", transparency=7), 255),
        (Image.new("CMYK", (4, 4), (0, 255, 255, 0)), (255, 0, 0)),
        (saved(Image.new("CMYK", (8, 8), (0, 0, 0, 255)), "JPEG"), 0),
        (saved(Image.new("CMYK", (8, 8), (0, 0, 0, 0)), "TIFF"), 255),
        (Image.new("HSV", (4, 4), (0, 0, 255)), 255),
        (Image.new("YCbCr", (4, 4), (255, 128, 128)), 255),
        (Image.new("RGBX", (4, 4), (5, 6, 7, 0)), (5, 6, 7)),
    ],
)
def test_every_way_of_keeping_colours(source, expected):
    result = np.asarray(open_image(source))
    expected = np.asarray(expected)
    if expected.ndim == 2:
        expected = expected[..., None]
    assert result.dtype == np.uint8 and np.abs(result.astype(int) - expected).max() <= 1
    whole = decode(source, result.shape[:2])
    np.testing.assert_array_equal(whole, result)
    phash(source)


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF", "MPO", "AVIF"])
def test_the_first_frame_of_several(format):
    frames = [Image.new("RGB", (32, 24), colour) for colour in ("red", "lime", "blue")]
    result = np.asarray(
        open_image(saved(frames[0], format, save_all=True, append_images=frames[1:])), int
    )
    assert result.shape == (24, 32, 3) and np.abs(result - [255, 0, 0]).max() < 12


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "MPO"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation(format, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(drawn(400, 240), format, exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    assert expected.size == ((240, 400) if orientation > 4 else (400, 240))
    np.testing.assert_array_equal(np.asarray(open_image(data)), np.asarray(expected))
    size = (50, 30) if orientation > 4 else (30, 50)
    fair = np.asarray(expected.resize(size[::-1], Image.Resampling.BILINEAR), int)
    assert np.abs(decode(data, size) - fair).mean() < 3
    assert hamming(phash(data), phash(expected)) <= 4


@pytest.mark.parametrize("value", [0, 9, 77, 65535])
def test_orientations_that_do_not_exist(value):
    exif = Image.Exif()
    exif[0x0112] = value
    assert open_image(saved(drawn(), "PNG", exif=exif)).size in ((120, 80), (80, 120))


def test_decode_gives_a_square_or_height_and_width():
    assert decode(FILES["JPEG"], 32).shape == (32, 32, 3)
    result = decode(FILES["PNG"], (20, 50))
    assert result.shape == (20, 50, 3) and result.dtype == np.uint8
    result[:] = 0  # writable, as torch wants it
    assert decode(FILES["PNG"], np.int64(8)).shape == (8, 8, 3)
    assert decode(Image.new("RGB", (1, 5000), "red"), 16).shape == (16, 16, 3)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.integers(8, 900),
    st.integers(8, 900),
    st.integers(4, 300),
    st.integers(4, 300),
    st.booleans(),
)
def test_a_jpeg_is_never_unpacked_smaller_than_asked_for(width, height, h, w, crop):
    drafts, draft = [], Image.Image.resize

    def spy(self, *args, **kwargs):
        drafts.append(self.size)
        return draft(self, *args, **kwargs)

    data = saved(Image.new("RGB", (width, height), "gray"), "JPEG")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Image.Image, "resize", spy)
        decode(data, (h, w), crop_bars=crop)
    assert drafts[0][0] >= min(w, width) and drafts[0][1] >= min(h, height)


def test_the_fast_way_looks_like_the_slow_way():
    data = saved(drawn(1600, 1200).resize((1600, 1200)), "JPEG", quality=92)
    fair = np.asarray(open_image(data).resize((224, 224), Image.Resampling.BILINEAR), int)
    assert 10 * np.log10(255**2 / np.mean((decode(data, 224) - fair) ** 2)) > 38
    stripes = np.zeros((1000, 1000, 3), np.uint8)
    stripes[:, ::2] = 255
    assert (
        np.ptp(decode(saved(Image.fromarray(stripes), "PNG"), 224)[:, 2:-2]) < 20
    )  # averaged, no moiré


def test_decode_in_threads_is_the_same():
    from concurrent.futures import ThreadPoolExecutor

    sources = [saved(drawn(seed=k), "JPEG") for k in range(40)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda s: decode(s, 64), sources))
    for one, source in zip(together, sources, strict=True):
        np.testing.assert_array_equal(one, decode(source, 64))


# ---- letterbox


def still(bars=(0, 0), sides=(0, 0), width=320, height=180, level=0, noise=0, picture=None):
    (top, bottom), (left, right) = bars, sides
    frame = np.full((height, width, 3), level, np.uint8)
    inner = picture or drawn(width - left - right, height - top - bottom, seed=3)
    frame[top : height - bottom, left : width - right] = np.asarray(
        inner.resize((width - left - right, height - top - bottom))
    )
    if noise:
        frame = np.clip(
            frame + np.random.default_rng(0).normal(0, noise, frame.shape), 0, 255
        ).astype(np.uint8)
    return Image.fromarray(frame)


@pytest.mark.parametrize(
    "bars, sides",
    [
        ((22, 22), (0, 0)),
        ((0, 0), (40, 40)),
        ((20, 20), (30, 30)),
        ((24, 21), (0, 0)),
        ((3, 3), (0, 0)),
        ((39, 40), (0, 0)),
        ((0, 0), (60, 62)),
    ],
)
@pytest.mark.parametrize("how", [{}, {"level": 16}, {"noise": 2}])
def test_bars_are_found(bars, sides, how):
    picture = still(bars, sides, **how)
    box = (sides[0], bars[0], 320 - sides[1], 180 - bars[1])
    assert letterbox(picture) == box
    from_jpeg = np.array(letterbox(saved(picture, "JPEG", quality=80)))
    assert np.abs(from_jpeg - box).max() <= 8
    cut = decode(picture, (box[3] - box[1], box[2] - box[0]), crop_bars=True)
    np.testing.assert_array_equal(cut, np.asarray(picture)[box[1] : box[3], box[0] : box[2]])


def night(kind):
    rng = np.random.default_rng(1)
    frame = np.zeros((180, 320, 3))
    if kind == "sky above a street":
        frame[110:] = rng.integers(0, 140, (70, 320, 3))
    if kind == "moon":
        frame[60:110, 140:190] = 230
    if kind == "stars":
        frame[rng.integers(0, 180, 60), rng.integers(0, 320, 60)] = 255
    if kind == "vignette":
        frame += (120 * np.exp(-(((np.arange(180) - 90) / 30.0) ** 2)))[:, None, None] * np.hanning(
            320
        )[None, :, None]
    if kind == "face":
        frame[30:150, 120:200] = rng.integers(90, 200, (120, 80, 3))
    if kind == "dusk":
        frame += np.linspace(0, 90, 180)[:, None, None]
    if kind == "blue":
        frame[20:160] = rng.integers(90, 200, (140, 320, 3))
        frame[:20] = frame[160:] = (0, 0, 90)  # noqa: E702
    return Image.fromarray(np.clip(frame + rng.normal(6, 2, frame.shape), 0, 255).astype(np.uint8))


@pytest.mark.parametrize(
    "picture",
    [
        *map(
            night,
            ("black", "sky above a street", "moon", "stars", "vignette", "face", "dusk", "blue"),
        ),
        still(),
        still(bars=(30, 0)),
        still(sides=(0, 50)),
        still(bars=(40, 10)),
        still(bars=(60, 60)),
        still(bars=(20, 20), level=60),
        still(bars=(20, 20), level=255),
        Image.new("RGB", (320, 180)),
        Image.new("RGB", (1, 1)),
        Image.new("RGB", (2, 3), "white"),
    ],
)
def test_no_bars_no_cut(picture):
    assert letterbox(picture) == (0, 0, *picture.size)


# ---- hashes


@pytest.mark.parametrize("seed", range(12))
def test_phash_agrees_with_imagehash(seed):
    picture = drawn(300, 420, seed)
    theirs = imagehash.phash(picture)
    assert hamming(phash(picture), int(str(theirs), 16)) <= 4
    assert hamming(phash(saved(picture, "JPEG")), int(str(theirs), 16)) <= 6


def test_phash_forgives_copies_and_tells_others_apart():
    hashes = np.array([phash(drawn(300, 420, seed)) for seed in range(30)])
    copies = [
        phash(saved(drawn(300, 420, seed).resize((150, 210)), "JPEG", quality=40))
        for seed in range(30)
    ]
    assert hamming(hashes, copies).max() <= 6
    assert np.median(hamming(hashes[:, None], hashes)[np.triu_indices(30, 1)]) > 20
    assert isinstance(hashes[0], np.uint64)


def test_empty_pictures_share_one_hash():
    assert (
        len(
            {
                phash(Image.new("RGB", size, colour))
                for size in ((50, 80), (300, 200))
                for colour in ("white", "#123456", "#777")
            }
        )
        == 1
    )


def test_hamming_of_numbers_and_arrays():
    assert hamming(0, 2**64 - 1) == 64 and hamming(np.uint64(5), 5) == 0
    result = hamming(np.array([1, 2, 7], np.uint64), 7)
    assert result.tolist() == [2, 2, 0] and result.dtype.kind == "i"


def by_hand(hashes, distance):
    apart = hamming(hashes[:, None], hashes)
    i, j = np.nonzero(np.triu(apart <= distance, 1))
    return sorted(zip(i.tolist(), j.tolist(), apart[i, j].tolist(), strict=True))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.integers(0, 2**64 - 1), max_size=12),
    st.lists(st.tuples(st.integers(0, 99), st.integers(0, 2**64 - 1)), max_size=40),
    st.integers(0, 9),
    st.integers(0, 6),
)
def test_near_duplicates_finds_each_pair_once(seeds, changes, distance, sparse):
    hashes = list(seeds)
    for k, bits in changes:  # a few bits away from an earlier one
        mask = bits
        for _ in range(sparse):
            mask &= (mask * 6364136223846793005 + 1442695040888963407) >> 3
        if hashes:
            hashes.append(hashes[k % len(hashes)] ^ (mask & (2**64 - 1)))
    hashes = np.array(hashes, np.uint64)
    pairs = near_duplicates(hashes, distance)
    assert sorted(map(tuple, pairs.tolist())) == by_hand(hashes, distance)
    assert (np.diff(pairs[:, 2]) >= 0).all()


@pytest.mark.parametrize("distance", [0, 1, 4, 12, 63, 64])
def test_near_duplicates_with_many(distance):
    rng = np.random.default_rng(distance)
    hashes = rng.integers(0, 2**64, 400, dtype=np.uint64)
    for k in range(200, 400):
        for bit in rng.integers(0, 64, rng.integers(0, 9)):
            hashes[k] = hashes[k - 200] ^ np.uint64(1 << int(bit))
    assert sorted(map(tuple, near_duplicates(hashes, distance).tolist())) == by_hand(
        hashes, distance
    )


def test_near_duplicates_of_few_and_of_all_the_same():
    for few in ([], [7]):
        assert near_duplicates(few).shape == (0, 3) and len(duplicate_groups(few)) == len(few)
    same = near_duplicates(np.full(1500, 5, np.uint64))
    assert (
        len(same) == 1500 * 1499 // 2 and not same[:, 2].any() and (same[:, 0] < same[:, 1]).all()
    )
    with pytest.raises(MovieTaggerError):
        near_duplicates([1, 2], distance=65)


def test_a_huge_bucket_takes_memory_for_one_number_a_hash():
    import tracemalloc

    rng = np.random.default_rng(0)
    hashes = np.uint64(1) << rng.integers(0, 32, 6000, dtype=np.uint64) ^ (
        rng.integers(0, 2**32, 6000, dtype=np.uint64) << np.uint64(32)
    )
    hashes &= ~np.uint64(
        sum(1 << b for b in range(0, 64, 5))
    )  # all agree on one band: 18 million candidates
    tracemalloc.start()
    pairs = near_duplicates(hashes)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000 + 40 * len(pairs)


def test_large_sets_are_compared_by_bands():
    hashes = np.random.default_rng(0).integers(0, 2**64, 100_000, dtype=np.uint64)
    hashes[50_000] = hashes[7] ^ np.uint64(0b1011)
    assert near_duplicates(hashes).tolist() == [[7, 50_000, 3]]


def test_groups_follow_chains():
    chain = np.array([0, 0b1111, 0b11111111, 2**64 - 1, 0], np.uint64)
    a, b, c, d, e = duplicate_groups(chain)
    assert a == b == c == e != d


# ---- sheets and files


def test_contact_sheet_takes_everything_and_cuts_captions():
    sources = [
        drawn(),
        FILES["JPEG"],
        np.asarray(drawn(40, 300)),
        b"no picture",
        "lost.jpg",
        Image.new("RGBA", (5, 5)),
    ]
    sheet = contact_sheet(
        sources, ["Amélie", "x" * 200, "two\nlines", None, 5, "ß→🙂"], columns=4, cell=60
    )
    assert sheet.mode == "RGB" and sheet.width == 4 * 66 + 6
    assert contact_sheet(sources, columns=10, cell=60).width == len(sources) * 66 + 6
    assert contact_sheet([]).size[0] > 0
    contact_sheet(drawn(seed=k) for k in range(3))
    contact_sheet(sources, ["fewer titles"], cell=20)


def test_find_images_sorts_and_skips_what_is_hidden(tmp_path, monkeypatch):
    for name in (
        "b.JPG",
        "a.png",
        "c/d.webp",
        "c/notes.txt",
        ".hidden/x.jpg",
        ".x.jpg",
        "c/.y.png",
        "z.avif",
        "e.tar.gz",
        "jpg",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = find_images(str(tmp_path))
    assert [p.relative_to(tmp_path).as_posix() for p in found] == [
        "a.png",
        "b.JPG",
        "c/d.webp",
        "z.avif",
    ]
    assert all(isinstance(p, Path) for p in found)
    assert find_images(tmp_path / ".hidden") == [tmp_path / ".hidden/x.jpg"]
    for wrong in ("lost", "a.png"):
        with pytest.raises(MovieTaggerError, match=wrong):
            find_images(tmp_path / wrong)


@pytest.mark.parametrize(
    "size, small", [((1, 5000), (1, 224)), ((6000, 2), (224, 1)), ((300, 200), (224, 149))]
)
def test_a_small_copy_keeps_the_shape_and_at_least_one_pixel(tmp_path, size, small):
    Image.new("RGB", size, "red").save(tmp_path / "a.png")
    assert thumbnail(tmp_path / "a.png", 224).size == small


# ---- whole in spite of appearances, and small but endless


@pytest.mark.parametrize("how", [{}, {"progressive": True}, {"optimize": True}])
@pytest.mark.parametrize("end", [b"", b"\xff"])
def test_a_jpeg_that_lacks_only_its_end_is_read_and_what_is_cut_is_not(how, end):
    data = saved(drawn(400, 300), "JPEG", **how)
    np.testing.assert_array_equal(open_image(data[:-2] + end), open_image(data))
    np.testing.assert_array_equal(decode(data[:-2] + end, 64), decode(data, 64))
    for lost in (12, 60, 400):
        with pytest.raises(BadPicture, match="cut off"):
            open_image(data[:-lost] + end)


@pytest.mark.parametrize("colour", ["white", "red", "navy"])
def test_a_jpeg_cut_between_two_scans_or_in_one_colour_is_cut(colour):
    data = saved(drawn(400, 300), "JPEG", progressive=True)
    with pytest.raises(BadPicture, match="cut off"):
        open_image(data[: data.rfind(b"\xff\xc4")])
    flat = saved(Image.new("RGB", (2000, 2000), colour), "JPEG", optimize=True)
    with pytest.raises(BadPicture, match="cut off"):
        open_image(flat[: len(flat) * 2 // 3])


def test_a_png_with_a_large_profile_and_long_texts_is_read():
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "x" * 3_000_000, zip=True)
    info.add_itxt("Comment", "y" * 3_000_000, zip=True)
    data = saved(drawn(), "PNG", pnginfo=info, icc_profile=bytes(3_000_000))
    np.testing.assert_array_equal(open_image(data), drawn())
    np.testing.assert_array_equal(open_image(saved(drawn(), "PNG", icc_profile=b"x")), drawn())
    with pytest.raises(BadPicture, match="cut off"):
        open_image(data[: data.rfind(b"IDAT") + 40])


def scanned(scans, side=64, between=b""):
    data = saved(Image.new("L", (side, side), 128), "JPEG", progressive=True)
    last = data.rfind(b"\xff\xda")
    return data[:-2] + (between + data[last:-2]) * scans + b"\xff\xd9"


@pytest.mark.parametrize("between", [b"", b"\xff\xd0", b"junk", b"\xff\xff", b"\xff\xfe\0\4hi"])
def test_scans_are_counted_before_any_is_painted(monkeypatch, between):
    assert open_image(scanned(images.MAX_SCANS - 20, between=between)).size == (64, 64)
    monkeypatch.setattr(Image.Image, "draft", lambda *a: pytest.fail("unpacked"))
    for entry in ENTRIES.values():
        with pytest.raises(BadPicture, match="300 scans"):
            entry(scanned(5_000, between=between))


def test_a_large_picture_with_alpha_is_flattened_without_a_second_copy(monkeypatch):
    sizes = []
    convert = Image.Image.convert
    monkeypatch.setattr(
        Image.Image, "convert", lambda im, *a: sizes.append(im.size) or convert(im, *a)
    )
    open_image(saved(Image.new("RGBA", (600, 2_000), (9, 9, 9, 128)), "PNG"))
    assert sizes and max(math.prod(size) for size in sizes) <= 600 * 256


# ---- one room for all that are being unpacked, and what stands before the picture


def test_room_is_taken_in_turn_and_given_back(monkeypatch):
    room = images.Room(100)
    order = []

    def go(name, size):
        with room.taken(size, 100):
            order.append(name)

    with room.taken(60, 100):
        first = threading.Thread(target=go, args=("large", 80))
        first.start()
        while not room._turn.locked():
            time.sleep(0.001)
        second = threading.Thread(target=go, args=("small", 10))
        second.start()
        with room.taken(99, 100):  # who is inside goes in again
            assert room.held == 60
        assert order == []  # there would be room for the small one, but it is not its turn
    first.join(10)
    second.join(10)
    assert order == ["large", "small"] and room.held == 0
    with pytest.raises(images.TooLarge, match="takes 101 bytes of memory, more than the 100 "):
        go("never", 101)
    with pytest.raises(images.TooLarge, match="more than the 50 allowed"), room.taken(51, 50):
        pass
    with pytest.raises(ZeroDivisionError), room.taken(100, 100):
        raise ZeroDivisionError
    assert room.held == 0
    go("after an error", 100)


HEAVY = {
    "a WebP with alpha": saved(
        Image.new("RGBA", (1500, 1500), (9, 9, 9, 9)), "WEBP", lossless=True
    ),
    "an AVIF": saved(Image.new("RGB", (1500, 1500), "red"), "AVIF", speed=10),
    "a progressive JPEG": saved(Image.new("RGB", (1500, 1500)), "JPEG", progressive=True),
    "a PNG": saved(Image.new("RGB", (1500, 1500)), "PNG"),
    "a turned PNG": saved(
        Image.new("L", (1500, 1500)), "PNG", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"
    ),
    "a GIF": saved(Image.new("P", (1500, 1500)), "GIF"),
    "a TIFF": saved(Image.new("RGB", (1500, 1500)), "TIFF", compression="tiff_lzw"),
}


@pytest.mark.parametrize("kind", HEAVY)
def test_memory_is_taken_before_anything_is_unpacked(kind, monkeypatch):
    room = images.Room(1 << 30)
    monkeypatch.setattr(images, "room", room)
    with images.opened(HEAVY[kind], 10**7) as im:
        most = images._memory(im)
    assert most >= 1500 * 1500
    held = []
    load = Image.Image.load
    monkeypatch.setattr(Image.Image, "load", lambda im: held.append(room.held) or load(im))
    entries = [
        *ENTRIES.values(),
        lambda s: thumbnail(s, 64),
        lambda s: decode(s, 32, resize="crop"),
    ]
    for entry in entries:
        entry(HEAVY[kind])
    with images.looking_at(HEAVY[kind]):
        assert room.held == most
    assert min(held[:1]) > 0 and room.held == 0
    with pytest.raises(images.TooLarge, match=f"more than the {1 << 20:,} allowed"):
        decode(HEAVY[kind], 32, max_memory=1 << 20)
    with pytest.raises(images.TooLarge, match=r"takes [\d,]+ bytes of memory"):
        open_image(HEAVY[kind], max_memory=most - 1)
    assert open_image(HEAVY[kind], max_memory=most).size == (1500, 1500)


def test_a_forked_child_finds_the_room_empty():
    with images.room.taken(images.MAX_MEMORY, images.MAX_MEMORY):
        child = os.fork()
        if not child:
            with images._hushed():
                os._exit(int(images.room.held != 0))
        assert os.waitpid(child, 0)[1] == 0


MODES = {
    "palette": lambda im: saved(im.quantize(60), "PNG"),
    "GIF": lambda im: saved(im.quantize(60), "GIF"),
    "one bit": lambda im: saved(im.convert("1"), "PNG"),
    "grey and alpha": lambda im: saved(im.convert("LA"), "PNG"),
    "alpha": lambda im: saved(im.convert("RGBA"), "WEBP", lossless=True),
    "16 bits": lambda im: saved(
        Image.fromarray(np.asarray(im.convert("L")) * np.uint16(257)), "PNG"
    ),
    "32 bits": lambda im: saved(Image.fromarray(np.float32(im.convert("L")) / 255), "TIFF"),
    "ink": lambda im: saved(im.convert("CMYK"), "TIFF"),
    "brightness and colour": lambda im: saved(im.convert("YCbCr"), "TIFF"),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(1013, 1511), (2000, 301), (3, 9000)])
def test_reduced_first_looks_as_reduced_last(mode, size):
    data = MODES[mode](drawn(*size))
    whole = open_image(data)
    for wanted in (40, (30, 70)):
        late = decode(np.asarray(whole), wanted)
        np.testing.assert_allclose(decode(data, wanted).astype(int), late, atol=2)
    assert thumbnail(data, 100).size == thumbnail(whole, 100).size


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_large_and_small_are_turned_alike(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    how = {"lossless": True} if kind == "WEBP" else {}
    data = saved(drawn(1200, 700), kind, exif=exif, **how)
    whole = open_image(data)
    if kind in ("PNG", "TIFF", "WEBP"):
        stored = saved(drawn(1200, 700), "PNG", exif=exif)
        np.testing.assert_array_equal(
            whole, ImageOps.exif_transpose(Image.open(io.BytesIO(stored)))
        )
    assert whole.size == ((700, 1200) if orientation > 4 else (1200, 700))
    apart = np.abs(decode(data, 50).astype(int) - decode(np.asarray(whole), 50))
    assert apart.mean() < 1.5


@pytest.mark.parametrize("size", [(1, 60_000), (60_000, 1)])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF", "BMP"])
def test_a_line_is_a_picture(size, kind):
    data = saved(Image.new("RGB", size, "red"), kind)
    assert open_image(data).size == size
    assert np.abs(decode(data, 32).astype(int) - (255, 0, 0)).max() < 4
    assert sorted(thumbnail(data, 100).size) == [1, 100]
    phash(data)


ARITHMETIC = (
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAA0JCgsKCA0LCgsODg0PEyAVExISEyccHhcgLikxMC4pLSwzOko+MzZGNywt"
    "QFdBRkxOUlNSMj5aYVpQYEpRUk//2wBDAQ4ODhMREyYVFSZPNS01T09PT09PT09PT09PT09PT09PT09PT09PT09PT09P"
    "T09PT09PT09PT09PT09PT09PT09PT0//yQARCAAQABgDASIAAhEBAxEB/8wACgAQEAUBEBEF/9oADAMBAAIRAxEAPwDR"
    "yNM0JWLo51Cxau5RiKdYcm88rM5FMMNftQEibZgjuAVjVdjrZZ025un/2Q=="
)


def test_an_arithmetic_coded_jpeg_is_read():
    gradient = np.asarray(Image.radial_gradient("L").convert("RGB").resize((24, 16)), int)
    data = base64.b64decode(ARITHMETIC)
    assert np.abs(np.asarray(open_image(data)) - gradient).mean() < 8
    np.testing.assert_array_equal(open_image(data[:-2]), open_image(data))
    for end in range(len(data) - 3):
        with pytest.raises(BadPicture):
            open_image(data[:end])


@pytest.mark.parametrize("kind", FILES)
def test_cut_at_every_tenth_byte_it_is_whole_or_refused(kind):
    whole = np.asarray(open_image(FILES[kind]))
    for end in range(0, len(FILES[kind]), 10):
        try:
            picture = open_image(FILES[kind][:end])
        except BadPicture:
            continue
        np.testing.assert_array_equal(picture, whole)


def segment(marker, body):
    return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body


def with_segments(segments):
    return FILES["JPEG"][:2] + segments + FILES["JPEG"][2:]


def png_with(chunks):
    return FILES["PNG"][:33] + chunks + FILES["PNG"][33:]


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def gif_with(extensions):
    data = FILES["GIF"]
    start = 13 + (6 << (data[10] & 7))
    return data[:start] + extensions + data[start:]


LOADED = {
    "JPEG, a profile of 10 MB": with_segments(
        b"".join(segment(0xE2, b"ICC_PROFILE\0" + bytes(65_000)) for _ in range(160))
    ),
    "JPEG, camera data in pieces": with_segments(segment(0xE1, b"Exif\0\0x") * 90_000),
    "JPEG, comments": with_segments(b"\xff\xff" + segment(0xFE, b"hi") * 90_000),
    "PNG, a profile of 10 MB": png_with(png_chunk(b"iCCP", b"p\0\0" + zeros(10 << 20))),
    "PNG, texts": png_with(b"".join(png_chunk(b"tEXt", b"%d\0x" % k) for k in range(90_000))),
    "PNG, chunks of its own": png_with(png_chunk(b"prVt", b"") * 90_000),
    "PNG, a hundred million frames": png_with(png_chunk(b"acTL", struct.pack(">II", 10**8, 0))),
    "GIF, comments": gif_with((b"!\xfe" + b"\2hi" * 9 + b"\0") * 9_000),
    "GIF, rubbish": gif_with(bytes(1_000_000)),
}


@pytest.mark.parametrize("what", LOADED)
def test_what_stands_before_a_picture_costs_little_and_changes_nothing(what):
    data = LOADED[what]
    plain = open_image(FILES[what.partition(",")[0]])
    np.testing.assert_array_equal(open_image(data), plain)
    with images.opened(data, 10**6) as im:
        assert len(im.fp.getvalue()) < 5_000 and len(im.info) < 20


@pytest.mark.parametrize(
    "data",
    [
        with_segments(segment(0xE1, b"Exif\0\0x") * 100_001),
        png_with(png_chunk(b"tEXt", b"a\0b") * 100_001),
        gif_with(b"!\xfe" + b"\1x" * 100_001 + b"\0"),
    ],
    ids=["JPEG", "PNG", "GIF"],
)
def test_a_file_in_too_many_pieces_is_refused(data):
    for entry in ENTRIES.values():
        with pytest.raises(BadPicture, match="more than the 100,000 pieces allowed"):
            entry(data)


def test_which_side_is_up_is_kept_when_the_rest_is_left_out():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = saved(drawn(), "JPEG", exif=exif)
    loaded = data[:2] + segment(0xE2, b"ICC_PROFILE\0" + bytes(999)) * 50 + data[2:]
    np.testing.assert_array_equal(open_image(loaded), open_image(data))
    assert open_image(loaded).size == (80, 120)
    late = FILES["PNG"][:-12] + png_chunk(b"eXIf", exif.tobytes()[6:]) + FILES["PNG"][-12:]
    assert open_image(late).size == (80, 120) and decode(late, 32).shape == (32, 32, 3)


def test_scans_are_allowed_by_the_size_of_the_picture():
    with pytest.raises(BadPicture, match="more than the 80 scans allowed for its size"):
        open_image(scanned(90, side=5_000))
    assert open_image(scanned(90, side=1_000)).size == (1_000, 1_000)


def test_only_the_first_frame_is_unpacked():
    frames = [drawn(seed=k) for k in range(40)]
    for kind in ("GIF", "WEBP", "AVIF", "PNG", "TIFF"):
        many = saved(frames[0], kind, save_all=True, append_images=frames[1:])
        got = np.asarray(open_image(many), int)
        assert np.abs(got - np.asarray(open_image(saved(frames[0], kind)), int)).mean() < 3


def bmp_in_runs(width, height, runs):
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(runs), 0, 0, 256, 0)
    start = 14 + len(header) + 1024
    return (
        b"BM" + struct.pack("<IHHI", start + len(runs), 0, 0, start) + header + bytes(1024) + runs
    )


def tiff_of_strips(rows):
    at = 8 + 2 + 9 * 12 + 4
    tags = [(256, 1, 10), (257, 1, rows), (258, 1, 8), (259, 1, 1), (262, 1, 1)]
    tags += [(273, rows, at), (277, 1, 1), (278, 1, 1), (279, rows, at + 4 * rows)]
    entries = b"".join(struct.pack("<HHII", tag, 4, n, value) for tag, n, value in tags)
    head = b"II*\0" + struct.pack("<IH", 8, 9) + entries + bytes(4)
    return head + struct.pack("<I", 8) * rows + struct.pack("<I", 10) * rows


SLOW = {
    "a BMP in runs": (bmp_in_runs(9_999, 9_999, b"\0\0" * 99), "10,000,000 pixels allowed in runs"),
    "a wide BMP": (bmp_in_runs(99_999_999, 1, b"\0\0"), "1,000,000 pixels a side"),
    "a high PNG": (png(2, 49_999_999), "1,000,000 pixels a side"),
    "a TIFF in strips": (tiff_of_strips(200_000), "100,000 pieces"),
}


@pytest.mark.parametrize("kind", SLOW)
def test_what_takes_long_for_its_pixels_is_refused(kind):
    data, words = SLOW[kind]
    for entry in ENTRIES.values():
        with pytest.raises(images.TooLarge, match=words):
            entry(data)
    assert open_image(tiff_of_strips(500)).size == (10, 500)
    assert open_image(bmp_in_runs(20, 20, b"\x14\1\0\0" * 20 + b"\0\1")).size == (20, 20)


@pytest.mark.parametrize("word", [b"XML:com.adobe.xmp", b"Raw profile type exif"])
def test_a_text_of_a_png_that_unpacks_too_long_is_left_out(word):
    text = zlib.compress(b"\nexif\n9\n" + b"0" * 60_000_000)
    for kind, between in ((b"iTXt", b"\0\1\0\0\0"), (b"zTXt", b"\0\0")):
        loaded = png_with(png_chunk(kind, word + between + text) * 3)
        np.testing.assert_array_equal(open_image(loaded), drawn())
    turned = b'<x tiff:Orientation="6"/>'
    short = png_with(png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(turned)))
    assert open_image(short).size == (80, 120)


def test_a_lab_picture_has_colours_brightness_and_a_hash():
    data = saved(Image.new("LAB", (900, 900), (160, 128, 128)), "TIFF")
    assert np.ptp(open_image(data).getpixel((0, 0))) < 3
    phash(data)


def test_an_error_does_not_keep_a_half_unpacked_picture():
    data = HEAVY["a PNG"][: len(HEAVY["a PNG"]) // 2]
    kept = []
    for entry in (open_image, phash, lambda s: decode(s, 32), lambda s: thumbnail(s, 64)):
        before = image_count()
        with pytest.raises(BadPicture) as caught:
            entry(data)
        kept.append(image_count() - before)
        assert caught.value.__cause__
    assert max(kept) <= 0  # what other tests left may go meanwhile


def image_count():
    gc.collect()
    pictures = (thing for thing in gc.get_objects() if issubclass(type(thing), Image.Image))
    return sum(bool(vars(picture)) for picture in pictures)
