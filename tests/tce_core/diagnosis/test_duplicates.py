"""Copies across splits are found; other pictures, flat ones and neighbours in a video are not."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from tce_core.diagnosis.duplicates import DIFFERENCE, differences, find_duplicates
from tce_core.diagnosis.fingerprints import fingerprint_of


def scene(seed, size=(120, 160)):
    """Smooth colours with a texture, as photographs have."""
    noise = np.random.default_rng(seed).normal(size=(*size, 3))
    smooth = gaussian_filter(noise, (12, 12, 0))
    image = smooth / smooth.std() * 40 + noise * 4 + 128
    return image.clip(0, 255).astype(np.uint8)


def recompressed(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=40)
    return np.asarray(Image.open(file).convert("RGB"))


def resized(image):
    return np.asarray(Image.fromarray(image).resize((112, 84), Image.Resampling.BILINEAR))


def brighter(image):
    return (image * 1.0 + 6).clip(0, 255).astype(np.uint8)


def found_in(train, val, **more):
    splits = {"train": train, "val": val, **more}
    return find_duplicates({name: [fingerprint_of(image) for image in images] for name, images in splits.items()})


def test_exact_copies_are_found_once_per_picture():
    (one,) = found_in([scene(0), scene(1), scene(1)], [scene(2), scene(1)])
    assert (one.split, one.image, one.other_split, one.other_image, one.exact) == ("val", 1, "train", 1, True)


@pytest.mark.parametrize("change", [recompressed, resized, brighter])
@pytest.mark.parametrize("seed", range(4))
def test_changed_copies_are_near_identical(change, seed):
    (one,) = found_in([scene(seed), scene(seed + 10)], [change(scene(seed))])
    assert (one.other_image, one.exact) == (0, False)
    assert 0 < one.difference <= DIFFERENCE


def test_other_scenes_are_not():
    assert found_in([scene(seed) for seed in range(20)], [scene(seed) for seed in range(20, 40)]) == []


def test_a_camera_that_moves_makes_no_copies():
    wide = scene(3, (120, 200))
    frames = [wide[:, 8 * i : 8 * i + 160] for i in range(6)]
    assert found_in(frames[::2], frames[1::2]) == []


def test_flat_scenes_are_not():
    """Fog, or a night without a lamp: the hashes are random or equal, and the thumbnails nearly the same."""
    flat = [np.random.default_rng(seed).normal(128, 1.5, size=(120, 160, 3)).astype(np.uint8) for seed in range(30)]
    black = [np.full((120, 160, 3), value, np.uint8) for value in (0, 1, 2, 3)]
    assert found_in([*flat[::2], *black[::2]], [*flat[1::2], *black[1::2]]) == []


def test_every_pair_of_splits_is_compared_and_exact_ones_come_first():
    found = found_in([scene(0), scene(1)], [recompressed(scene(0))], test=[scene(1), recompressed(scene(0))])
    pairs = [(one.split, one.image, one.other_split, one.other_image, one.exact) for one in found]
    assert pairs[:2] == [("test", 0, "train", 1, True), ("test", 1, "val", 0, True)]
    assert set(pairs[2:]) == {("val", 0, "train", 0, False), ("test", 1, "train", 0, False)}


def test_the_nearest_is_named():
    (one,) = found_in([resized(scene(0)), brighter(scene(0))], [scene(0)])
    assert one.other_image == 1


def test_the_difference_ignores_brightness_and_flat_pictures_differ_infinitely():
    grey, other = np.random.default_rng(0).normal(size=(2, 100))
    found = differences(grey, np.array([grey + 5, other, np.ones(100)]))
    ratio, correlation = grey.std() / other.std(), np.corrcoef(grey, other)[0, 1]
    assert found.tolist() == pytest.approx([0, np.sqrt(ratio + 1 / ratio - 2 * correlation), np.inf])
