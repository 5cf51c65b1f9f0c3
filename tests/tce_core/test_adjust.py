"""Logit adjustment: the shares, the offsets, and the adjustment folded into a real model."""

import math

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax

from tce_core.adjust import TAUS, class_shares, fold, offsets
from tce_core.colours import normalise
from tce_core.model import build_model


def test_shares_are_those_of_the_pixels():
    counts = np.array([[30, 0, 10], [30, 0, 30]])
    assert class_shares(counts) == pytest.approx(np.array([60, 1, 40]) / 101)  # an absent class counts as one pixel
    assert class_shares(counts).tolist() == class_shares(counts.sum(0)).tolist()
    assert class_shares(counts).dtype == np.float64


def test_offsets_are_tau_log_pi():
    moved = offsets([0.5, 0.25, 0.25], (0.0, 0.5, 2.0))
    assert moved.tolist() == [
        [0.0] * 3,
        [0.5 * math.log(0.5), *[0.5 * math.log(0.25)] * 2],
        [2 * math.log(0.5), *[2 * math.log(0.25)] * 2],
    ]


def test_tau_1_removes_the_prior_from_the_posterior():
    """Bayes: p(c | x) is proportional to p(x | c) pi_c, so the adjusted probabilities are those of equal priors."""
    rng = np.random.default_rng(0)
    likelihood, pi = rng.random((50, 4)), rng.dirichlet(np.ones(4))
    posterior = likelihood * pi / (likelihood * pi).sum(1, keepdims=True)
    adjusted = softmax(log_softmax(np.log(posterior), axis=1) - offsets(pi, [1.0]), axis=1)
    np.testing.assert_allclose(adjusted, likelihood / likelihood.sum(1, keepdims=True))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: class_shares(np.zeros((2, 3, 4))), r"must be \(N, K\) or \(K,\)"),
        (lambda: class_shares([]), r"must be \(N, K\) or \(K,\)"),
        (lambda: offsets([0.5, 0.0], TAUS), "the share of class 1 is 0.0"),
        (lambda: offsets([0.5, np.nan], TAUS), "the share of class 1 is nan"),
        (lambda: offsets([0.5, 0.5], [0.0, np.inf]), "not all finite"),
    ],
)
def test_what_has_no_logarithm_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("tau", [0.0, 0.5, 1.5])
def test_a_folded_model_predicts_the_adjusted_classes(fast_config, streets, tau):
    torch.manual_seed(0)
    model = build_model(fast_config(), streets.num_classes).eval()
    shares = class_shares(streets.train.pixel_counts)
    images = normalise(torch.stack([torch.tensor(streets.val.image(i)).permute(2, 0, 1) for i in range(3)]))
    with torch.no_grad():
        model.segmentation_head[0].weight *= 20  # logits as far apart as the offsets
        adjusted = model(images).double() - torch.from_numpy(offsets(shares, [tau])).view(1, -1, 1, 1)
        fold(model, shares, tau)
        folded = model(images)
    first, second = adjusted.topk(2, dim=1).values.unbind(1)
    clear = first - second > 1e-4
    assert clear.float().mean() > 0.99
    assert torch.equal(folded.argmax(1)[clear], adjusted.argmax(1)[clear])
    torch.testing.assert_close(folded.double(), adjusted, atol=1e-4, rtol=1e-4)
    assert len(adjusted.argmax(1).unique()) > 1


def test_a_head_that_cannot_take_the_adjustment_is_refused(fast_config):
    model = build_model(fast_config(), 4)
    with pytest.raises(ValueError, match="has 4 classes; the shares are of 3"):
        fold(model, np.full(3, 1 / 3), 1.0)
    model.segmentation_head[0].bias = None
    with pytest.raises(ValueError, match="has no bias"):
        fold(model, np.full(4, 1 / 4), 1.0)
