"""How often each class is the worst, compared with drawing the images one by one."""

import time

import numpy as np
import pytest

from tce_core.evidence.resampling import worst_class_shares


def test_it_agrees_with_drawing_images_one_by_one():
    rng = np.random.default_rng(0)
    seeds = [rng.integers(1, 30, (12, 3, 4)) for _ in range(2)]
    seeds[0][:, :, 3] = 0  # an absent class
    worst = []
    for _ in range(4000):
        counts = seeds[rng.integers(2)]
        tp, fp, fn = counts[rng.integers(0, 12, 12)].sum(0)
        worst.append(np.nanargmin(np.where(tp + fp + fn > 0, tp / np.maximum(tp + fp + fn, 1), np.nan)))
    direct = np.bincount(worst, minlength=4) / len(worst)
    assert worst_class_shares(seeds, 4000) == pytest.approx(direct, abs=0.04)
    assert worst_class_shares(seeds).sum() == pytest.approx(1, abs=0.01)  # ties are rare
    seeds[1][:, 0, :3] = 0
    np.testing.assert_array_equal(worst_class_shares(seeds[1:]), [1, 1, 1, 0])  # three classes at 0
    assert worst_class_shares(seeds[:1])[3] == 0


def test_ten_thousand_resamples_of_a_large_split_are_quick():
    counts = np.random.default_rng(0).integers(0, 1000, (500, 3, 19))
    started = time.perf_counter()
    worst_class_shares([counts] * 3)
    assert time.perf_counter() - started < 5  # seconds; about half a second on one core


def test_nothing_to_resample_is_refused():
    for counts in ([], [np.zeros((2, 3, 4), int)]):
        with pytest.raises(ValueError, match=r"no valid pixel|no seed"):
            worst_class_shares(counts)
