"""Every loss on a GPU: its value, its gradient and the sums by class are those of the CPU."""

import pytest
import torch

from tce_core import VOID
from tce_core.loss_table import LOSSES
from tce_core.losses import build_loss
from tce_core.pixel_losses import class_losses

pytestmark = pytest.mark.gpu
K = 19
WEIGHTS = tuple(0.25 + 0.1 * k for k in range(K))
SETTINGS = {
    "weighted_ce": {"class_weights": WEIGHTS},
    "focal": {"class_weights": WEIGHTS},
    "image_tilt": {"t": 1.5},
    "class_tilt": {"t": 1.5},
}
PRECISE = {torch.float32: {"rtol": 1e-4, "atol": 1e-7}, torch.bfloat16: {"rtol": 2**-7, "atol": 1e-6}}
"""Of float32, the last digits: a GPU adds in another order. Of bfloat16, one step of its 8 bits."""


def batch(dtype, seed=0):
    """Make logits (3, K, 48, 64) in the memory format of training, and labels with void pixels and an absent class."""
    generator = torch.Generator().manual_seed(seed)
    logits = (3 * torch.randn(3, K, 48, 64, generator=generator)).to(dtype, memory_format=torch.channels_last)
    labels = torch.randint(K - 1, (3, 48, 64), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < 0.2] = VOID
    return logits, labels


def value_and_gradient(loss, logits, labels):
    logits = logits.detach().requires_grad_()
    value = loss(logits, labels)
    value.backward()
    return value.detach().cpu(), logits.grad.cpu()


@pytest.mark.parametrize("dtype", PRECISE, ids=str)
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_and_its_gradient_are_those_of_the_cpu(name, dtype):
    loss, (logits, labels) = build_loss(name, **SETTINGS.get(name, {})), batch(dtype)
    expected_value, expected = value_and_gradient(loss, logits, labels)
    value, gradient = value_and_gradient(loss, logits.cuda(), labels.cuda())
    torch.testing.assert_close(value, expected_value, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient, expected, **PRECISE[dtype])
    assert gradient.dtype == dtype


@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_of_void_gives_zero_without_gradient(name):
    logits, labels = batch(torch.float32)
    loss = build_loss(name, **SETTINGS.get(name, {}))
    value, gradient = value_and_gradient(loss, logits.cuda(), torch.full_like(labels, VOID).cuda())
    assert value == 0
    assert (gradient == 0).all()


def test_sums_by_class_are_those_of_the_cpu_and_counts_are_equal():
    logits, labels = batch(torch.float32)
    expected_sums, expected_counts = class_losses(logits, labels)
    sums, counts = class_losses(logits.cuda(), labels.cuda())
    torch.testing.assert_close(sums.cpu(), expected_sums, rtol=1e-5, atol=1e-4)
    assert torch.equal(counts.cpu(), expected_counts)
    assert (counts[:, K - 1] == 0).all()
