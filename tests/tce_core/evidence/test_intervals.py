"""Intervals compared with those of `scipy.stats` where these are exact, and with simulated truth where none is."""

import sys
import time
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import benchmarks
from tce_core.evidence.intervals import (
    Estimate,
    Part,
    Spread,
    _bias,
    difference,
    estimate,
    estimate_classes,
    estimate_worst,
    image_intervals,
    spread,
)
from tce_core.evidence.jackknife import Jackknife
from tce_core.evidence.measures import miou, std_iou, worst_iou, worst_quarter


@pytest.fixture
def coverage(monkeypatch):
    """The simulator of `benchmarks/coverage.py`."""
    monkeypatch.syspath_prepend(str(Path(next(iter(benchmarks.__path__)))))
    sys.modules.pop("coverage", None)
    import coverage

    yield coverage
    sys.modules.pop("coverage", None)


def image_like_counts(n, k, seed=0):
    return np.random.default_rng(seed).integers(0, 1000, (n, 3, k))


def equal_images(ratios):
    """Counts of one class whose union has 1000 pixels in every image: the IoU is the mean of the ratios."""
    tp = (1000 * np.asarray(ratios)).round().astype(int)
    return np.stack([tp, 1000 - tp, 0 * tp], axis=1)[..., None]


def test_of_equal_images_the_variance_is_that_of_a_mean():
    ratios = np.random.default_rng(0).uniform(0.2, 0.8, 40).round(3)
    model = Jackknife.of(equal_images(ratios))
    found = spread([model.iou[0]], [model.values(miou)])
    assert found.value == pytest.approx(ratios.mean())
    assert found.variance == pytest.approx(stats.sem(ratios) ** 2)
    assert 20 < found.images.freedom <= 39


def test_of_equal_values_over_images_the_interval_is_that_of_the_seeds():
    values = [0.42, 0.45, 0.41, 0.47]
    found = spread(values, np.repeat(np.array(values)[:, None], 9, axis=1)).interval(0.9)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx((low, high))


def test_a_paired_difference_is_narrower_than_its_parts():
    common = np.random.default_rng(1).uniform(0.2, 0.7, (30, 1))
    one, other = (
        [Jackknife.of(equal_images(common[:, 0] + gain + of_seed)) for of_seed in (0, 0.01)] for gain in (0.1, 0)
    )
    found, alone = difference(one, other, miou), estimate(one, miou)
    assert found.value == pytest.approx(0.1)
    assert found.high - found.low < 0.1 * (alone.high - alone.low)


def test_ends_lie_in_the_unit_interval_and_a_certain_figure_has_no_width():
    assert Spread(0.02, Part(0.01, 3.0)).interval_in_unit(0.99).low > 0
    assert Spread(0.98, Part(0.01, 3.0)).interval_in_unit(0.99).high < 1
    assert Spread(0.0, Part(0.0, 3.0)).interval_in_unit(0.95) == Estimate(0.0, 0.0, 0.0)
    counts = np.repeat(image_like_counts(1, 6), 20, axis=0)
    for name, (low, high) in image_intervals(counts).items():
        assert high - low < 1e-6, name


def test_one_image_says_nothing_about_others():
    one = image_like_counts(1, 3)
    assert set(image_intervals(one).values()) == {(0.0, 1.0)}
    counts = image_like_counts(20, 3)
    counts[1:, :, 0] = 0
    counts[:, :, 1] = 0
    alone, absent, common = estimate_classes([Jackknife.of(counts)])
    assert (alone.low, alone.high) == (0.0, 1.0)
    assert np.isnan(absent.value)
    assert 0 < common.low < common.value < common.high < 1


def test_more_images_make_it_narrower():
    few, many = (image_intervals(image_like_counts(n, 6))["miou"] for n in (20, 2000))
    assert few[1] - few[0] > 5 * (many[1] - many[0])


