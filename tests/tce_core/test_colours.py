"""`tce_core.colours`: the affine colour changes against torchvision's operations, and ImageNet's normalisation."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as TF

from tce_core.colours import IMAGENET_MEAN, IMAGENET_STD, hue_matrix, jitter, normalise, saturation_matrix

seeds = st.integers(0, 2**32)
strengths = st.floats(0, 1)


def changed(images, matrices):
    """The colours 0..255 after `normalise` with these matrices, (B, 3, H, W)."""
    normal = normalise(images, torch.as_tensor(np.stack(matrices), dtype=torch.float32))
    mean, std = (torch.tensor(x).view(3, 1, 1) * 255 for x in (IMAGENET_MEAN, IMAGENET_STD))
    return normal * std + mean


def torchvision_jitter(image, strength, rng):
    """What `jitter` draws, done by torchvision on floats: nothing is rounded. Also whether any of it was clipped."""
    factors = rng.uniform(1 - strength, 1 + strength, 3)
    hue = float(rng.uniform(-strength, strength)) / 40
    steps = [
        lambda x: TF.adjust_brightness(x, float(factors[0])),
        lambda x: TF.adjust_contrast(x, float(factors[1])),
        lambda x: TF.adjust_saturation(x, float(factors[2])),
        lambda x: TF.adjust_hue(x, hue),
    ]
    x = image / 255
    for step in rng.permutation(4):
        x = steps[step](x)
    clipped = bool((x <= 0).any() or (x >= 1).any())
    return x * 255, hue, clipped


def pastel(seed, batch=1):
    """Images of middling colours: the changes seldom reach black or white, where torchvision clips."""
    return torch.from_numpy(np.random.default_rng(seed).integers(100, 150, (batch, 3, 5, 7), np.uint8))


@given(seeds, st.floats(0, 0.4))
def test_a_jitter_is_torchvision_s(seed, strength):
    images = pastel(seed)
    expected, hue, clipped = torchvision_jitter(images[0], strength, np.random.default_rng(seed))
    assert not clipped
    ours = changed(images, [jitter(strength, np.random.default_rng(seed))])[0]
    # A hue of h turns differs by 3.6 h of the range of colours, here 50, widened by contrast and the others.
    assert (ours - expected).abs().max() < 0.05 + 3.6 * abs(hue) * 50 * (1 + strength) ** 3


@given(seeds, st.floats(0.5, 1.5))
def test_saturation_is_torchvision_s_to_rounding(seed, factor):
    images = pastel(seed)
    matrices = np.stack([saturation_matrix(factor), np.zeros((3, 3))])
    expected = TF.adjust_saturation(images / 255, factor) * 255
    assert (changed(images, [matrices]) - expected).abs().max() < 0.05


@given(st.floats(-0.025, 0.025), seeds)
def test_a_hue_stays_within_its_stated_distance_of_torchvision_s(turns, seed):
    image = torch.from_numpy(np.random.default_rng(seed).random((3, 40, 40), np.float32))
    turned = (torch.from_numpy(hue_matrix(turns)).float() @ image.flatten(1)).view_as(image)
    assert (turned - TF.adjust_hue(image, turns)).abs().max() <= 3.6 * abs(turns) + 1e-5


def test_a_third_of_a_turn_moves_red_to_green_to_blue():
    assert hue_matrix(1 / 3) @ [1, 0, 0] == pytest.approx([0, 1, 0])
    assert hue_matrix(-1 / 3) @ [1, 0, 0] == pytest.approx([0, 0, 1])
    assert hue_matrix(0.1) @ [1, 1, 1] == pytest.approx([1, 1, 1])


@given(seeds, strengths)
def test_each_image_of_a_batch_has_its_own_colours(seed, strength):
    images = pastel(seed, batch=3)
    matrices = [jitter(strength, np.random.default_rng([seed, i])) for i in range(3)]
    alone = [changed(images[i : i + 1], matrices[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(changed(images, matrices), torch.cat(alone))


@given(seeds)
def test_colours_stay_between_black_and_white(seed):
    images = torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (1, 3, 8, 8), np.uint8))
    result = changed(images, [jitter(1.0, np.random.default_rng(seed))])
    assert result.min() > -1e-3
    assert result.max() < 255.001


def test_no_jitter_changes_nothing():
    images = pastel(0)
    assert changed(images, [jitter(0.0, np.random.default_rng(0))]) == pytest.approx(images.float(), abs=1e-3)


def test_normalising_uses_imagenet_statistics():
    # (255 * 0.485 - 255 * 0.485) / ... = 0 and (255 - 123.675) / (255 * 0.229) = 0.515 / 0.229.
    white = normalise(torch.full((1, 3, 1, 1), 255, dtype=torch.uint8)).flatten().tolist()
    assert white == pytest.approx([0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225])
    black = normalise(torch.zeros(1, 3, 1, 1, dtype=torch.uint8)).flatten().tolist()
    assert black == pytest.approx([-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225])


def test_normalising_leaves_its_input_as_it_was():
    images = pastel(1)
    before = images.clone()
    normalise(images)
    assert torch.equal(images, before)
