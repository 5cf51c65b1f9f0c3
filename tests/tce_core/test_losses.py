"""Every loss compared with torch, smp and hand-computed images, and on batches without a valid pixel."""

import math
import re

import pytest
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from tce_core import VOID
from tce_core.class_shares import class_shares, inverse_frequency_weights
from tce_core.errors import UserError
from tce_core.loss_table import LOSSES
from tce_core.losses import build_loss
from tce_core.pixel_losses import class_losses

K = 4
WEIGHTS = (0.5, 2.0, 1.25, 0.25)
SETTINGS = {
    "weighted_ce": {"class_weights": WEIGHTS},
    "focal": {"class_weights": WEIGHTS, "focal_gamma": 2.0},
    "tversky": {"tversky_alpha": 0.3, "tversky_beta": 0.7},
    "image_tilt": {"t": 1.5},
    "class_tilt": {"t": 1.5},
}
SMP = {
    "dice": smp.losses.DiceLoss("multiclass", ignore_index=VOID),
    "jaccard": smp.losses.JaccardLoss("multiclass", ignore_index=VOID),
    "lovasz": smp.losses.LovaszLoss("multiclass", ignore_index=VOID),
    "tversky": smp.losses.TverskyLoss("multiclass", ignore_index=VOID, alpha=0.3, beta=0.7),
}
every_loss = pytest.mark.parametrize("name", LOSSES)
seeds = st.integers(0, 10**6)


def loss_of(name):
    return build_loss(name, **SETTINGS.get(name, {}))


