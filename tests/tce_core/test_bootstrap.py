"""`tce_core.bootstrap` compared with drawing the images one by one."""

import time

import numpy as np
import pytest

from tce_core.bootstrap import bootstrap_intervals, shared_intervals
from tce_core.fairness import fairness_report
from tce_core.iou import iou_from_counts


def image_like_counts(n, k, seed=0):
    return np.random.default_rng(seed).integers(0, 1000, (n, 3, k))


def test_bootstrap_agrees_with_drawing_the_images_one_by_one():
    counts = image_like_counts(30, 5)
    counts[3:, :, 4] = 0  # a rare class, absent from some resamples
    rng = np.random.default_rng(1)
    reports = [
        fairness_report(iou_from_counts(counts[rng.integers(0, 30, 30)].sum(axis=0))).as_dict() for _ in range(4000)
    ]
    for name, interval in bootstrap_intervals(counts, resamples=4000, level=0.9).items():
        direct = np.percentile([report[name] for report in reports], [5, 95])
        assert interval == pytest.approx(direct, abs=0.1 * np.ptp(direct)), name


def test_bootstrap_of_identical_images_has_no_width():
    counts = np.repeat(image_like_counts(1, 6), 20, axis=0)
    report = fairness_report(iou_from_counts(counts.sum(axis=0))).as_dict()
    for name, ends in bootstrap_intervals(counts).items():
        assert ends == pytest.approx((report[name], report[name])), name


def test_bootstrap_narrows_with_more_images_and_repeats_with_the_seed():
    few, many = (bootstrap_intervals(image_like_counts(n, 6))["miou"] for n in (20, 2000))
    assert few[1] - few[0] > 5 * (many[1] - many[0])
    counts = image_like_counts(20, 6)
    assert bootstrap_intervals(counts, seed=3) == bootstrap_intervals(counts, seed=3)
    assert bootstrap_intervals(counts, seed=3) != bootstrap_intervals(counts, seed=4)


def test_bootstrap_survives_void_images():
    counts = image_like_counts(3, 4)
    counts[:2] = 0
    assert all(np.isfinite(interval).all() for interval in bootstrap_intervals(counts).values())


@pytest.mark.parametrize(
    ("counts", "options", "message"),
    [
        (np.zeros((0, 3, 4)), {}, "no valid pixel"),
        (np.zeros((5, 3, 4)), {}, "no valid pixel"),
        (np.ones((5, 4)), {}, r"must be \(N, 3, K\)"),
        (np.ones((5, 3, 4)), {"level": 95}, "between 0 and 1"),
    ],
)
def test_bootstrap_refuses(counts, options, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_intervals(counts, **options)


def test_several_predictions_share_the_resamples():
    counts = np.stack([image_like_counts(30, 5, seed) for seed in range(3)])
    assert shared_intervals(counts) == [bootstrap_intervals(one) for one in counts]


def test_one_prediction_without_pixels_is_refused():
    counts = np.stack([image_like_counts(4, 3), np.zeros((4, 3, 3), np.int64)])
    with pytest.raises(ValueError, match="no valid pixel"):
        shared_intervals(counts)
    with pytest.raises(ValueError, match=r"must be \(T, N, 3, K\)"):
        shared_intervals(counts[0])


def test_bootstrap_of_a_large_split_is_quick():
    counts = image_like_counts(2000, 150)
    start = time.perf_counter()
    bootstrap_intervals(counts)
    assert time.perf_counter() - start < 2  # seconds
