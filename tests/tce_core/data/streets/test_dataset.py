"""`streets`: equal seeds give equal data, the imbalance is as promised, and drawing is fast."""

import time

import numpy as np
import pytest

from tce_core import VOID
from tce_core.data.dataset import open_dataset
from tce_core.data.streets.dataset import CLASSES, RARE_SHARES, make_streets
from tce_core.errors import UserError

SMALL = {"train": 6, "val": 3, "test": 3, "size": (48, 80)}


@pytest.fixture(scope="module")
def streets(tmp_path_factory):
    started = time.perf_counter()
    dataset = make_streets(tmp_path_factory.mktemp("data") / "streets")
    assert time.perf_counter() - started < 30
    return dataset


def splits(dataset):
    return dataset.train, dataset.val, dataset.test


def test_default_sizes(streets):
    assert [len(split) for split in splits(streets)] == [240, 60, 60]
    assert all((split.sizes == (96, 160)).all() for split in splits(streets))
    assert streets.classes == CLASSES
    assert streets.train.source == "procedural, seed 0"
    streets.require_trainable()


def test_every_split_has_every_class_in_several_images(streets):
    for split in splits(streets):
        assert ((split.pixel_counts > 0).sum(axis=0) >= 8).all()


def test_imbalance_like_a_real_street(streets):
    for split in splits(streets):
        shares = split.pixel_counts.sum(axis=0) / split.pixel_counts.sum()
        shown = (split.pixel_counts > 0).mean(axis=0)
        for label, promised in RARE_SHARES.items():
            assert 0.001 <= shares[label] <= 0.005, CLASSES[label].name
            assert abs(shown[label] - promised) <= 0.02
        assert shares[0] > 0.3
        common = [i for i in range(len(CLASSES)) if i not in RARE_SHARES]
        assert (shown[common] >= 0.8).all()


def test_rare_things_are_large_enough_to_be_seen(streets):
    for split in splits(streets):
        for label in RARE_SHARES:
            pixels = split.pixel_counts[:, label]
            assert pixels[pixels > 0].min() >= 48


def test_masks_hold_classes_and_some_void(streets):
    void = [(streets.train.mask(i) == VOID).mean() for i in range(len(streets.train))]
    assert 0.005 < np.mean(void) < 0.15
    assert max(void) < 0.3


def test_images_vary_and_are_not_washed_out(streets):
    means = [streets.train.image(i).mean() for i in range(len(streets.train))]
    assert np.std(means) > 5
    assert 60 < np.mean(means) < 180
    assert len({streets.train.image(i).tobytes() for i in range(len(streets.train))}) == len(streets.train)


def test_same_seed_same_bytes(tmp_path):
    first, second, other = (
        make_streets(tmp_path / name, seed=seed, **SMALL) for name, seed in (("a", 3), ("b", 3), ("c", 4))
    )
    assert first.fingerprint == second.fingerprint != other.fingerprint
    for name in ("train.arrow", "val.arrow", "test.arrow"):
        assert (first.path / name).read_bytes() == (second.path / name).read_bytes()


def test_splits_do_not_share_images(tmp_path):
    dataset = make_streets(tmp_path / "streets", **SMALL)
    images = [split.image(i).tobytes() for split in splits(dataset) for i in range(len(split))]
    assert len(set(images)) == len(images) == 12


def test_size_is_height_by_width(tmp_path):
    dataset = make_streets(tmp_path / "streets", train=1, val=1, test=1, size=(64, 48))
    assert dataset.val.image(0).shape == (64, 48, 3)
    assert open_dataset(tmp_path / "streets").fingerprint == dataset.fingerprint


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"val": 0}, "0 val images; each split needs at least 1"),
        ({"size": (96, 20)}, "images of 96x20 .*32 or more"),
        ({"seed": -1}, "seed -1; a seed must be 0 or more"),
    ],
)
def test_bad_arguments(tmp_path, arguments, message):
    with pytest.raises(UserError, match=message):
        make_streets(tmp_path / "streets", **(SMALL | arguments))
    assert list(tmp_path.iterdir()) == []


def test_taken_folder(tmp_path):
    (tmp_path / "precious").touch()
    with pytest.raises(UserError, match="exists already"):
        make_streets(tmp_path, **SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]
