"""The converters: real samples agree with independent reading, and each kind of bad source is named in one line."""

import json
import re
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tce_core import VOID
from tce_core.data import folder as folder_layout
from tce_core.data.convert import ABOUT, LAYOUTS, convert, main
from tce_core.data.dataset import open_dataset
from tce_core.data.layout import read_mask
from tce_core.errors import UserError

ROOT = Path(__file__).resolve().parents[3]
CAMVID = ROOT.parent / "shared" / "data" / "camvid"
ADE = ROOT.parent / "shared" / "data" / "format_samples" / "ADEChallengeData2016"
needs_camvid = pytest.mark.skipif(not CAMVID.is_dir(), reason=f"the CamVid sample is not at {CAMVID}")
needs_ade = pytest.mark.skipif(not ADE.is_dir(), reason=f"the ADE20K sample is not at {ADE}")

CLASSES = [{"id": 0, "name": "road", "color": [128, 64, 128]}, {"id": 1, "name": "car", "color": [0, 0, 142]}]


def noise(seed, size=(6, 8)):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def save(path, array, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(array)
    (picture if mode is None else picture.convert(mode)).save(path)
    return path


def describe(source, **changes):
    text = json.dumps({"num_classes": 2, "ignore_index": VOID, "classes": CLASSES} | changes)
    (source / "classes.json").write_text(text)


@pytest.fixture
def source(tmp_path):
    """A raw folder with two images in train, one in val."""
    raw = tmp_path / "raw"
    for split, count in (("train", 2), ("val", 1)):
        for i in range(count):
            save(raw / split / "images" / f"{i}.png", noise(i))
            save(raw / split / "masks" / f"{i}.png", np.array([[0, 1, VOID, 1] * 2] * 6, np.uint8))
    describe(raw)
    return raw


def assert_refused(kind, source, *parts):
    """Check that converting fails with one line that contains all parts, and leaves nothing beside the source."""
    out = source.parent / "out"
    with pytest.raises(UserError) as caught:
        convert(kind, source, out)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message
    assert [path.name for path in source.parent.iterdir()] == [source.name]


def test_folder_round_trip(source, tmp_path):
    shutil.copytree(source / "val", source / "test")
    dataset = convert("folder", source, tmp_path / "out")
    assert [len(split) for split in (dataset.train, dataset.val, dataset.test)] == [2, 1, 1]
    assert dataset.class_names == ("road", "car")
    assert dataset.classes[1].color == (0, 0, 142)
    for i in range(2):
        assert dataset.train.row_name(i) == str(i)
        np.testing.assert_array_equal(dataset.train.image(i), noise(i))
        assert dataset.train.mask(i)[3].tolist() == [0, 1, VOID, 1] * 2
    assert dataset.train.pixel_counts.tolist() == [[12, 24]] * 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "raw"]


def test_conversion_is_deterministic_and_sorted(source, tmp_path):
    for i in range(30, 10, -1):
        save(source / "train" / "images" / f"{i}.png", noise(i))
        save(source / "train" / "masks" / f"{i}.png", np.zeros((6, 8), np.uint8))
    first, second = (convert("folder", source, tmp_path / name) for name in "ab")
    names = [first.train.row_name(i) for i in range(len(first.train))]
    assert names == sorted(names)
    assert first.fingerprint == second.fingerprint
    assert first.train.path.read_bytes() == second.train.path.read_bytes()


def test_image_modes_and_palette_masks(source, tmp_path):
    grey = noise(9)[..., 0]
    save(source / "train" / "images" / "0.png", grey)
    save(source / "train" / "images" / "1.png", noise(1), "RGBA")
    palette = Image.fromarray(np.array([[1, 0, 1, 1] * 2] * 6, np.uint8), "P")
    palette.putpalette([200, 10, 10, 30, 30, 30])
    palette.save(source / "train" / "masks" / "0.png")
    train = convert("folder", source, tmp_path / "out").train
    np.testing.assert_array_equal(train.image(0), np.repeat(grey[..., None], 3, axis=2))
    np.testing.assert_array_equal(train.image(1), noise(1))
    assert train.mask(0)[0].tolist() == [1, 0, 1, 1] * 2


def truncate(path):
    path.write_bytes(path.read_bytes()[:-40])


