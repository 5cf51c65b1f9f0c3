"""Post-hoc logit adjustment (Menon et al., arXiv 2007.07314, Eq. 9): predict argmax_c (z_c - tau * log pi_c).

z are the logits of a trained model, pi the shares of the classes in the training pixels. tau = 0 is the model as it
is; tau = 1 is what minimises the balanced error if the model's probabilities are calibrated. Nothing is trained.
"""

import json
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tce_core.iou import Floats

if TYPE_CHECKING:
    from torch import nn

TAUS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""The strengths that every evaluation compares. The first is the plain model."""

BEFORE = "adjusted_before"
"""Key of the metadata of weights that were adjusted again: a list of their earlier `tau` and `class_shares`."""


def class_shares(pixel_counts: npt.ArrayLike) -> Floats:
    """Compute the share of each class in the training pixels.

    Args:
        pixel_counts: (N, K) or (K,) integer, valid pixels of each class in each image, or in all.

    Returns:
        (K,) float64 above 0, with sum 1. A class without a pixel counts as one pixel: log 0 has no value.

    Raises:
        ValueError: the counts have another shape, or no class.
    """
    counts = np.asarray(pixel_counts, dtype=np.float64)
    if counts.ndim not in (1, 2) or counts.shape[-1] == 0:
        raise ValueError(f"pixel_counts must be (N, K) or (K,), not {counts.shape}")
    pixels = np.maximum(counts.sum(axis=0) if counts.ndim == 2 else counts, 1)
    shares: Floats = pixels / pixels.sum()
    return shares


def offsets(shares: npt.ArrayLike, taus: Sequence[float]) -> Floats:
    """Compute tau * log pi, which is subtracted from the logits.

    Args:
        shares: (K,) float above 0, see `class_shares`.
        taus: T finite numbers.

    Returns:
        (T, K) float64, at most 0 where tau is not negative. Row 0 of `TAUS` is 0.

    Raises:
        ValueError: a share is not above 0, or a tau is not finite.
    """
    pi, tau = np.asarray(shares, dtype=np.float64), np.asarray(taus, dtype=np.float64)
    if not (pi > 0).all():
        raise ValueError(f"the share of class {int(np.argmin(pi))} is {pi.min()}, not above 0")
    if not np.isfinite(tau).all():
        raise ValueError(f"taus {tuple(taus)} are not all finite")
    return np.outer(tau, np.log(pi))


def fold(model: "nn.Module", shares: npt.ArrayLike, tau: float) -> None:
    """Subtract tau * log pi from the bias of the model's last convolution, in place.

    The logits of the model are then the adjusted ones, because bilinear upsampling is linear and keeps constants.
    They differ by rounding: so in float32, and by more if the model computes in bfloat16.

    Args:
        model: a model of smp whose `segmentation_head` has no activation, as `build_model` makes it.
        shares: (K,) float above 0.
        tau: the strength.

    Raises:
        ValueError: the last convolution has no bias, or another number of classes.
    """
    import torch  # results and searches read `TAUS` without torch
    from torch import nn

    head = model.get_submodule("segmentation_head")
    last = [module for module in head.modules() if isinstance(module, nn.Conv2d)][-1]
    (change,) = offsets(shares, [tau])
    if last.bias is None or last.bias.shape != change.shape:
        has = "no bias" if last.bias is None else f"{last.out_channels} classes"
        raise ValueError(f"the last convolution has {has}; the shares are of {change.size} classes")
    with torch.no_grad():
        last.bias -= torch.from_numpy(change).to(last.bias)


def folded_offset(metadata: Mapping[str, str], classes: int) -> Floats:
    """Compute what has been subtracted from the last bias in all, from the metadata of a file of weights.

    Args:
        metadata: `tau` and `class_shares` of the last adjustment, and `BEFORE`. A `tau` holds those before it that had
            the same shares.
        classes: K.

    Returns:
        (K,) float64; 0 if nothing is folded in.

    Raises:
        ValueError, TypeError, KeyError: the metadata is not what this program writes.
    """
    last = {"tau": metadata.get("tau", "0"), "class_shares": metadata.get("class_shares")}
    folds = [*json.loads(metadata.get(BEFORE, "[]")), last]
    total = np.zeros(classes)
    for one, following in zip_longest(folds, folds[1:]):
        tau, shares = float(one["tau"]), one["class_shares"]
        if not tau or (following is not None and following["class_shares"] == shares):
            continue
        if shares is None:
            raise ValueError(f"tau is {tau:g}, but class_shares is missing")
        (change,) = offsets(json.loads(shares), [tau])
        if change.shape != total.shape:
            raise ValueError(f"class_shares are of {change.size} classes, not {classes}")
        total += change
    return total
