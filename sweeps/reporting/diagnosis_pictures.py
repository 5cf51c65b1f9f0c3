"""The pictures of a diagnosis: input, truth and prediction as small embedded images."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from sweeps.reporting.embedded import jpeg, png
from tce_core import VOID
from tce_core.data.schema import ClassInfo
from tce_core.diagnosis.differences import Bytes, Difference

FADED = (205, 245)
"""Grey of black and of white pixels that are not wrong for the class. Only the wrong ones have colours."""
BUDGET = 3_000_000
"""Most characters of all pictures of a page."""


class Picture(NamedTuple):
    """A difference, as a page shows it."""

    name: str
    place: str
    """Which part of the image, in words."""
    wrong: int
    images: tuple[str, ...]
    """Input, truth and prediction as `data:` addresses."""
    legend: tuple[ClassInfo, ...]
    """The classes at the wrong pixels, the class in question first."""


def pictures_of(
    differences: dict[int, list[Difference]], classes: Sequence[ClassInfo], budget: int = BUDGET
) -> dict[int, list[Picture]]:
    """Make the pictures of each class, in order, until their size reaches the budget."""
    made: dict[int, list[Picture]] = {}
    for k, found in differences.items():
        made[k] = [_picture(one, k, classes) for one in found]
        budget -= sum(len(image) for picture in made[k] for image in picture.images)
        if budget <= 0:
            break
    return made


def _picture(found: Difference, k: int, classes: Sequence[ClassInfo]) -> Picture:
    truth, prediction = found.truth, found.prediction
    wrong = (truth != VOID) & (truth != prediction) & ((truth == k) | (prediction == k))
    colours = np.zeros((VOID + 1, 3), dtype=np.uint8)
    colours[: len(classes)] = [info.color for info in classes]
    window = found.window
    place = f"rows {window.top}–{window.top + window.height}, columns {window.left}–{window.left + window.width}"
    shown = {*truth[wrong].tolist(), *prediction[wrong].tolist()} - {k}
    legend = (classes[k], *(classes[other] for other in sorted(shown)))
    images = jpeg(found.image), *(png(_faded(colours[ids], wrong)) for ids in (truth, prediction))
    return Picture(found.name, place, found.wrong, images, legend)


def _faded(painted: Bytes, wrong: "np.ndarray") -> Bytes:
    """Take the colour off the pixels (h, w, 3) that are not wrong."""
    dark, light = FADED
    grey = np.asarray(Image.fromarray(painted).convert("L")) * ((light - dark) / 255) + dark
    return np.where(wrong[:, :, None], painted, grey.astype(np.uint8)[:, :, None])
