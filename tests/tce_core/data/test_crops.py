"""Training crops: exact windows, the focus class is always shown, void outside the image, image and mask aligned."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as TF

from tce_core import VOID
from tce_core.colours import normalise
from tce_core.data.crops import PADDING, CropSettings, cut, random_crop

seeds = st.integers(0, 2**32)
sides = st.integers(1, 70)
scales = st.tuples(st.floats(0.5, 2), st.floats(0.5, 2)).map(sorted).map(tuple)


def numbered(height, width):
    """An image whose pixels hold their position (red: row, green: column), and a mask equal to the red channel."""
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    return np.stack([rows, columns, np.full_like(rows, 7)], axis=-1), rows.copy()


def crop(image, mask, seed=0, focus=None, **settings):
    return tensors(*random_crop(image, mask, CropSettings(**settings), np.random.default_rng(seed), focus))


def tensors(pixels, labels):
    """A crop as tensors (3, h, w) and (h, w)."""
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1), torch.from_numpy(labels.copy())


@given(sides, sides, scales, seeds, st.booleans(), st.data())
def test_a_single_pixel_in_focus_is_always_shown(height, width, scale, seed, flip, data):
    mask = np.zeros((height, width), np.uint8)
    mask[data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))] = 3
    image = np.zeros((height, width, 3), np.uint8)
    _, labels = crop(image, mask, seed, focus=3, size=(32, 48), scale=scale, flip=flip)
    assert (labels == 3).any()


@given(st.floats(0.5, 0.9), seeds)
def test_a_thin_line_in_focus_survives_shrinking(scale, seed):
    mask = np.zeros((90, 120), np.uint8)
    mask[np.random.default_rng(seed).integers(90)] = 3
    _, labels = crop(np.zeros((90, 120, 3), np.uint8), mask, seed, focus=3, size=(16, 16), scale=(scale, scale))
    assert (labels == 3).any()


def test_every_pixel_of_the_focus_class_can_be_chosen():
    mask = np.zeros((64, 64), np.uint8)
    places = [(0, 0), (63, 63), (10, 50)]  # too far apart for one crop to show two
    for y, x in places:
        mask[y, x] = 3
    image, _ = numbered(64, 64)
    shown = set()
    for seed in range(60):
        window, labels = crop(image, mask, seed, focus=3, size=(16, 16))
        (y, x), *rest = (labels == 3).nonzero().tolist()
        assert rest == []
        shown.add((int(window[0, y, x]), int(window[1, y, x])))
    assert shown == set(places)


def test_a_focus_that_the_mask_lacks_is_refused():
    with pytest.raises(ValueError, match="no pixel of class 4"):
        crop(*numbered(3, 3), focus=4, size=(16, 16))


@given(sides, sides, scales, seeds, st.booleans())
def test_shapes_and_types_do_not_depend_on_the_image(height, width, scale, seed, flip):
    image, mask = numbered(height, width)
    pixels, labels = crop(image, mask, seed, size=(32, 48), scale=scale, flip=flip)
    assert (pixels.shape, labels.shape) == ((3, 32, 48), (32, 48))
    assert pixels.dtype == labels.dtype == torch.uint8
    assert set(labels.unique().tolist()) <= set(range(height)) | {VOID}


@given(st.integers(16, 70), st.integers(24, 70), seeds)
def test_at_scale_one_a_crop_is_an_exact_window(height, width, seed):
    image, mask = numbered(height, width)
    pixels, labels = crop(image, mask, seed, size=(16, 24))
    top, left = int(pixels[0, 0, 0]), int(pixels[1, 0, 0])
    assert (pixels.permute(1, 2, 0).numpy() == image[top : top + 16, left : left + 24]).all()
    assert (labels.numpy() == mask[top : top + 16, left : left + 24]).all()


def test_every_window_comes_up():
    image, mask = numbered(18, 19)
    corners = {tuple(crop(image, mask, seed, size=(16, 16))[0][:2, 0, 0].tolist()) for seed in range(200)}
    assert corners == {(y, x) for y in range(3) for x in range(4)}


@given(sides, sides, seeds)
def test_beyond_the_edge_is_void_and_grey(height, width, seed):
    image, mask = numbered(height, width)
    pixels, labels = crop(image, mask, seed, size=(48, 64))
    beyond = labels == VOID
    assert (~beyond).sum() == min(height, 48) * min(width, 64)
    assert (pixels[:, beyond] == torch.tensor(PADDING, dtype=torch.uint8)[:, None]).all()
    assert (pixels[0, ~beyond] == labels[~beyond]).all()
    assert normalise(torch.tensor(PADDING, dtype=torch.uint8).view(1, 3, 1, 1)).abs().max() < 0.01


@given(seeds)
def test_a_flip_turns_image_and_mask_together(seed):
    image, mask = numbered(20, 20)
    mask = mask.T.copy()  # labels now name columns, as green does
    pixels, labels = crop(image, mask, seed, size=(16, 16), flip=True)
    assert (pixels[1] == labels).all()
    assert (labels[0].diff() == (1 if labels[0, 0] < labels[0, -1] else 255)).all()  # -1 as uint8


def test_half_of_the_crops_are_flipped():
    image, mask = numbered(16, 16)
    flipped = sum(bool(crop(image, mask, seed, size=(16, 16), flip=True)[0][1, 0, 0]) for seed in range(400))
    assert 150 < flipped < 250  # five standard deviations of 400 fair coins
    assert not any(bool(crop(image, mask, seed, size=(16, 16))[0][1, 0, 0]) for seed in range(20))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("scale", [(0.5, 1.0), (1.0, 2.0)])
def test_resized_image_and_mask_stay_aligned(axis, scale):
    # An edge between black (class 0) and white (class 1). The sum of the grey levels gives its position in the image,
    # the sum of the labels its position in the mask, each to a pixel. Over many scales they agree on average.
    shape = [64, 64]
    mask = np.zeros(shape, np.uint8)
    mask[30:] = 1
    mask = mask if axis == 0 else mask.T.copy()
    image = np.repeat(255 * mask[..., None], 3, axis=-1)
    offsets = []
    for seed in range(300):
        pixels, labels = crop(image, mask, seed, size=(32, 32), scale=scale)
        if (labels != VOID).all() and 0 < labels.float().mean() < 1:
            line = (pixels[0].float() / 255 - labels.float()).sum(axis)  # white minus class 1, in pixels
            offsets.append(line.mean().item())
    assert len(offsets) > 100
    assert abs(np.mean(offsets)) < 0.1


@given(seeds)
def test_image_and_mask_agree_at_any_scale(seed):
    # Blocks of 16 pixels: three quarters of the pixels are far from any edge, and there image and mask must agree.
    labels = np.random.default_rng(seed).integers(0, 4, (5, 6)).astype(np.uint8).repeat(16, 0).repeat(16, 1)
    pixels, mask = crop(
        np.repeat(60 * labels[..., None], 3, -1), labels, seed, size=(48, 64), scale=(0.8, 2), flip=True
    )
    valid = mask != VOID
    same = (pixels[0].float() - 60 * mask.float()).abs() < 2
    assert same[valid].float().mean() > 0.6


@pytest.mark.parametrize("focus", [None, 20])
def test_the_same_generator_makes_the_same_crop(focus):
    image, mask = numbered(60, 60)
    settings = {"size": (32, 32), "scale": (0.5, 2.0), "flip": True, "focus": focus}
    one, again, other = (crop(image, mask, seed, **settings) for seed in (1, 1, 2))
    assert torch.equal(one[0], again[0])
    assert torch.equal(one[1], again[1])
    assert not torch.equal(one[0], other[0])


@given(st.integers(1, 60), st.integers(1, 60), seeds)
def test_a_resized_window_is_torchvision_s(height, width, seed):
    # The crop is the whole window: an image of the window's own size leaves no choice of place.
    rng = np.random.default_rng(seed)
    image, mask = rng.integers(0, 256, (height, width, 3), np.uint8), rng.integers(0, 9, (height, width), np.uint8)
    pixels, labels = tensors(*cut(image, mask, (32, 48), (height, width), (0, 0)))
    window = torch.from_numpy(image).permute(2, 0, 1)
    assert torch.equal(pixels, TF.resize(window, [32, 48], antialias=True))
    nearest = TF.resize(torch.from_numpy(mask)[None], [32, 48], InterpolationMode.NEAREST_EXACT)[0]
    assert torch.equal(labels, nearest)
