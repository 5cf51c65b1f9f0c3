"""The tilts of Eqs. (2) and (3), and the class tilt over the batch and over the data."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from tce_core import VOID
from tce_core.losses import build_loss
from tests.tce_core.losses.batches import K, assert_same, batch, two_images, value_and_gradient

seeds = st.integers(0, 10**6)


def losses_of_classes(logits, labels):
    """The mean cross-entropy of each class by torch, as a dict by class, without absent classes."""
    parts = {k: labels.where(labels == k, VOID) for k in range(K) if (labels == k).any()}
    return {k: F.cross_entropy(logits, part, ignore_index=VOID) for k, part in parts.items()}


# Over images, and over the classes of each image


def test_image_tilt_by_hand():
    logits, labels = two_images()
    # Image 0: (0.5 + 1.5 + log 2 + log 2) / 4 = 0.5 + log(2)/2; image 1: (2 + 4) / 2 = 3, without its void row.
    a, b = 0.5 + math.log(2) / 2, 3.0
    # t = 2: (1/2) log((e^{2a} + e^{2b}) / 2), where e^{2a} = 2e and e^{2b} = e^6.
    assert build_loss("image_tilt", t=2.0)(logits, labels).item() == pytest.approx(
        0.5 * math.log((2 * math.e + math.exp(6)) / 2), rel=1e-6
    )
    assert build_loss("image_tilt", t=0.0)(logits, labels).item() == pytest.approx((a + b) / 2, rel=1e-6)
    # At t = +-1e4 the result is the extreme image, up to log(2) / 1e4.
    assert build_loss("image_tilt", t=1e4)(logits, labels).item() == pytest.approx(b, abs=1e-4)
    assert build_loss("image_tilt", t=-1e4)(logits, labels).item() == pytest.approx(a, abs=1e-4)


def test_class_tilt_by_hand():
    logits, labels = two_images()
    # Image 0: class 0 has mean (0.5 + 1.5) / 2 = 1, class 1 has log 2; image 1 has class 0 alone, with mean 3.
    # t = 1: image 0 gives log((e + 2) / 2), image 1 gives 3 (class 1, absent, is not a zero); then their mean.
    expected = (math.log((math.e + 2) / 2) + 3) / 2
    assert build_loss("class_tilt", t=1.0)(logits, labels).item() == pytest.approx(expected, rel=1e-6)
    assert build_loss("class_tilt", t=0.0)(logits, labels).item() == pytest.approx(((1 + math.log(2)) / 2 + 3) / 2)
    assert build_loss("class_tilt", t=1e4)(logits, labels).item() == pytest.approx((1 + 3) / 2, abs=1e-4)
    assert build_loss("class_tilt", t=-1e4)(logits, labels).item() == pytest.approx((math.log(2) + 3) / 2, abs=1e-4)


@given(seeds, st.floats(-5, 5))
def test_the_gradient_of_image_tilt_is_the_weighted_mean_of_the_images_gradients(seed, t):
    logits, labels = batch(seed)
    losses = [F.cross_entropy(logits[b : b + 1], labels[b : b + 1], ignore_index=VOID) for b in range(len(labels))]
    gradients = torch.stack([torch.autograd.grad(loss, logits, retain_graph=True)[0] for loss in losses])
    weights = torch.softmax(t * torch.stack(losses).double(), 0).float()
    _, gradient = value_and_gradient(build_loss("image_tilt", t=t), logits, labels)
    torch.testing.assert_close(gradient, torch.einsum("b,b...->...", weights, gradients), atol=1e-7, rtol=1e-4)


@given(seeds, st.floats(-5, 5))
def test_the_gradient_of_class_tilt_is_the_weighted_mean_of_the_classes_gradients(seed, t):
    logits, labels = batch(seed)
    expected = torch.zeros_like(logits)
    for b in range(len(labels)):
        present = [k for k in range(K) if (labels[b] == k).any()]
        masked = [labels[b : b + 1].where(labels[b : b + 1] == k, VOID) for k in present]
        losses = [F.cross_entropy(logits[b : b + 1], label, ignore_index=VOID) for label in masked]
        gradients = [torch.autograd.grad(loss, logits, retain_graph=True)[0] for loss in losses]
        weights = torch.softmax(t * torch.stack(losses).double(), 0).float()
        expected += sum(w * g for w, g in zip(weights, gradients, strict=True)) / len(labels)
    _, gradient = value_and_gradient(build_loss("class_tilt", t=t), logits, labels)
    torch.testing.assert_close(gradient, expected, atol=1e-7, rtol=1e-4)


@given(seeds, st.floats(-20, 20))
def test_a_class_that_no_image_shows_changes_nothing(seed, t):
    logits, labels = batch(seed)
    # One more output of probability ~0 does not change the losses of the other classes.
    wider = torch.cat([logits, torch.full_like(logits[:, :1], -1e4)], dim=1)
    loss = build_loss("class_tilt", t=t)
    torch.testing.assert_close(loss(wider, labels), loss(logits, labels))


# Over the classes of the batch


@given(seeds, st.floats(-5, 5).filter(lambda t: abs(t) > 0.01))
def test_over_the_batch_it_is_the_literal_tilted_mean(seed, t):
    def literal(logits, labels):
        losses = torch.stack(list(losses_of_classes(logits, labels).values())).double()
        return ((t * losses).exp().mean().log() / t).float()

    assert_same(build_loss("class_tilt", t=t, over="batch"), literal, *batch(seed), atol=1e-5)


@given(seeds)
def test_over_the_batch_without_tilt_it_is_balanced_cross_entropy(seed):
    assert_same(build_loss("class_tilt", t=0.0, over="batch"), build_loss("balanced_ce"), *batch(seed))


def test_of_a_single_image_the_batch_is_the_image():
    one, other = (build_loss("class_tilt", t=1.3, over=over) for over in ("image", "batch"))
    assert_same(one, other, *batch(0, images=1))


# Over the data


class Literal:
    """Lines 7 and 8 of Algorithm 1 as written, with e^{t L~}: the loss is weighted instead of drawn."""

    def __init__(self, t, gamma):
        self.t, self.gamma = t, gamma
        self.exponentials, self.visits = np.zeros(K), np.zeros(K)

    def __call__(self, logits, labels):
        losses = losses_of_classes(logits, labels)
        for c, loss in losses.items():
            self.visits[c] += 1
            rate = max(self.gamma, 1 / self.visits[c])
            self.exponentials[c] = (1 - rate) * self.exponentials[c] + rate * math.exp(self.t * float(loss.detach()))
        total = sum(self.exponentials[c] for c in losses)
        return sum(float(self.exponentials[c] / total) * loss for c, loss in losses.items())


@pytest.mark.parametrize("t", [-1.5, 0.0, 0.7, 3.0])
@pytest.mark.parametrize("gamma", [0.05, 0.4, 1.0])
def test_over_the_data_it_is_the_literal_algorithm(t, gamma):
    loss, literal = build_loss("class_tilt", t=t, over="data", gamma=gamma), Literal(t, gamma)
    for step in range(30):
        logits, labels = batch(step)
        if step % 3:
            labels[labels == K - 1] = VOID  # a class that is not in every batch
        assert_same(loss, literal, logits, labels)
    assert loss.running.visits.tolist() == literal.visits.tolist()


@given(seeds, st.floats(-5, 5))
def test_without_memory_it_has_the_gradient_over_the_batch(seed, t):
    loss, other = build_loss("class_tilt", t=t, over="data", gamma=1.0), build_loss("class_tilt", t=t, over="batch")
    for step in (0, 1):
        logits, labels = batch(seed + step)
        _, gradient = value_and_gradient(loss, logits, labels)
        torch.testing.assert_close(gradient, value_and_gradient(other, logits, labels)[1], atol=1e-7, rtol=1e-4)


@pytest.mark.parametrize("t", [1e4, -1e4])
def test_over_the_data_nothing_overflows(t):
    loss = build_loss("class_tilt", t=t, over="data")
    for step in range(3):
        value, gradient = value_and_gradient(loss, *batch(step))
        assert value.isfinite()
        assert gradient.isfinite().all()


def test_the_state_is_complete():
    one, other = (build_loss("class_tilt", t=1.5, over="data", gamma=0.2) for _ in range(2))
    for step in range(5):
        one(*batch(step))
    other.load_state_dict(one.state_dict())
    for step in range(5, 8):
        for mine, theirs in zip(
            value_and_gradient(one, *batch(step)), value_and_gradient(other, *batch(step)), strict=True
        ):
            assert torch.equal(mine, theirs)
    assert one.state_dict() == other.state_dict()


def test_a_new_tilt_keeps_the_running_losses():
    loss = build_loss("class_tilt", t=0.5, over="data")
    loss(*batch(0))
    before = loss.running.log_tilted / loss.t
    loss.t = 2.0
    torch.testing.assert_close(loss.running.log_tilted / 2.0, before)
    assert loss.state_dict()["t"] == [2.0]
