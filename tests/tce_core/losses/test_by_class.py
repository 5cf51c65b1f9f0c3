"""The losses of the classes of the batch, compared with torch on the pixels of each class alone."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import recall_score

from tce_core import VOID
from tce_core.losses import build_loss
from tests.tce_core.losses.batches import K, assert_same, batch, two_images

seeds = st.integers(0, 10**6)


def losses_of_classes(logits, labels):
    """The mean cross-entropy of each class that the batch shows, by torch, in order of the classes."""
    parts = [labels.where(labels == k, VOID) for k in range(K) if (labels == k).any()]
    return torch.stack([F.cross_entropy(logits, part, ignore_index=VOID) for part in parts])


@given(seeds)
def test_balanced_ce_is_the_mean_of_the_losses_of_the_classes(seed):
    assert_same(build_loss("balanced_ce"), lambda x, y: losses_of_classes(x, y).mean(), *batch(seed))


def test_balanced_ce_by_hand():
    # Class 0: (0.5 + 1.5 + 2 + 4) / 4 = 2; class 1: log 2.
    assert build_loss("balanced_ce")(*two_images()).item() == pytest.approx((2 + math.log(2)) / 2, rel=1e-6)


def test_class_cvar_by_hand():
    # The class losses are 2 and log 2. Half: the worst one. Three quarters: the worst and half of the other.
    logits, labels = two_images()
    assert build_loss("class_cvar", worst_share=0.5)(logits, labels).item() == pytest.approx(2, rel=1e-6)
    assert build_loss("class_cvar", worst_share=0.01)(logits, labels).item() == pytest.approx(2, rel=1e-6)
    assert build_loss("class_cvar", worst_share=0.75)(logits, labels).item() == pytest.approx(
        (2 + 0.5 * math.log(2)) / 1.5, rel=1e-6
    )


@given(seeds, st.floats(0.05, 1))
def test_class_cvar_is_the_minimum_of_rockafellar_and_uryasev(seed, share):
    """CVaR = min_a a + mean(max(loss - a, 0)) / share; the minimum is at one of the losses."""
    logits, labels = batch(seed)
    losses = losses_of_classes(logits, labels).detach().double().numpy()
    expected = min(a + np.maximum(losses - a, 0).mean() / share for a in losses)
    value = build_loss("class_cvar", worst_share=share)(logits, labels).item()
    assert value == pytest.approx(expected, rel=1e-5)


@given(seeds)
def test_class_cvar_learns_from_the_worst_classes_only(seed):
    def oracle(logits, labels):
        return losses_of_classes(logits, labels).topk(2).values.mean()

    logits, labels = batch(seed)
    if len(losses_of_classes(logits, labels)) == K:
        assert_same(build_loss("class_cvar", worst_share=0.5), oracle, logits, labels)


@given(seeds)
def test_recall_ce_weights_classes_by_the_recall_that_scikit_learn_finds(seed):
    def oracle(logits, labels):
        valid = labels != VOID
        predicted = logits.detach().argmax(1)
        recall = recall_score(labels[valid], predicted[valid], labels=range(K), average=None, zero_division=0)
        pixels = F.cross_entropy(logits, labels, ignore_index=VOID, reduction="none")
        return (torch.tensor(1 - recall, dtype=torch.float32)[labels[valid]] * pixels[valid]).mean()

    assert_same(build_loss("recall_ce"), oracle, *batch(seed))
