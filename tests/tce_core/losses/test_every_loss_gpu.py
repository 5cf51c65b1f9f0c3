"""Every loss on a GPU: its value, its gradient and the sums by class are those of the CPU."""

import pytest
import torch

from tce_core import VOID
from tce_core.pixel_losses import class_losses
from tests.tce_core.losses.every_loss import VARIANTS, make_loss

pytestmark = pytest.mark.gpu
K = 19
NOISE_OF_ITS_OWN = {"variation": 0.0}  # a GPU draws other numbers than a CPU
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
@pytest.mark.parametrize("name", VARIANTS)
def test_a_loss_and_its_gradient_are_those_of_the_cpu(name, dtype):
    logits, labels = batch(dtype)
    expected_value, expected = value_and_gradient(make_loss(name, K, **NOISE_OF_ITS_OWN), logits, labels)
    value, gradient = value_and_gradient(make_loss(name, K, **NOISE_OF_ITS_OWN), logits.cuda(), labels.cuda())
    torch.testing.assert_close(value, expected_value, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient, expected, **PRECISE[dtype])
    assert gradient.dtype == dtype


@pytest.mark.parametrize("name", VARIANTS)
def test_a_batch_of_void_gives_zero_without_gradient(name):
    logits, labels = batch(torch.float32)
    value, gradient = value_and_gradient(make_loss(name, K), logits.cuda(), torch.full_like(labels, VOID).cuda())
    assert value == 0
    assert (gradient == 0).all()


def test_sums_by_class_are_those_of_the_cpu_and_counts_are_equal():
    logits, labels = batch(torch.float32)
    expected_sums, expected_counts = class_losses(logits, labels)
    sums, counts = class_losses(logits.cuda(), labels.cuda())
    torch.testing.assert_close(sums.cpu(), expected_sums, rtol=1e-5, atol=1e-4)
    assert torch.equal(counts.cpu(), expected_counts)
    assert (counts[:, K - 1] == 0).all()


WAITS = {"dice", "jaccard", "lovasz", "tversky", "ce_dice"}  # smp waits


@pytest.mark.parametrize("name", sorted(set(VARIANTS) - WAITS))
def test_a_loss_never_waits_for_the_gpu(name):
    loss, (logits, labels) = make_loss(name, K), batch(torch.float32)
    logits, labels = logits.cuda().requires_grad_(), labels.cuda()
    loss(logits, labels).backward()  # the first call copies tables and the state to the device
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        loss(logits, labels).backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_the_state_of_the_tilt_over_the_data_is_that_of_the_cpu():
    losses = [make_loss("class_tilt over data", K) for _ in range(2)]
    for step in range(4):
        logits, labels = batch(torch.float32, step)
        losses[0](logits, labels)
        losses[1](logits.cuda(), labels.cuda())
    expected, found = (loss.state_dict() for loss in losses)
    assert found["log_tilted"] == pytest.approx(expected["log_tilted"], rel=1e-5)
    assert found["visits"] == expected["visits"]
    again = make_loss("class_tilt over data", K)
    again.load_state_dict(found)  # the state is on the CPU until the next batch
    expected = losses[1](logits.cuda(), labels.cuda()).item()
    assert again(logits.cuda(), labels.cuda()).item() == pytest.approx(expected, rel=1e-6)
