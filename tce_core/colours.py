"""Colours of a batch, on its device: jitter as one affine map per image, then ImageNet's normalisation.

Brightness, contrast, saturation and a turn of the hue are all affine maps of an RGB value x. Contrast also uses the
mean colour m of the image, and the mean of an affine map is the map of the mean. So any sequence of them is

    y = A x + C m

with two 3x3 matrices A and C that depend on the random numbers only. The CPU makes them before it has seen a pixel.
The device applies them to the whole batch at once.

Brightness, contrast and saturation are those of torchvision. It rounds and clips to 0..255 after each of them; here
only the result is clipped. Its hue moves along a hexagon and is not affine; here the hue turns around the grey axis.
For a shift of h turns the two differ by at most 3.6 h, in units of the largest colour value.
"""

import functools
import math

import numpy as np
import torch
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
LUMA = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue in the grey value (ITU-R BT.601), as torchvision has them."""
GREY = np.tile(LUMA, (3, 1))
"""Maps a colour to its grey value, in all three channels."""


def jitter(strength: float, rng: np.random.Generator) -> np.ndarray:
    """Draw a random change of brightness, contrast, saturation and hue, in random order.

    Args:
        strength: s in 0..1. The first three change by a factor in [1 - s, 1 + s], the hue by at most s / 40 of the
            colour circle.
        rng: the source of the factors and of their order.

    Returns:
        (2, 3, 3) float64, the matrices A and C of this module.
    """
    brightness, contrast, saturation = rng.uniform(1 - strength, 1 + strength, 3)
    turns = float(rng.uniform(-strength, strength)) / 40
    a, c = np.eye(3), np.zeros((3, 3))
    for change in rng.permutation(4):
        if change == 0:
            a, c = brightness * a, brightness * c
        elif change == 1:  # towards the mean grey value; the mean colour is now (a + c) m
            a, c = contrast * a, contrast * c + (1 - contrast) * GREY @ (a + c)
        else:
            matrix = saturation_matrix(saturation) if change == 2 else hue_matrix(turns)
            a, c = matrix @ a, matrix @ c
    return np.stack([a, c])


def saturation_matrix(factor: float) -> np.ndarray:
    """Return the (3, 3) matrix that moves each colour away from (factor > 1) or towards its grey value."""
    return factor * np.eye(3) + (1 - factor) * GREY


def hue_matrix(turns: float) -> np.ndarray:
    """Return the (3, 3) rotation around the grey axis by `turns` of the colour circle (Rodrigues' formula)."""
    cosine, sine = math.cos(2 * math.pi * turns), math.sin(2 * math.pi * turns) / math.sqrt(3)
    rest = (1 - cosine) / 3
    same, less, more = cosine + rest, rest - sine, rest + sine
    return np.array([[same, less, more], [more, same, less], [less, more, same]])


def normalise(images: Tensor, colours: Tensor | None = None) -> Tensor:
    """Change the colours, then shift and scale them so that ImageNet has mean 0 and standard deviation 1 per channel.

    Args:
        images: (B, 3, H, W) uint8 RGB.
        colours: (B, 2, 3, 3) float32 on the same device, the matrices of `jitter` per image. Default: no change.

    Returns:
        (B, 3, H, W) float32 on the same device, contiguous.
    """
    x = images.contiguous().float()
    if colours is not None:
        a, c = colours.unbind(1)
        offset = c @ x.mean((2, 3))[..., None]  # (B, 3, 1)
        x = torch.baddbmm(offset, a, x.flatten(2)).view_as(x).clamp_(0, 255)
    mean, std = _imagenet(images.device)
    return x.sub_(mean).div_(std)


@functools.cache
def _imagenet(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation, (3, 1, 1) each, in 0..255. A GPU is waited for only at the first call."""
    mean, std = (torch.tensor(values, device=device).view(3, 1, 1) * 255 for values in (IMAGENET_MEAN, IMAGENET_STD))
    return mean, std