def test_the_worst_class_is_at_most_as_good_as_every_class_that_may_be_it():
    """Of ten equal classes the lowest is too low by luck. The interval knows, and reaches beyond that of the class."""
    rng = np.random.default_rng(0)
    counts = np.concatenate([equal_images(rng.uniform(0.1, 0.9, 50)) for _ in range(10)], axis=2)
    model = [Jackknife.of(counts)]
    lowest = min(estimate_classes(model), key=lambda one: one.value)
    found = estimate_worst(model)
    assert found.value == lowest.value
    assert found.high > lowest.high


def test_what_noise_adds_to_a_measure_is_known():
    """Of four equal classes with normal noise, the lowest and the standard deviation have known means."""
    signs = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]]).repeat(2, axis=1)
    error = 0.02
    model = Jackknife(np.full(4, 0.5), 0.5 + signs * error / 3**0.5, np.full((4, 4), 0.25))
    assert _bias([model], miou) == pytest.approx(0, abs=1e-12)
    assert _bias([model], worst_quarter) == pytest.approx(-1.0294 * error, rel=0.1)
    assert _bias([model], std_iou) == pytest.approx(0.9213 * error, rel=0.1)
    mirrored = Jackknife(model.iou, 1 - model.left, model.weight)  # another seed has noise of its own
    assert _bias([model, mirrored], std_iou) == pytest.approx(0.9213 * error, rel=0.1)
    near_zero = Jackknife(np.array([0.005, 0.3, 0.6, 0.9]), model.left - 0.495, model.weight)
    assert _bias([near_zero], miou) == pytest.approx(0, abs=1e-12)
    spread_out = Jackknife(np.array([0.1, 0.4, 0.6, 0.9]), model.left, model.weight)
    assert _bias([spread_out], worst_quarter) == pytest.approx(0, abs=1e-6)
    found = estimate([model], worst_quarter)
    assert found.low <= found.value < 0.5 + error < found.high


@pytest.mark.parametrize("level", [0, 1, 95])
def test_levels_are_fractions(level):
    with pytest.raises(ValueError, match="between 0 and 1"):
        image_intervals(np.ones((5, 3, 4)), level)
    with pytest.raises(ValueError, match=r"values must be \(S,\)"):
        spread([1.0], [[1.0], [2.0]])


@pytest.mark.parametrize("kind", ["60 images, 10 classes, 2 rare", "100 images, 5 of 10 equally bad"])
def test_the_truth_is_inside_where_a_bootstrap_misses_it(coverage, kind):
    """200 data sets: 95% inside are 190 +- 3, so 181 or fewer are a fault (3 standard deviations)."""
    found = coverage.one_model(coverage.KINDS[kind], draws=200, seed=1)
    for name, (ours, bootstrap) in found.items():
        assert ours > 0.905, (name, ours)
        assert ours > bootstrap
    assert found["worst class"][1] < 0.9  # what a percentile bootstrap does


@pytest.mark.slow
def test_the_truth_is_inside_for_all_kinds(coverage):
    for kind in coverage.KINDS.values():
        found = coverage.one_model(kind, draws=400, seed=2)
        for name, (ours, _) in found.items():
            assert ours > 0.915, (kind, name)
    for seeds in (2, 3, 5):
        for name, inside in coverage.two_methods(coverage.KINDS["60 images, 10 classes, 2 rare"], seeds, 200).items():
            assert inside > 0.905, (seeds, name)


def test_intervals_of_a_large_split_are_quick():
    counts = image_like_counts(2000, 150)
    started = time.perf_counter()
    image_intervals(counts)
    assert time.perf_counter() - started < 5  # seconds


def test_the_lowest_of_several_seeds_is_their_mean_lowest():
    models = [Jackknife.of(image_like_counts(30, 4, seed)) for seed in range(3)]
    found = estimate_worst(models)
    assert found.value == pytest.approx(np.mean([worst_iou(m.iou) for m in models]))
    assert found.low < found.value < found.high
