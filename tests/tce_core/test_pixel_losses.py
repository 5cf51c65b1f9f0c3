"""The loss of each pixel in tiles, and its sums by class, compared with torch."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from tce_core import VOID
from tce_core.losses.by_pixel import CrossEntropy, mean_loss
from tce_core.pixel_losses import class_losses, pixel_losses
from tests.tce_core.losses.batches import two_images

K = 5
LAYOUTS = [torch.contiguous_format, torch.channels_last]
seeds = st.integers(0, 10**6)


@pytest.fixture
def in_tiles(monkeypatch):
    """Compute in tiles of a few rows."""
    monkeypatch.setattr("tce_core.pixel_losses.SMALL", 0)
    monkeypatch.setattr("tce_core.tiles.TILE", 3 * K * 6)


def batch(seed=0, images=3, height=7, layout=torch.contiguous_format, dtype=torch.float32):
    """Make random logits of width 6 and labels, of which about a third are void."""
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(images, K, height, 6, generator=generator, dtype=torch.float64)
    labels = torch.randint(K, (images, height, 6), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < 0.3] = VOID
    return logits.to(dtype).contiguous(memory_format=layout).requires_grad_(), labels


def torch_losses(logits, labels):
    return F.cross_entropy(logits.float(), labels, ignore_index=VOID, reduction="none")


def values_and_gradient(function, logits, labels, factors):
    logits = logits.detach().requires_grad_()
    values = function(logits, labels)
    (factors * values).sum().backward()
    return values.detach(), logits.grad


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@given(seed=seeds, rows=st.integers(1, 30))
def test_the_loss_of_each_pixel_is_torch_s(layout, dtype, seed, rows):
    logits, labels = batch(seed, layout=layout, dtype=dtype)
    factors = torch.randn(labels.shape, generator=torch.Generator().manual_seed(seed))
    theirs, their_gradient = values_and_gradient(torch_losses, logits, labels, factors)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tce_core.pixel_losses.SMALL", 0)
        patch.setattr("tce_core.tiles.TILE", rows * K * 6)
        mine, my_gradient = values_and_gradient(pixel_losses, logits, labels, factors)
    assert mine.dtype == torch.float32
    assert my_gradient.dtype == dtype
    assert my_gradient.stride() == logits.stride()
    torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-6)
    # bfloat16 has 8 bits, so its roundings may differ by one part in 2^7.
    tolerance = {"atol": 1e-6, "rtol": 2e-6} if dtype == torch.float32 else {"atol": 1e-6, "rtol": 2**-7}
    torch.testing.assert_close(my_gradient, their_gradient, **tolerance)


def test_at_the_real_size_it_is_torch_s():
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(1, 19, 481, 480, generator=generator), torch.randint(19, (1, 481, 480))
    labels[:, :20] = VOID
    assert logits.numel() > 2**22  # larger than SMALL
    factors = torch.rand(labels.shape, generator=generator)
    mine, theirs = (values_and_gradient(f, logits, labels, factors) for f in (pixel_losses, torch_losses))
    torch.testing.assert_close(mine[0], theirs[0], atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(mine[1], theirs[1], atol=1e-6, rtol=1e-6)


@pytest.mark.usefixtures("in_tiles")
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_the_gradient_is_that_of_finite_differences(layout):
    logits, labels = batch(images=2, height=3, layout=layout, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: pixel_losses(x, labels), logits)
    assert torch.autograd.gradcheck(lambda x: class_losses(x, labels)[0], logits)


@pytest.mark.usefixtures("in_tiles")
def test_nothing_as_large_as_the_logits_is_kept_for_the_backward_pass():
    logits, labels = batch(images=4, height=30)
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        pixel_losses(logits, labels)
    given_anyway = {tensor.untyped_storage().data_ptr() for tensor in (logits, labels)}
    assert kept.keys() <= given_anyway


@pytest.mark.usefixtures("in_tiles")
def test_the_same_graph_can_be_used_twice():
    logits, labels = batch()
    total = pixel_losses(logits, labels).sum()
    first, second = (torch.autograd.grad(total, logits, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.usefixtures("in_tiles")
def test_a_second_derivative_is_refused_and_not_wrong():
    logits, labels = batch()
    (gradient,) = torch.autograd.grad(pixel_losses(logits, labels).square().sum(), logits, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.square().sum().backward()


@pytest.mark.usefixtures("in_tiles")
@pytest.mark.parametrize("bad", [K, 200, -1])
def test_a_label_that_is_no_class_is_refused(bad):
    logits, labels = batch()
    labels[-1, -1, -1] = bad
    with pytest.raises(IndexError, match=f"{bad} is out of bounds"):
        class_losses(logits, labels)


def plain_class_losses(logits, labels):
    """The sums and counts by class, with an index of its own for void pixels."""
    pixels, flat = torch_losses(logits, labels).flatten(1), labels.flatten(1)
    index = torch.where(flat != VOID, flat, 0)
    sums = torch.zeros(logits.shape[:2]).scatter_add(1, index, pixels)
    counts = torch.zeros(logits.shape[:2], dtype=torch.int64).scatter_add(1, index, (flat != VOID).long())
    return sums, counts


@given(seeds)
def test_sums_and_counts_are_those_of_the_plain_way_to_the_last_bit(seed):
    logits, labels = batch(seed)
    for mine, plain in zip(class_losses(logits, labels), plain_class_losses(logits, labels), strict=True):
        assert mine.dtype == plain.dtype
        assert torch.equal(mine, plain)


@given(seeds)
def test_each_sum_is_torch_s_of_the_pixels_of_that_class(seed):
    logits, labels = batch(seed)
    sums, counts = class_losses(logits, labels)
    for image in range(len(labels)):
        assert counts[image].tolist() == [(labels[image] == c).sum() for c in range(K)]
        for c in range(K):
            alone = labels[image].where(labels[image] == c, VOID)
            expected = F.cross_entropy(logits[image][None], alone[None], ignore_index=VOID, reduction="sum")
            torch.testing.assert_close(sums[image, c], expected)


@pytest.mark.parametrize("small", [True, False], ids=["whole", "in tiles"])
def test_the_mean_of_the_sums_has_the_gradient_of_cross_entropy_to_the_last_bit(small, request):
    if not small:
        request.getfixturevalue("in_tiles")
    logits, labels = batch()
    mine, plain = mean_loss(*class_losses(logits, labels)), CrossEntropy()(logits, labels)
    torch.testing.assert_close(mine, plain)
    gradients = [torch.autograd.grad(loss, logits)[0] for loss in (mine, plain)]
    assert torch.equal(*gradients)


def test_class_losses_are_sums_and_counts_by_class():
    sums, counts = class_losses(*two_images())
    torch.testing.assert_close(sums, torch.tensor([[2.0, 2 * math.log(2)], [6.0, 0.0]]))
    assert counts.tolist() == [[2, 2], [2, 0]]
