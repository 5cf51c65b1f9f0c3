"""The choice of tau, and its measure on images that did not make it."""

import numpy as np
import pytest

from sweeps.storage.objectives import Floor, Objectives
from sweeps.strategy.cross_fit import choose_tau, cross_fit, halves, held_out, scores_of
from tce_core.results import Scores

TAUS = (0.0, 0.5, 1.0)
WORST = Objectives("worst_iou", 0.01)


def counts(*ious, images=6):
    """Counts of (tau, class) IoUs, the same in each image."""
    percent = np.array(ious) * 100
    one = np.stack([percent, np.zeros_like(percent), 100 - percent], axis=1)  # (T, 3, K)
    return np.repeat(one[:, None], images, axis=1).round().astype(np.int64)


def curve(*ious):
    return [Scores(tau, iou) for tau, iou in zip(TAUS, ious, strict=False)]


@pytest.mark.parametrize(
    ("objectives", "expected"),
    [
        (WORST, 1),  # tau 1 has the best worst class, but mIoU falls from 0.5 to 0.45
        (Objectives("worst_iou", 0.06), 2),
        (Objectives("miou", 0.01), 1),
        (Objectives("std_iou", 0.1), 2),
        (Objectives("iou:b", 0.1, ("a", "b")), 0),
        (Objectives("worst_iou", 0.06, ("a", "b"), (Floor("iou:b", 0.6, relative=False),)), 1),
    ],
)
def test_the_best_allowed_strength_is_chosen(objectives, expected):
    assert choose_tau(curve((0.1, 0.9), (0.3, 0.72), (0.4, 0.5)), objectives) == expected


def test_the_plain_model_wins_if_nothing_else_is_allowed():
    assert choose_tau(curve((0.1, 0.9), (0.3, 0.5)), WORST) == 0
    assert choose_tau(curve((0.2, 0.8), (0.2, 0.8)), WORST) == 0  # a tie


def test_halves_that_agree_report_what_was_chosen():
    found = cross_fit(TAUS, counts([0.1, 0.9], [0.3, 0.72], [0.4, 0.5]), WORST)
    assert found.taus == (0.5, 0.5)
    assert (found.plain.report.worst_iou, found.plain.report.miou) == (pytest.approx(0.1), pytest.approx(0.5))
    assert (found.adjusted.report.worst_iou, found.adjusted.report.miou) == (pytest.approx(0.3), pytest.approx(0.51))


def test_a_choice_is_measured_on_the_other_half():
    """Each image alone prefers a tau that harms the other one."""
    good, bad = [0.5, 0.9], [0.0, 0.9]
    one, other = (counts([0.2, 0.9], *pair, images=1) for pair in ((good, bad), (bad, good)))
    both = np.concatenate([one, other], axis=1)
    found = cross_fit(TAUS, both, WORST)
    assert sorted(found.taus) == [0.5, 1.0]
    assert found.adjusted.report.worst_iou == 0.0
    assert found.plain.report.worst_iou == pytest.approx(0.2)


def test_each_part_has_the_strength_that_the_others_choose():
    early, late = ([[0.2, 0.8], best, other] for best, other in (([0.5, 0.8], [0.1, 0.8]), ([0.1, 0.8], [0.4, 0.8])))
    three = np.concatenate([counts(*pairs, images=2) for pairs in (early, early, late)], axis=1)
    parts = np.array([0, 0, 1, 1, 2, 2])
    taus, found = held_out(TAUS, three, parts, WORST)
    for part in range(3):
        others = [scores_of(tau, of_tau[parts != part]) for tau, of_tau in zip(TAUS, three, strict=True)]
        place = choose_tau(others, WORST)
        assert taus[part] == TAUS[place]
        np.testing.assert_array_equal(found[parts == part], three[place, parts == part])
    assert taus[2] == 0.5  # what both other parts prefer, though its own images prefer 1


def test_without_other_images_there_is_no_choice():
    one = counts([0.1, 0.9], [0.3, 0.7], [0.4, 0.5], images=3)
    one[:, 1:] = 0
    assert held_out(TAUS, one, np.array([0, 0, 0]), WORST) is None
    assert held_out(TAUS, one, np.array([0, 1, 1]), WORST) is None


def test_noise_has_no_gain_on_held_out_images():
    """All strengths are equally good: the best of many is better than the plain model only where it was chosen."""
    rng = np.random.default_rng(0)
    chosen, held_out = [], []
    for seed in range(30):
        tp = rng.binomial(40, 0.5, (13, 20, 4))
        noisy = np.stack([tp, 40 - tp, 0 * tp], axis=2)
        sums = noisy.sum(1)
        best = sums[choose_tau([Scores(0.0, tuple(tp / (tp + fp))) for tp, fp, _ in sums], WORST)]
        found = cross_fit(np.linspace(0, 1.5, 13), noisy, WORST, seed)
        chosen.append((best[0] / best.sum(0)).min() - found.plain.report.worst_iou)
        held_out.append(found.adjusted.report.worst_iou - found.plain.report.worst_iou)
    assert np.mean(chosen) > 0.01
    assert abs(np.mean(held_out)) < np.mean(chosen) / 3


def test_one_image_cannot_be_halved():
    one = counts([0.1, 0.9], [0.3, 0.7], [0.4, 0.5], images=1)
    assert cross_fit(TAUS, one, WORST) is None
    assert cross_fit(TAUS, np.concatenate([one, 0 * one], axis=1), WORST) is None  # the second is void


@pytest.mark.parametrize("seed", range(20))
def test_both_halves_show_a_class_of_two_images(seed):
    truth = np.array([[5, 1 if image in (2, 7) else 0] for image in range(10)])
    half_of = halves(np.stack([truth, 0 * truth, 0 * truth], axis=1)[None], seed)
    assert sorted(half_of) == [0] * 5 + [1] * 5
    assert truth[half_of == 0, 1].any()
    assert truth[half_of == 1, 1].any()


def test_a_leading_class_that_one_half_lacks_has_no_held_out_figures():
    counts = np.zeros((2, 4, 3, 2), np.int64)
    counts[:, :, 0, 0] = 10
    counts[:, 0, 0, 1] = 5  # class b is in one image only
    objectives = Objectives("iou:b", 0.01, ("a", "b"))
    assert cross_fit((0.0, 1.0), counts, objectives) is None
    counts[:, 1, 0, 1] = 5
    assert cross_fit((0.0, 1.0), counts, objectives) is not None
