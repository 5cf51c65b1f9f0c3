"""Regions of masks, against scipy.ndimage.label."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from tce_core import VOID
from tce_core.diagnosis.regions import regions_of


def labelled(mask):
    """The (class, size) of every region, one class after the other."""
    found = []
    for k in sorted(set(np.unique(mask).tolist()) - {VOID}):
        regions, _ = ndimage.label(mask == k, structure=np.ones((3, 3)))
        found += [(k, size) for size in np.bincount(regions.ravel())[1:].tolist()]
    return sorted(found)


def ours(mask):
    regions = regions_of(mask)
    return sorted(zip(regions.classes.tolist(), regions.sizes.tolist(), strict=True))


@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.sampled_from([0, 1, 2, VOID])))
def test_the_regions_are_those_of_scipy(mask):
    assert ours(mask) == labelled(mask)


@pytest.mark.parametrize("classes", [2, 5, 30])
def test_the_regions_of_noise_are_those_of_scipy(classes):
    mask = np.random.default_rng(classes).integers(classes, size=(70, 90)).astype(np.uint8)
    assert ours(mask) == labelled(mask)


def test_known_regions():
    mask = np.zeros((6, 8), np.uint8)
    mask[1:3, 1:3] = 1  # a square
    mask[3, 3] = 1  # touches it at a corner
    mask[5, 7] = 1  # alone
    mask[0, 5:8] = VOID
    assert ours(mask) == [(0, 6 * 8 - 6 - 3), (1, 1), (1, 5)]


def test_a_mask_of_void_has_no_region():
    assert ours(np.full((3, 4), VOID, np.uint8)) == []
