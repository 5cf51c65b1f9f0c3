"""The IoUs without each image, compared with counting the other images again."""

import numpy as np
import pytest

from tce_core.evidence.jackknife import Jackknife
from tce_core.evidence.measures import miou
from tce_core.iou import iou_from_counts


def test_without_an_image_the_others_are_counted():
    counts = np.random.default_rng(0).integers(0, 50, (7, 3, 4))
    counts[1:, :, 3] = 0  # a class that one image shows
    counts[2] = 0  # an image without a valid pixel
    found, seen = Jackknife.of(counts), np.delete(counts, 2, axis=0)
    np.testing.assert_allclose(found.iou, iou_from_counts(counts.sum(0)))
    for i in range(len(seen)):
        np.testing.assert_allclose(found.left[i], iou_from_counts(np.delete(seen, i, axis=0).sum(0)))
    np.testing.assert_allclose(found.weight.sum(0), 1)
    assert np.isnan(found.left[0, 3])
    assert found.values(miou)[0] == pytest.approx(np.nanmean(found.left[0]))


def test_an_only_image_leaves_the_measure_as_it_is():
    counts = np.array([[[3, 1], [1, 1], [0, 2]]])
    assert Jackknife.of(counts).values(miou) == pytest.approx([np.mean([3 / 4, 1 / 4])])


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (np.zeros((0, 3, 4)), "no valid pixel"),
        (np.zeros((5, 3, 4)), "no valid pixel"),
        (np.ones((5, 4)), r"must be \(N, 3, K\)"),
    ],
)
def test_counts_without_a_pixel_are_refused(counts, message):
    with pytest.raises(ValueError, match=message):
        Jackknife.of(counts)