# How a good source is damaged, and what the message must contain.
SPOILT: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "mask without image": (
        lambda s: (s / "train/images/1.png").unlink(),
        ("train/masks/1.png", "no image for this mask"),
    ),
    "image without mask": (
        lambda s: (s / "val/masks/0.png").unlink(),
        ("val/images/0.png", "no mask for this image"),
    ),
    "sizes differ": (
        lambda s: save(s / "train/masks/1.png", np.zeros((6, 7), np.uint8)),
        ("train/masks/1.png", "6x8", "6x7", "same size"),
    ),
    "truncated image": (lambda s: truncate(s / "val/images/0.png"), ("val/images/0.png", "cannot be decoded")),
    "truncated mask": (lambda s: truncate(s / "val/masks/0.png"), ("val/masks/0.png", "cannot be decoded")),
    "not an image": (
        lambda s: (s / "train/images/0.png").write_text("hello"),
        ("train/images/0.png", "cannot be decoded"),
    ),
    "empty file": (lambda s: (s / "train/masks/0.png").write_bytes(b""), ("train/masks/0.png", "cannot be decoded")),
    "unknown label": (
        lambda s: save(s / "train/masks/1.png", np.full((6, 8), 2, np.uint8)),
        ("train/masks/1.png", "label id 2", "0..1 and 255"),
    ),
    "colour mask": (
        lambda s: save(s / "train/masks/1.png", noise(0)),
        ("train/masks/1.png", "its mode is RGB", "8-bit grey or palette"),
    ),
    "one-bit mask": (
        lambda s: save(s / "train/masks/1.png", np.zeros((6, 8), np.uint8), "1"),
        ("train/masks/1.png", "its mode is 1"),
    ),
    "16-bit mask": (
        lambda s: save(s / "train/masks/1.png", np.zeros((6, 8), np.uint16)),
        ("train/masks/1.png", "its mode is I;16"),
    ),
    "16-bit image": (
        lambda s: save(s / "train/images/1.png", np.zeros((6, 8), np.uint16)),
        ("train/images/1.png", "I;16", "8 bits per channel"),
    ),
    "lossy mask": (
        lambda s: save(s / "train/masks/1.jpg", np.zeros((6, 8), np.uint8)),
        ("train/masks/1.jpg", "not one of .png"),
    ),
    "two of a stem": (lambda s: save(s / "train/images/1.jpg", noise(1)), ("train/images/1.png", "1.jpg")),
    "no masks folder": (lambda s: shutil.rmtree(s / "val/masks"), ("val/masks", "no such folder")),
    "no val folder": (lambda s: shutil.rmtree(s / "val"), ("val/images", "no such folder")),
    "empty split": (
        lambda s: ((s / "val/images/0.png").unlink(), (s / "val/masks/0.png").unlink()),
        ("val/images", "no images here"),
    ),
    "no classes": (lambda s: (s / "classes.json").unlink(), ("classes.json", "cannot be read")),
    "bad JSON": (
        lambda s: (s / "classes.json").write_text('{\n "num_classes": 2,\n "classes": [}\n'),
        ("classes.json, line 3", "not valid JSON"),
    ),
    "not UTF-8": (lambda s: (s / "classes.json").write_bytes(b'{"a": "\xff"}'), ("classes.json", "UTF-8")),
    "a list": (lambda s: (s / "classes.json").write_text("[]"), ("classes.json", "holds a list")),
    "no class list": (lambda s: describe(s, classes="road"), ("classes.json", '"classes" must be a list')),
    "wrong number": (lambda s: describe(s, num_classes=3), ("classes.json", '"num_classes" is 3', "2 classes")),
    "other void": (lambda s: describe(s, ignore_index=0), ("classes.json", '"ignore_index" is 0', "255")),
    "gap in ids": (
        lambda s: describe(s, classes=[CLASSES[0], CLASSES[1] | {"id": 5}]),
        ("classes.json", "class id 5", "0..1"),
    ),
    "id of text": (
        lambda s: describe(s, classes=[CLASSES[0], CLASSES[1] | {"id": "1"}]),
        ("classes.json", "class id '1'", "integer"),
    ),
    "name twice": (
        lambda s: describe(s, classes=[CLASSES[0], CLASSES[1] | {"name": "road"}]),
        ("classes.json", "'road' is used more than once"),
    ),
    "bad colour": (
        lambda s: describe(s, classes=[CLASSES[0], CLASSES[1] | {"color": [0, 0, 256]}]),
        ("classes.json", "[0, 0, 256]", "'car'", "0..255"),
    ),
    "no colour": (
        lambda s: describe(s, classes=[CLASSES[0], {"id": 1, "name": "car"}]),
        ("classes.json", "color None", "'car'"),
    ),
}


@pytest.mark.parametrize("case", SPOILT)
def test_bad_folder(source, case):
    spoil, parts = SPOILT[case]
    spoil(source)
    assert_refused("folder", source, *parts)


