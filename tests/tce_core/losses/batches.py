"""Random and hand-made batches of four classes, and what a loss gives on them."""

import torch

from tce_core import VOID

K = 4


def batch(seed, images=3, void=0.3):
    """Make random logits and labels; the last class is in the first image only."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(images, K, 4, 5, generator=generator)
    labels = torch.randint(K - 1, (images, 4, 5), generator=generator)
    labels[0, 0] = K - 1
    labels[torch.rand(images, 4, 5, generator=generator) < void] = VOID
    labels[0, 0, 0] = K - 1
    return logits.requires_grad_(), labels


def two_images():
    """Two 2x2 images of two classes. The pixels of class 1 have logits (0, 0), so their loss is log 2."""
    logits = logits_with([[[0.5, 1.5], [1.0, 1.0]], [[2.0, 4.0], [9.0, 9.0]]])
    labels = torch.tensor([[[0, 0], [1, 1]], [[0, 0], [VOID, VOID]]])
    logits[0, :, 1] = 0.0
    return logits, labels


def logits_with(losses):
    """Make logits of two classes. The cross-entropy of class 0 is `losses` (B, H, W): the margin is log(e^loss - 1)."""
    losses = torch.as_tensor(losses, dtype=torch.float32)
    return torch.stack([torch.zeros_like(losses), torch.log(torch.expm1(losses))], dim=1)


def value_and_gradient(loss, logits, labels, seed=0):
    """Return the loss and its gradient. A loss that draws noise always draws the same."""
    logits = logits.detach().clone().requires_grad_()
    torch.manual_seed(seed)
    value = loss(logits, labels)
    value.backward()
    return value.detach(), logits.grad


def assert_same(one, other, logits, labels, **tolerance):
    """Assert that two losses have the same value and gradient."""
    tolerance = {"atol": 1e-6, "rtol": 1e-5, **tolerance}
    for mine, theirs in zip(
        value_and_gradient(one, logits, labels), value_and_gradient(other, logits, labels), strict=True
    ):
        torch.testing.assert_close(mine, theirs, **tolerance)
