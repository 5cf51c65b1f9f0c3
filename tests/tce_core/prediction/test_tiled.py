"""Tiles: their weights, what they must not change, and the tile that suits an image."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal.windows import hann
from torch import nn

from tce_core.colours import normalise
from tce_core.model import build_model
from tce_core.prediction.tiled import bands, cover, default_tile

TILES = st.integers(1, 8).map(lambda n: 32 * n)


def whole(model, image, tile):
    parts = [(top, band.clone()) for top, band in bands(model, image, tile)]
    tops = np.cumsum([0, *(band.shape[1] for _, band in parts)])
    assert [top for top, _ in parts] == tops[:-1].tolist()
    return torch.cat([band for _, band in parts], dim=1)


@given(st.integers(1, 1500), TILES)
def test_the_weights_of_an_axis_sum_to_1_at_every_pixel(length, tile):
    total, covered = np.zeros(length), np.zeros(length, int)
    pieces = cover(length, tile)
    for start, weights in pieces:
        assert start % 16 == 0
        assert len(weights) == min(tile, length - start) or len(pieces) == 1
        assert (weights >= 0).all()
        total[start : start + len(weights)] += weights.numpy()
        covered[start : start + len(weights)] += 1
    assert total == pytest.approx(np.ones(length), abs=1e-6)
    if len(pieces) > 1:
        shared = [start + tile - later for (start, _), (later, _) in pairwise(pieces)]
        assert min(shared) >= tile / 4
        assert covered.max() <= 3


def test_between_two_tiles_the_weights_are_a_hann_window():
    (first, left), (second, right) = cover(64 + 48, 64)
    assert (first, second) == (0, 48)
    window = hann(65)[1:33:2]  # at the middles of the 16 pixels that both tiles have
    assert right[:16].numpy() == pytest.approx(window, abs=1e-6)
    assert left[48:].numpy() == pytest.approx(window[::-1], abs=1e-6)
    assert (left[:48] == 1).all()


@pytest.mark.parametrize("size", [(1, 1), (64, 64), (97, 200), (161, 65), (300, 90)])
@pytest.mark.parametrize("tile", [32, 64, 128])
def test_a_model_of_single_pixels_gives_the_same_logits_in_tiles(size, tile):
    torch.manual_seed(0)
    model, image = nn.Conv2d(3, 5, 1), torch.randint(256, (3, *size), dtype=torch.uint8)
    expected = model(normalise(image[None]))[0]
    torch.testing.assert_close(whole(model, image, 0), expected)
    torch.testing.assert_close(whole(model, image, tile), expected, atol=1e-5, rtol=1e-5)


class Cells(nn.Module):
    """Like an encoder of stride 16 that sees a cell and its neighbours."""

    def __init__(self):
        super().__init__()
        self.down, self.near = nn.Conv2d(3, 4, 16, 16), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        return nn.functional.interpolate(self.near(self.down(x)), scale_factor=16)


def test_only_pixels_near_the_border_of_a_tile_can_differ():
    """A tile that began elsewhere than at a cell of the model would change every pixel."""
    torch.manual_seed(0)
    model, image, tile = Cells(), torch.randint(256, (3, 250, 330), dtype=torch.uint8), 128
    one, many = whole(model, image, 0), whole(model, image, tile)
    near = torch.zeros(250, 330, dtype=torch.bool)
    for axis, length in enumerate((250, 330)):
        for start, _ in cover(length, tile):
            for edge in (start, start + tile):
                if 0 < edge < length:
                    near.narrow(axis, max(0, edge - 16), min(32, length - edge + 16)).fill_(True)
    far = ~near
    assert far.float().mean() > 0.2
    torch.testing.assert_close(many[:, far], one[:, far], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(many, one, atol=1e-3)


def test_a_tile_as_large_as_the_image_is_the_whole_image(fast_config):
    torch.manual_seed(0)
    model, image = build_model(fast_config(), 6).eval(), torch.randint(256, (3, 90, 120), dtype=torch.uint8)
    assert torch.equal(whole(model, image, 128), whole(model, image, 0))
    assert not torch.allclose(whole(model, image, 64), whole(model, image, 0), atol=1e-4)


@given(st.integers(1, 20000), st.integers(1, 6000), st.integers(1, 255))
def test_the_default_tile_bounds_what_is_kept(height, width, classes):
    tile = default_tile(height, width, classes)
    assert tile in (0, 256, 512, 768, 1024)
    if tile == 0:
        assert height * width <= 2**21
        assert classes * height * width <= 2**28
    else:
        assert classes * tile * width <= 2**28 or tile == 256


def test_the_default_of_known_sizes():
    assert [default_tile(*size, 19) for size in ((360, 480), (1024, 2048), (3000, 4000))] == [0, 0, 1024]
    assert default_tile(1024, 2048, 150) == 768
