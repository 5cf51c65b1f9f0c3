"""What holds for every loss: void pixels, batches of void, extreme logits, memory formats, tiles, the last pixel."""

import pytest
import torch
import torch.nn.functional as F

from tce_core import VOID
from tests.tce_core.losses.batches import K, batch, value_and_gradient
from tests.tce_core.losses.every_loss import VARIANTS, make_loss

every_loss = pytest.mark.parametrize("name", VARIANTS)


@every_loss
def test_an_image_of_void_contributes_nothing(name):
    logits, labels = batch(1)
    value, gradient = value_and_gradient(make_loss(name), logits, labels)
    more = torch.cat([logits.detach(), torch.randn(1, K, 4, 5)])
    with_void = torch.cat([labels, torch.full((1, 4, 5), VOID)])
    value_with_void, gradient_with_void = value_and_gradient(make_loss(name), more, with_void)
    torch.testing.assert_close(value_with_void, value)
    torch.testing.assert_close(gradient_with_void[:-1], gradient)
    assert (gradient_with_void[-1] == 0).all()


@every_loss
def test_predictions_on_void_pixels_do_not_matter(name):
    logits, labels = batch(2)
    value, gradient = value_and_gradient(make_loss(name), logits, labels)
    void = (labels == VOID)[:, None].expand_as(logits)
    other, other_gradient = value_and_gradient(
        make_loss(name), logits.where(~void, 100 * torch.randn(3, K, 4, 5)), labels
    )
    torch.testing.assert_close(other, value)
    torch.testing.assert_close(other_gradient, gradient)
    assert (gradient[void] == 0).all()
    assert (gradient[~void] != 0).any()


@every_loss
def test_a_batch_of_void_gives_zero_without_gradient(name):
    labels = torch.full((2, 4, 5), VOID)
    value, gradient = value_and_gradient(make_loss(name), torch.randn(2, K, 4, 5), labels)
    assert value == 0
    assert (gradient == 0).all()


@every_loss
def test_a_batch_of_void_is_forgotten(name):
    loss, (logits, labels) = make_loss(name), batch(3)
    expected = value_and_gradient(make_loss(name), logits, labels)
    loss(logits, torch.full_like(labels, VOID))
    for mine, theirs in zip(value_and_gradient(loss, logits, labels), expected, strict=True):
        assert torch.equal(mine, theirs)


@every_loss
@pytest.mark.parametrize("right", [True, False], ids=["certain and right", "certain and wrong"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_extreme_logits_stay_finite(name, right, dtype):
    _, labels = batch(3)
    answer = labels.where(labels != VOID, 0)
    truth = F.one_hot(answer if right else (answer + 1) % K, K).permute(0, 3, 1, 2).bool()
    logits = torch.full(truth.shape, -1e4, dtype=dtype).masked_fill(truth, 1e4)
    value, gradient = value_and_gradient(make_loss(name), logits, labels)
    assert value.isfinite()
    assert value.dtype == torch.float32
    assert gradient.isfinite().all()
    assert gradient.dtype == dtype
    # Absent classes add nothing, so a perfect answer has loss 0. A wrong answer has a positive loss.
    assert value == pytest.approx(0, abs=1e-6) if right else value > 0.1


@every_loss
def test_the_memory_format_does_not_matter(name):
    logits, labels = batch(4)
    for mine, theirs in zip(
        value_and_gradient(make_loss(name), logits.detach().contiguous(memory_format=torch.channels_last), labels),
        value_and_gradient(make_loss(name), logits, labels),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)


@every_loss
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_tiles_do_not_matter(name, layout, monkeypatch):
    logits, labels = batch(5)
    logits = logits.detach().contiguous(memory_format=layout)
    value, gradient = value_and_gradient(make_loss(name), logits, labels)
    monkeypatch.setattr("tce_core.pixel_losses.SMALL", 0)
    monkeypatch.setattr("tce_core.tiles.TILE", 2 * K * 5)
    value_in_tiles, gradient_in_tiles = value_and_gradient(make_loss(name), logits, labels)
    torch.testing.assert_close(value_in_tiles, value, atol=0, rtol=1e-6)
    torch.testing.assert_close(gradient_in_tiles, gradient, atol=1e-7, rtol=1e-5)


SMP = {"dice", "jaccard", "lovasz", "tversky", "ce_dice"}  # computed in float32, as smp does
WEIGHTED = {"recall_ce", "class_tilt over data"}  # their weights depend on the logits, but have no gradient by them


@pytest.mark.parametrize("name", sorted(set(VARIANTS) - SMP - WEIGHTED))
def test_the_gradient_is_the_derivative(name):
    """Against torch's finite differences, in float64."""
    logits, labels = batch(6, images=2)

    def loss(logits):
        torch.manual_seed(0)
        return make_loss(name)(logits, labels)

    assert torch.autograd.gradcheck(loss, (0.3 * logits.detach().double()).requires_grad_(), atol=1e-6, rtol=1e-4)