def test_grey_of_four_bits_is_refused(tmp_path):
    # Two pixels, ids 1 and 2: Pillow would read them as 17 and 34. Pillow cannot write such files.
    chunks = [b"IHDR\0\0\0\2\0\0\0\1\4\0\0\0\0", b"IDAT" + zlib.compress(b"\0\x12"), b"IEND"]
    path = tmp_path / "mask.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(chunk) for chunk in chunks))
    with pytest.raises(UserError, match=r"mask\.png: its mode is L;4; a mask must be 8-bit"):
        read_mask(path, np.arange(256, dtype=np.int16))


def png_chunk(body):
    return (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")


def test_taken_out_folder(source):
    (source.parent / "out").mkdir()
    (source.parent / "out" / "precious").touch()
    with pytest.raises(UserError, match="out: exists already"):
        convert("folder", source, source.parent / "out")
    assert [path.name for path in (source.parent / "out").iterdir()] == ["precious"]


def test_interrupted_conversion_leaves_nothing(source, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("tce_core.data.convert._add", interrupt)
    with pytest.raises(KeyboardInterrupt):
        convert("folder", source, source.parent / "out")
    assert [path.name for path in source.parent.iterdir()] == ["raw"]


def test_unknown_kind_and_missing_source(source, tmp_path):
    with pytest.raises(UserError, match="unknown kind of data set 'coco'; known are cityscapes, ade20k"):
        convert("coco", source, tmp_path / "out")
    for kind in ("folder", "camvid", "ade20k", "cityscapes"):
        with pytest.raises(UserError, match=r"nowhere.*: no such folder"):
            convert(kind, tmp_path / "nowhere", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def cityscapes_frame(root, split, frame, labels):
    city = frame.split("_")[0]
    save(root / "leftImg8bit" / split / city / f"{frame}_leftImg8bit.png", noise(1, labels.shape))
    return save(root / "gtFine" / split / city / f"{frame}_gtFine_labelIds.png", labels)


@pytest.fixture
def cityscapes(tmp_path):
    root = tmp_path / "cityscapes"
    every_id = np.array([[*range(34), VOID]], np.uint8)
    cityscapes_frame(root, "train", "ulm_000001_000019", every_id)
    cityscapes_frame(root, "train", "aachen_000000_000019", every_id[:, ::-1])
    cityscapes_frame(root, "val", "bonn_000000_000019", every_id)
    save(root / "gtFine/val/bonn/bonn_000000_000019_gtFine_color.png", noise(2))
    return root


def test_cityscapes_maps_like_its_own_scripts(cityscapes, tmp_path):
    labels = pytest.importorskip("cityscapesscripts.helpers.labels")
    dataset = convert("cityscapes", cityscapes, tmp_path / "out")
    assert [dataset.train.row_name(i) for i in range(2)] == ["aachen_000000_000019", "ulm_000001_000019"]
    assert (len(dataset.val), dataset.test) == (1, None)
    expected = [labels.id2label[i].trainId for i in [*range(34), -1]]
    expected = [train_id if 0 <= train_id < VOID else VOID for train_id in expected]
    assert dataset.train.mask(1)[0].tolist() == expected
    assert dataset.train.mask(0)[0].tolist() == expected[::-1]
    for info in dataset.classes:
        official = labels.trainId2label[info.id]
        assert (info.name, info.color) == (official.name, official.color)
    assert dataset.num_classes == 19


def test_bad_cityscapes(cityscapes):
    mask = cityscapes_frame(cityscapes, "train", "ulm_000001_000019", np.array([[7, 99]], np.uint8))
    assert_refused("cityscapes", cityscapes, mask.name, "label id 99", "0..33 and 255")
    mask.unlink()
    assert_refused("cityscapes", cityscapes, "ulm_000001_000019_leftImg8bit.png", "no mask")
    shutil.rmtree(cityscapes / "leftImg8bit" / "val")
    shutil.rmtree(cityscapes / "leftImg8bit" / "train" / "ulm")
    assert_refused("cityscapes", cityscapes, str(Path("leftImg8bit", "val")), "no such folder")


@pytest.fixture
def ade(tmp_path):
    """The real validation sample as both splits; there are no training images in it."""
    root = tmp_path / "ade"
    shutil.copytree(ADE, root, ignore=shutil.ignore_patterns("LICENSE*"))
    for kind in ("images", "annotations"):
        shutil.copytree(root / kind / "validation", root / kind / "training")
    return root


@needs_ade
def test_ade20k_real_sample(ade, tmp_path):
    dataset = convert("ade20k", ade, tmp_path / "out")
    assert dataset.num_classes == 150
    assert dataset.class_names[:3] == ("wall", "building", "sky")
    assert dataset.class_names[-1] == "flag"
    assert len({info.color for info in dataset.classes}) == 150
    assert [len(dataset.train), len(dataset.val)] == [3, 3]
    for i in range(3):
        name = dataset.val.row_name(i)
        annotation = np.array(Image.open(ADE / "annotations" / "validation" / f"{name}.png")).astype(int)
        image = np.array(Image.open(ADE / "images" / "validation" / f"{name}.jpg").convert("RGB"))
        np.testing.assert_array_equal(dataset.val.image(i), image)
        np.testing.assert_array_equal(dataset.val.mask(i), np.where(annotation == 0, VOID, annotation - 1))
        assert dataset.val.pixel_counts[i].tolist() == [(annotation == k + 1).sum() for k in range(150)]


@needs_ade
def test_bad_ade20k(ade):
    save(ade / "annotations" / "training" / "ADE_val_00000001.png", np.full((512, 683), 151, np.uint8))
    assert_refused("ade20k", ade, "ADE_val_00000001.png", "label id 151", "0..150")
    shutil.rmtree(ade / "images" / "training")
    assert_refused("ade20k", ade, str(Path("images", "training")), "no such folder")
    names = (ade / "objectInfo150.txt").read_text().splitlines()
    (ade / "objectInfo150.txt").write_text("\n".join(names[:5] + names[6:]))
    assert_refused("ade20k", ade, "objectInfo150.txt, line 6", "should start with 5")
    (ade / "objectInfo150.txt").unlink()
    assert_refused("ade20k", ade, "objectInfo150.txt", "cannot be read")


@needs_camvid
def test_camvid_masks_match_its_published_table():
    """The number of train images that show each class and its pixel share agree with the table beside the data."""
    table = re.findall(r"^\| (\d+) \| (\w+) \| ([\d.]+) \| (\d+) \|", (CAMVID / "SOURCE.md").read_text(), re.M)
    layout = folder_layout.find(CAMVID)
    assert {split: len(pairs) for split, pairs in layout.splits.items()} == {"train": 367, "val": 101, "test": 233}
    masks = (read_mask(pair.mask, layout.labels) for pair in layout.splits["train"])
    counts = np.stack([np.bincount(mask.ravel(), minlength=256)[:11] for mask in masks])
    shares = 100 * counts.sum(axis=0) / counts.sum()
    assert len(table) == len(layout.classes) == 11
    for (label, name, share, images), info in zip(table, layout.classes, strict=True):
        assert (info.id, info.name) == (int(label), name)
        assert (counts[:, info.id] > 0).sum() == int(images)
        assert shares[info.id] == pytest.approx(float(share), abs=6e-4)


@pytest.mark.slow
@needs_camvid
def test_camvid_converts_completely(tmp_path):
    dataset = convert("camvid", CAMVID, tmp_path / "out")
    assert [len(split) for split in (dataset.train, dataset.val, dataset.test)] == [367, 101, 233]
    shown = dict(zip(dataset.class_names, (dataset.train.pixel_counts > 0).sum(axis=0).tolist(), strict=True))
    assert (shown["Fence"], shown["Bicyclist"]) == (173, 201)
    assert (dataset.test.sizes == (360, 480)).all()
    dataset.require_trainable()


def test_main_reports_and_returns(source, tmp_path, capsys):
    assert main(["folder", str(source), str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"train: 2 images, 2 classes, {tmp_path}/out/train.arrow",
        f"val: 1 images, 2 classes, {tmp_path}/out/val.arrow",
    ]
    assert main(["folder", str(source), str(tmp_path / "out")]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"error: {tmp_path}/out: exists already")
    assert len(said.err.splitlines()) == 1


def test_every_kind_has_a_help_text():
    assert set(ABOUT) == {*LAYOUTS, "streets"}


def test_main_can_have_another_name(capsys):
    with pytest.raises(SystemExit):
        main(["folder", "--help"], prog="convert-data")
    assert capsys.readouterr().out.startswith("usage: convert-data folder [-h] SOURCE OUT\n")


def test_command_line_draws_streets(tmp_path):
    command = [sys.executable, "-m", "tce_core.data.convert"]
    unknown = subprocess.run([*command, "coco", "a", "b"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert unknown.returncode == 2
    assert "coco" in unknown.stderr
    subprocess.run([*command, "streets", str(tmp_path / "streets")], cwd=ROOT, check=True, capture_output=True)
    assert len(open_dataset(tmp_path / "streets").train) == 240
