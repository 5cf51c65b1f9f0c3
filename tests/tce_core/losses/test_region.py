"""The region losses, compared with smp and with the norms of the Jaccard metric loss."""

import pytest
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from tce_core import VOID
from tce_core.losses import build_loss
from tests.tce_core.losses.batches import K, assert_same, batch

SMP = {
    "dice": smp.losses.DiceLoss("multiclass", ignore_index=VOID),
    "jaccard": smp.losses.JaccardLoss("multiclass", ignore_index=VOID),
    "lovasz": smp.losses.LovaszLoss("multiclass", ignore_index=VOID),
    "tversky": smp.losses.TverskyLoss("multiclass", ignore_index=VOID, alpha=0.3, beta=0.7),
}
seeds = st.integers(0, 10**6)


@given(seeds, st.sampled_from(sorted(SMP)))
def test_region_losses_are_those_of_smp(seed, name):
    assert_same(build_loss(name), SMP[name], *batch(seed))


@given(seeds, st.sampled_from([0.0, 0.5, 3.0]))
def test_ce_dice_is_torch_cross_entropy_and_the_dice_of_smp(seed, factor):
    def oracle(logits, labels):
        return F.cross_entropy(logits, labels, ignore_index=VOID) + factor * SMP["dice"](logits, labels)

    assert_same(build_loss("ce_dice", region_weight=factor), oracle, *batch(seed))


@given(seeds, st.sampled_from([0.0, 0.5, 3.0]))
def test_ce_jaccard_is_cross_entropy_and_the_jaccard_metric_loss_as_printed(seed, factor):
    def oracle(logits, labels):
        valid = labels != VOID
        losses = []
        for k in range(K):
            x, y = logits.softmax(1)[:, k][valid], (labels == k)[valid].float()
            if y.any():
                both, apart = x.norm(1) + y.norm(1), (x - y).norm(1)
                losses.append(1 - (both - apart) / (both + apart))
        return F.cross_entropy(logits, labels, ignore_index=VOID) + factor * torch.stack(losses).mean()

    assert_same(build_loss("ce_jaccard", region_weight=factor), oracle, *batch(seed))


def test_the_jaccard_metric_loss_of_certain_answers_is_one_minus_the_iou():
    # Class 0: 2 of 3 pixels found, none wrong: IoU 2/3. Class 1: its pixel found, one pixel wrong: IoU 1/2.
    labels = torch.tensor([[[0, 0, 0, 1]]])
    logits = 100.0 * F.one_hot(torch.tensor([[[0, 0, 1, 1]]]), 2).permute(0, 3, 1, 2)
    without = build_loss("ce_jaccard", region_weight=0.0)(logits, labels)
    value = build_loss("ce_jaccard", region_weight=1.0)(logits, labels) - without
    assert value.item() == pytest.approx(1 - (2 / 3 + 1 / 2) / 2, abs=1e-5)
