"""The means over pixels, compared with torch and with their formulas pixel by pixel."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from tce_core import VOID
from tce_core.losses import build_loss
from tests.tce_core.losses.batches import K, assert_same, batch, logits_with, value_and_gradient

WEIGHTS = (0.5, 2.0, 1.25, 0.25)
SHARES = (0.6, 0.3, 0.099, 0.001)
seeds = st.integers(0, 10**6)


def mean_cross_entropy(logits, labels):
    return F.cross_entropy(logits, labels, ignore_index=VOID)


@given(seeds)
def test_mcce_is_torch_cross_entropy(seed):
    assert_same(build_loss("mcce"), mean_cross_entropy, *batch(seed))


@given(seeds)
def test_weighted_ce_is_torch_cross_entropy_with_weights(seed):
    oracle = lambda x, y: F.cross_entropy(x, y, weight=torch.tensor(WEIGHTS), ignore_index=VOID)  # noqa: E731
    assert_same(build_loss("weighted_ce", class_weights=WEIGHTS), oracle, *batch(seed))


def test_the_loss_of_stochastic_tilt_is_plain_cross_entropy():
    assert build_loss("stochastic_tilt") == build_loss("mcce")


# Focal


@given(seeds)
def test_focal_without_focus_and_weights_is_cross_entropy(seed):
    assert_same(build_loss("focal", focal_gamma=0.0), mean_cross_entropy, *batch(seed))


@given(seeds, st.sampled_from([0.5, 1.0, 2.0, 5.0]))
def test_focal_is_its_literal_formula(seed, gamma):
    def literal(logits, labels):
        p = logits.softmax(1)
        terms = [
            WEIGHTS[y] * (1 - p[b, y, i, j]) ** gamma * -p[b, y, i, j].log()
            for b, image in enumerate(labels.tolist())
            for i, row in enumerate(image)
            for j, y in enumerate(row)
            if y != VOID
        ]
        return sum(terms) / len(terms)

    assert_same(build_loss("focal", class_weights=WEIGHTS, focal_gamma=gamma), literal, *batch(seed, images=1))


def test_focal_by_hand():
    # One pixel of p = 1/4: (3/4)^2 log 4 = 0.5625 * 1.386294.
    value = build_loss("focal")(logits_with([[[math.log(4)]]]), torch.zeros(1, 1, 1, dtype=torch.int64))
    assert value.item() == pytest.approx(0.5625 * math.log(4), rel=1e-6)


# Hard pixels


def test_hard_pixels_by_hand():
    logits = logits_with([[[1.0, 2.0, 3.0, 4.0, 9.0]]])
    labels = torch.tensor([[[0, 0, 0, 0, VOID]]])
    # Of four valid pixels: the hardest one; the hardest two; the hardest two and 0.4 of the third.
    assert build_loss("ohem", hard_share=0.25)(logits, labels).item() == pytest.approx(4, rel=1e-6)
    assert build_loss("ohem", hard_share=0.5)(logits, labels).item() == pytest.approx(3.5, rel=1e-6)
    assert build_loss("ohem", hard_share=0.6)(logits, labels).item() == pytest.approx((4 + 3 + 0.4 * 2) / 2.4, rel=1e-6)


@given(seeds, st.integers(1, 60))
def test_hard_pixels_are_the_mean_of_the_largest_losses_of_torch(seed, count):
    logits, labels = batch(seed)
    valid = int((labels != VOID).sum())
    count = min(count, valid)

    def oracle(logits, labels):
        pixels = F.cross_entropy(logits, labels, ignore_index=VOID, reduction="none").flatten()
        return pixels.topk(count).values.mean()

    assert_same(build_loss("ohem", hard_share=count / valid), oracle, logits, labels)


@given(seeds)
def test_all_pixels_as_hard_pixels_are_cross_entropy(seed):
    assert_same(build_loss("ohem", hard_share=1.0), mean_cross_entropy, *batch(seed))


# Adjusted logits


@given(seeds, st.floats(0, 2))
def test_logit_adjusted_is_the_pairwise_margin_form(seed, tau):
    """The pairwise form of arXiv 2007.07314: log(1 + sum_{k != y} (pi_k / pi_y)^tau e^{f_k - f_y})."""

    def literal(logits, labels):
        terms = [
            torch.log(
                1
                + sum(
                    (SHARES[k] / SHARES[y]) ** tau * torch.exp(logits[b, k, i, j] - logits[b, y, i, j])
                    for k in range(K)
                    if k != y
                )
            )
            for b, image in enumerate(labels.tolist())
            for i, row in enumerate(image)
            for j, y in enumerate(row)
            if y != VOID
        ]
        return sum(terms) / len(terms)

    loss = build_loss("logit_adjusted", tau=tau, class_shares=SHARES)
    assert_same(loss, literal, *batch(seed, images=1), atol=1e-5)


@given(seeds)
def test_without_adjustment_or_variation_there_is_cross_entropy(seed):
    assert_same(build_loss("logit_adjusted", tau=0.0, class_shares=SHARES), mean_cross_entropy, *batch(seed))
    assert_same(build_loss("logit_variation", variation=0.0, class_shares=SHARES), mean_cross_entropy, *batch(seed))


@given(seeds, st.sampled_from([0.3, 1.0, 6.0]))
def test_logit_variation_is_cross_entropy_of_the_logits_and_their_noise(seed, sigma):
    def oracle(logits, labels):
        noise = torch.from_numpy(np.abs(sigma * torch.randn(logits.shape).numpy()).clip(0, 1))
        rarity = np.log(1 / np.array(SHARES))
        scale = torch.tensor(rarity / rarity.max(), dtype=torch.float32)
        return mean_cross_entropy(logits + noise * scale[None, :, None, None], labels)

    assert_same(build_loss("logit_variation", variation=sigma, class_shares=SHARES), oracle, *batch(seed))


def test_logit_variation_draws_new_noise_each_time_and_repeats_with_the_seed():
    loss, (logits, labels) = build_loss("logit_variation", class_shares=SHARES), batch(0)
    values = [value_and_gradient(loss, logits, labels, seed)[0].item() for seed in (0, 1, 0)]
    assert values[0] == values[2] != values[1]


def test_a_single_class_has_no_variation():
    logits, labels = torch.randn(2, 1, 3, 3), torch.zeros(2, 3, 3, dtype=torch.int64)
    assert build_loss("logit_variation", class_shares=(1.0,))(logits, labels) == 0
