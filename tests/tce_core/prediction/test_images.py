"""Which photographs are found, where their outputs go, and how they are read."""

import os

import numpy as np
import pytest
from PIL import Image, ImageOps

from tce_core.errors import UserError
from tce_core.prediction.images import find_photographs, read_ahead

PIXELS = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3) * 3


@pytest.fixture
def at(tmp_path, monkeypatch):
    """A working directory with images in nested folders, and files that are none."""
    monkeypatch.chdir(tmp_path)
    for name in ("day/1.png", "day/deep/1.PNG", "night/1.webp", "night/2.bmp", "night/3.tiff", "day/.hidden/1.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(PIXELS).save(tmp_path / name)
    for name in ("day/.2.png", "day/notes.txt", "night/1.webp.xmp"):
        (tmp_path / name).write_text("no image")
    return tmp_path


def found(at, paths, out="out"):
    given = [at / path if path.startswith("/") else type(at)(path) for path in paths]
    return [(str(one.source), str(one.output(".png"))) for one in find_photographs(given, type(at)(out))]


def test_a_folder_is_searched_at_any_depth_and_the_outputs_mirror_it(at):
    assert found(at, ["."]) == [
        ("day/1.png", "out/day/1.png"),
        ("day/deep/1.PNG", "out/day/deep/1.png"),
        ("night/1.webp", "out/night/1.png"),
        ("night/2.bmp", "out/night/2.png"),
        ("night/3.tiff", "out/night/3.png"),
    ]
    assert found(at, ["day"]) == [("day/1.png", "out/1.png"), ("day/deep/1.PNG", "out/deep/1.png")]


def test_several_arguments_share_one_root_and_an_image_is_found_once(at):
    assert found(at, ["night/1.webp", "day"]) == [
        ("day/1.png", "out/day/1.png"),
        ("day/deep/1.PNG", "out/day/deep/1.png"),
        ("night/1.webp", "out/night/1.png"),
    ]
    assert found(at, ["day/1.png"]) == [("day/1.png", "out/1.png")]
    assert len(found(at, ["day/1.png", "day", "night/../day"])) == 2


def test_a_file_that_is_named_may_have_any_name(at):
    (at / "day" / "1.png").rename(at / "scan")
    assert found(at, ["scan"]) == [("scan", "out/scan.png")]


def test_outputs_inside_a_searched_folder_are_not_read_by_the_next_run(at):
    before = found(at, ["."], "masks")
    for _, target in before:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        Image.fromarray(PIXELS).save(target)
    assert found(at, ["."], "masks") == before
    assert found(at, ["."], "./day/../masks") == [(a, b.replace("masks", "day/../masks")) for a, b in before]


@pytest.mark.parametrize(
    ("paths", "out", "said"),
    [
        (["day"], "day", r"^day/1\.png: would lie beside images that are read"),
        (["day/1.png"], "day", "give --out a folder of its own"),
        (["day/1.png"], "link", "would lie beside images"),  # another name of the same folder
        (["night/1.webp", "day/1.png"], ".", "would lie beside images"),
        (["day", "gone"], "out", "^gone: no such file or folder"),
        (["empty"], "out", r"^empty: no images; they are told by \.jpg, "),
        (["twins"], "out", r"^twins/a\.png: twins/a\.jpg has the same output out/a\.png; move one of the two"),
    ],
)
def test_bad_arguments_are_refused(at, paths, out, said):
    (at / "link").symlink_to(at / "day")
    for name in ("empty", "twins"):
        (at / name).mkdir()
    for name in ("a.jpg", "a.png"):
        (at / "twins" / name).touch()
    before = sorted(at.rglob("*"))
    with pytest.raises(UserError, match=said):
        found(at, paths, out)
    assert sorted(at.rglob("*")) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_a_folder_that_cannot_be_read_is_named(at):
    (at / "night").chmod(0)
    with pytest.raises(UserError, match="night: the folder cannot be read: Permission denied"):
        found(at, ["."])


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(10))
def test_every_orientation_is_pillow_s(at, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(PIXELS).save(f"turned.{suffix}", exif=exif, lossless=True)
    ((_, image),) = read_ahead(find_photographs([at / f"turned.{suffix}"], at / "out"))
    with Image.open(f"turned.{suffix}") as picture:
        assert np.array_equal(image, np.asarray(ImageOps.exif_transpose(picture)))


def test_damaged_tags_do_no_harm(at):
    """Pillow's own function ends with a `struct.error` on these."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    tags = bytearray(exif.tobytes())
    random, read = np.random.default_rng(0), 0
    for _ in range(300):
        damaged = bytearray(tags)
        for place in random.integers(len(tags), size=4):
            damaged[place] = random.integers(256)
        Image.fromarray(PIXELS).save("damaged.png", exif=bytes(damaged))
        ((_, image),) = read_ahead(find_photographs([at / "damaged.png"], at / "out"))
        assert sorted(image.shape) == [3, 4, 6]
        read += image.shape == (6, 4, 3)
    assert 0 < read < 300


@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        (1, lambda x: x),
        (3, lambda x: x[::-1, ::-1]),
        (6, lambda x: np.rot90(x, -1)),
        (5, lambda x: x.transpose(1, 0, 2)),
    ],
)
def test_photographs_are_read_upright(at, orientation, turn):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(PIXELS).save("turned.png", exif=exif)
    ((_, image),) = read_ahead(find_photographs([at / "turned.png"], at / "out"))
    assert np.array_equal(image, turn(PIXELS))


def test_every_mode_becomes_rgb_and_what_cannot_be_read_is_an_error_in_its_place(at):
    (at / "modes").mkdir()
    picture = Image.fromarray(PIXELS)
    for name, mode in (("grey", "L"), ("bits", "1"), ("alpha", "RGBA"), ("palette", "P"), ("both", "LA")):
        picture.convert(mode).save(at / "modes" / f"{name}.png")
    picture.convert("CMYK").save(at / "modes" / "print.tif")
    Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257).save(at / "modes" / "deep.png")
    (at / "modes" / "cut.png").write_bytes((at / "day" / "1.png").read_bytes()[:50])
    read = {one.source.stem: image for one, image in read_ahead(find_photographs([at / "modes"], at / "out"))}
    assert list(read) == sorted(read)
    wrong = {name: str(image) for name, image in read.items() if isinstance(image, UserError)}
    assert set(wrong) == {"cut", "deep"}
    assert "cut.png: cannot be decoded (" in wrong["cut"]
    assert "deep.png: its pixels are I;16; an image must have 8 bits per channel" in wrong["deep"]
    assert all(
        image.shape == (4, 6, 3) and image.dtype == np.uint8 for name, image in read.items() if name not in wrong
    )
    assert np.array_equal(read["alpha"], PIXELS)
    assert np.array_equal(read["grey"], np.asarray(picture.convert("L"))[..., None].repeat(3, axis=2))
