"""Tiles cover a batch of logits, and stay small."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tce_core.tiles import tiles

sides = st.integers(1, 9)


@given(st.tuples(sides, sides, sides, sides), st.integers(1, 3000))
def test_every_row_of_every_image_is_in_one_tile(shape, size):
    logits = torch.zeros(shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tce_core.tiles.TILE", size)
        parts = list(tiles(logits))
    for images, rows in parts:
        logits[images, :, rows] += 1
    assert (logits == 1).all()
    one_row = shape[1] * shape[3]
    assert all(logits[images, :, rows].numel() <= max(size, one_row) for images, rows in parts)


def test_a_batch_that_fits_is_one_tile():
    assert len(list(tiles(torch.zeros(8, 10, 32, 48)))) == 1