def batch(seed, images=3, void=0.3):
    """Make random logits and labels; the last class is in the first image only."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(images, K, 4, 5, generator=generator)
    labels = torch.randint(K - 1, (images, 4, 5), generator=generator)
    labels[0, 0] = K - 1
    labels[torch.rand(images, 4, 5, generator=generator) < void] = VOID
    labels[0, 0, 0] = K - 1
    return logits.requires_grad_(), labels


def value_and_gradient(loss, logits, labels):
    logits = logits.detach().clone().requires_grad_()
    value = loss(logits, labels)
    value.backward()
    return value.detach(), logits.grad


def assert_same(one, other, logits, labels):
    """Assert that two losses have the same value and gradient."""
    for mine, theirs in zip(
        value_and_gradient(one, logits, labels), value_and_gradient(other, logits, labels), strict=True
    ):
        torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-5)


def logits_with(losses):
    """Make logits of two classes. The cross-entropy of class 0 is `losses` (B, H, W): the margin is log(e^loss - 1)."""
    losses = torch.as_tensor(losses, dtype=torch.float32)
    return torch.stack([torch.zeros_like(losses), torch.log(torch.expm1(losses))], dim=1)


# Plain, weighted and focal cross-entropy


@given(seeds)
def test_mcce_is_torch_cross_entropy(seed):
    assert_same(build_loss("mcce"), lambda x, y: F.cross_entropy(x, y, ignore_index=VOID), *batch(seed))


@given(seeds)
def test_weighted_ce_is_torch_cross_entropy_with_weights(seed):
    oracle = lambda x, y: F.cross_entropy(x, y, weight=torch.tensor(WEIGHTS), ignore_index=VOID)  # noqa: E731
    assert_same(loss_of("weighted_ce"), oracle, *batch(seed))


def test_the_loss_of_stochastic_tilt_is_plain_cross_entropy():
    assert build_loss("stochastic_tilt") == build_loss("mcce")


@given(seeds)
def test_focal_without_focus_and_weights_is_cross_entropy(seed):
    oracle = lambda x, y: F.cross_entropy(x, y, ignore_index=VOID)  # noqa: E731
    assert_same(build_loss("focal", focal_gamma=0.0), oracle, *batch(seed))


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


# The tilts of Eqs. (2) and (3)


def two_images():
    """Two 2x2 images of two classes. The pixels of class 1 have logits (0, 0), so their loss is log 2."""
    logits = logits_with([[[0.5, 1.5], [1.0, 1.0]], [[2.0, 4.0], [9.0, 9.0]]])
    labels = torch.tensor([[[0, 0], [1, 1]], [[0, 0], [VOID, VOID]]])
    logits[0, :, 1] = 0.0
    return logits, labels


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


def test_class_losses_are_sums_and_counts_by_class():
    sums, counts = class_losses(*two_images())
    torch.testing.assert_close(sums, torch.tensor([[2.0, 2 * math.log(2)], [6.0, 0.0]]))
    assert counts.tolist() == [[2, 2], [2, 0]]


# Region losses


@given(seeds, st.sampled_from(sorted(SMP)))
def test_region_losses_are_those_of_smp(seed, name):
    assert_same(loss_of(name), SMP[name], *batch(seed))


# Properties of every loss


@every_loss
def test_an_image_of_void_contributes_nothing(name):
    logits, labels = batch(1)
    value, gradient = value_and_gradient(loss_of(name), logits, labels)
    more = torch.cat([logits.detach(), torch.randn(1, K, 4, 5)])
    with_void = torch.cat([labels, torch.full((1, 4, 5), VOID)])
    value_with_void, gradient_with_void = value_and_gradient(loss_of(name), more, with_void)
    torch.testing.assert_close(value_with_void, value)
    torch.testing.assert_close(gradient_with_void[:-1], gradient)
    assert (gradient_with_void[-1] == 0).all()


@every_loss
def test_predictions_on_void_pixels_do_not_matter(name):
    logits, labels = batch(2)
    value, gradient = value_and_gradient(loss_of(name), logits, labels)
    void = (labels == VOID)[:, None].expand_as(logits)
    other, other_gradient = value_and_gradient(
        loss_of(name), logits.where(~void, 100 * torch.randn(3, K, 4, 5)), labels
    )
    torch.testing.assert_close(other, value)
    torch.testing.assert_close(other_gradient, gradient)
    assert (gradient[void] == 0).all()
    assert (gradient[~void] != 0).any()


@every_loss
def test_a_batch_of_void_gives_zero_without_gradient(name):
    labels = torch.full((2, 4, 5), VOID)
    value, gradient = value_and_gradient(loss_of(name), torch.randn(2, K, 4, 5), labels)
    assert value == 0
    assert (gradient == 0).all()


@every_loss
@pytest.mark.parametrize("right", [True, False], ids=["certain and right", "certain and wrong"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_extreme_logits_stay_finite(name, right, dtype):
    _, labels = batch(3)
    answer = labels.where(labels != VOID, 0)
    truth = F.one_hot(answer if right else (answer + 1) % K, K).permute(0, 3, 1, 2).bool()
    logits = torch.full(truth.shape, -1e4, dtype=dtype).masked_fill(truth, 1e4)
    value, gradient = value_and_gradient(loss_of(name), logits, labels)
    assert value.isfinite()
    assert value.dtype == torch.float32
    assert gradient.isfinite().all()
    assert gradient.dtype == dtype
    # Absent classes add nothing, so a perfect answer has loss 0. A wrong answer has a positive loss.
    assert value == pytest.approx(0, abs=1e-6) if right else value > 0.1


@every_loss
def test_the_memory_format_does_not_matter(name):
    logits, labels = batch(4)
    loss = loss_of(name)
    torch.testing.assert_close(loss(logits.contiguous(memory_format=torch.channels_last), labels), loss(logits, labels))


@every_loss
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_tiles_do_not_matter(name, layout, monkeypatch):
    logits, labels = batch(5)
    logits = logits.detach().contiguous(memory_format=layout)
    value, gradient = value_and_gradient(loss_of(name), logits, labels)
    monkeypatch.setattr("tce_core.pixel_losses.SMALL", 0)
    monkeypatch.setattr("tce_core.tiles.TILE", 2 * K * 5)
    value_in_tiles, gradient_in_tiles = value_and_gradient(loss_of(name), logits, labels)
    torch.testing.assert_close(value_in_tiles, value, atol=0, rtol=1e-6)
    torch.testing.assert_close(gradient_in_tiles, gradient, atol=1e-7, rtol=1e-5)


# Building a loss


def test_an_unknown_loss_is_answered_with_the_names_that_exist():
    with pytest.raises(UserError, match="unknown loss 'ce'; the losses are " + ", ".join(LOSSES)):
        build_loss("ce")


def test_an_unknown_setting_is_answered_with_the_settings_that_exist():
    with pytest.raises(UserError, match=r"loss 'focal' has no setting 't'; it has focal_gamma, class_weights$"):
        build_loss("focal", t=1.0)
    with pytest.raises(UserError, match=r"loss 'mcce' has no setting 't'; it has none$"):
        build_loss("mcce", t=1.0)


@pytest.mark.parametrize(
    ("name", "needs"), [("image_tilt", "t"), ("class_tilt", "t"), ("weighted_ce", "class_weights")]
)
def test_a_missing_setting_is_named(name, needs):
    with pytest.raises(UserError, match=f"^loss '{name}': .*{re.escape(repr(needs))}"):
        build_loss(name)


def test_as_many_weights_as_classes_are_needed():
    with pytest.raises(ValueError, match="2 class weights for 4 classes"):
        build_loss("weighted_ce", class_weights=(1.0, 1.0))(*batch(0))


# Class weights


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=30).filter(any), st.floats(0, 2))
def test_frequency_weights_have_mean_one_over_the_classes_present(counts, power):
    weights = inverse_frequency_weights(torch.tensor(counts), power)
    present = [weight for weight, count in zip(weights, counts, strict=True) if count]
    assert math.fsum(present) / len(present) == pytest.approx(1)
    assert all(weight == 0 for weight, count in zip(weights, counts, strict=True) if not count)
    # Proportional to count ** -power: the product with count ** power is the same for every class.
    products = [weight * count**power for weight, count in zip(weights, counts, strict=True) if count]
    assert products == pytest.approx([products[0]] * len(products), rel=1e-9)


def test_frequency_weights_by_hand():
    # 1/1 : 1/2 : 1/6 = 6 : 3 : 1, which has mean 10/3.
    assert inverse_frequency_weights(torch.tensor([10, 20, 0, 60])) == pytest.approx([1.8, 0.9, 0, 0.3])
    assert inverse_frequency_weights(torch.tensor([10, 20, 0, 60]), 0.0) == pytest.approx([1, 1, 0, 1])
