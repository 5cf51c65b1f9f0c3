"""Colours for classes that have none."""

import functools

import numpy as np
import numpy.typing as npt

OKABE_ITO = (
    (0, 114, 178),
    (230, 159, 0),
    (0, 158, 115),
    (204, 121, 167),
    (86, 180, 233),
    (213, 94, 0),
    (240, 228, 66),
)
"""Seven colours that people of every colour vision tell apart (Okabe and Ito, "Color Universal Design", 2008)."""
PROTANOPIA = (
    (0.152286, 1.052583, -0.204868),
    (0.114503, 0.786281, 0.099216),
    (-0.003882, -0.048116, 1.051998),
)
DEUTERANOPIA = (
    (0.367322, 0.860646, -0.227968),
    (0.280085, 0.672501, 0.047413),
    (-0.011820, 0.042940, 0.968881),
)
"""How linear RGB looks without red or without green cones (Machado et al. 2009, severity 1)."""
STEPS = (0, 36, 73, 109, 146, 182, 219, 255)
"""Values of a channel among which further colours are chosen."""
DARKEST = 0.4
"""Least lightness of Oklab of further colours: small regions in darker ones all look black."""


@functools.cache
def palette(number: int) -> tuple[tuple[int, int, int], ...]:
    """Return different colours, the same for every call. A longer palette begins with a shorter one.

    After those of Okabe and Ito, each is the one that is farthest from all earlier ones and from black, the colour of
    void, for the eye that tells them apart worst: with normal vision, without red or without green cones.

    Args:
        number: at most 255.
    """
    chosen = [(0, 0, 0), *OKABE_ITO]
    grid = [(r, g, b) for r in STEPS for g in STEPS for b in STEPS]
    grid = [colour for colour, (light, _, _) in zip(grid, _seen(np.array(grid))[0], strict=True) if light >= DARKEST]
    seen, candidates = _seen(np.array(chosen)), _seen(np.array(grid))
    nearest = np.min([_distance(candidates, one) for one in seen.transpose(1, 0, 2)], axis=0)
    while len(chosen) <= number:
        best = int(nearest.argmax())
        chosen.append(grid[best])
        nearest = np.minimum(nearest, _distance(candidates, candidates[:, best]))
    return tuple(chosen[1 : number + 1])


def _distance(colours: npt.NDArray[np.float64], one: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return (P,) how far P colours (3, P, 3) are from one (3, 3), each as the three eyes see it: the least of them."""
    away: npt.NDArray[np.float64] = np.linalg.norm(colours - one[:, None], axis=2).min(axis=0)
    return away


def _seen(colours: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return colours (P, 3) in 0..255 as three eyes see them, (3, P, 3) in Oklab, where distances are differences."""
    value = colours / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)  # sRGB, IEC 61966-2-1
    eyes = (np.eye(3), np.array(PROTANOPIA), np.array(DEUTERANOPIA))
    return np.stack([_oklab((linear @ eye.T).clip(0, 1)) for eye in eyes])


def _oklab(linear: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Linear RGB (P, 3) to Oklab (Ottosson, "A perceptual color space for image processing", 2020)."""
    to_cones = np.array(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
    )
    to_lab = np.array(
        [
            [0.2104542553, 0.7936177850, -0.0040720468],
            [1.9779984951, -2.4285922050, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.8086757660],
        ]
    )
    lab: npt.NDArray[np.float64] = np.cbrt(linear @ to_cones.T) @ to_lab.T
    return lab
