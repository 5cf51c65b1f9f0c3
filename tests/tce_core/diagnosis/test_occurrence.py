"""What masks show of each class, against numpy and scipy, and on masks whose regions are known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from tce_core import VOID
from tce_core.diagnosis.occurrence import BORDER, SMALL_REGION, occurrence, statistics_of

K = 3


def occurrence_of(masks, classes=K):
    counts = np.array([np.bincount(mask.ravel(), minlength=256)[:classes] for mask in masks])
    return occurrence(counts, [statistics_of(mask) for mask in masks])


def test_known_masks():
    """In two images of 100x200: class 0 is the background, class 1 two squares, class 2 is in one image only."""
    one, two = np.zeros((100, 200), np.uint8), np.zeros((100, 200), np.uint8)
    one[20:40, 20:40] = 1  # 400 pixels
    one[60:70, 60:70] = 1  # 100 pixels: small
    two[0:5, :] = 2  # exactly the border above, 1000 pixels
    two[50:60, 95:100] = VOID
    found = occurrence_of([one, two])
    assert found.total == 2
    assert found.images.tolist() == [2, 1, 1]
    assert found.pixels.tolist() == [40_000 - 500 - 1000 - 50, 500, 1000]
    assert found.share.tolist() == pytest.approx([38_450 / 39_950, 500 / 39_950, 1000 / 39_950])
    assert found.regions.tolist() == [2, 2, 1]
    assert found.median_size.tolist() == [(19_500 + 18_950) / 2, 250, 1000]
    assert found.half_size.tolist() == [19_500, 400, 1000]
    assert found.small_share.tolist() == [0, 0.2, 0]
    assert found.border_share[1:].tolist() == [0, 1]


@given(st.lists(arrays(np.uint8, (20, 40), elements=st.sampled_from([0, 1, 2, VOID])), min_size=1, max_size=3))
def test_the_figures_are_those_of_numpy_and_scipy(masks):
    found = occurrence_of(masks)
    edge = np.ones((20, 40), dtype=bool)
    edge[1:-1, 2:-2] = False  # a twentieth of 20 and of 40
    assert BORDER == 0.05
    for k in range(K):
        sizes = []
        for mask in masks:
            regions, _ = ndimage.label(mask == k, structure=np.ones((3, 3)))
            sizes += np.bincount(regions.ravel())[1:].tolist()
        pixels = sum(sizes)
        assert found.pixels[k] == pixels
        assert found.regions[k] == len(sizes)
        if pixels:
            assert found.median_size[k] == np.median(sizes)
            assert found.half_size[k] == np.median(np.repeat(sizes, sizes))
            assert found.small_share[k] == pytest.approx(sum(s for s in sizes if s < SMALL_REGION) / pixels)
            assert found.border_share[k] == pytest.approx(sum((mask[edge] == k).sum() for mask in masks) / pixels)
        else:
            assert np.isnan([found.median_size[k], found.half_size[k], found.small_share[k]]).all()


def test_a_split_without_labels_has_no_shares():
    found = occurrence_of([np.full((10, 10), VOID, np.uint8)])
    assert found.images.tolist() == [0] * K
    assert np.isnan(found.share).all()
