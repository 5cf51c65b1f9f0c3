"""The class that the reference finds worst, in images: input, truth, reference and the other model side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sweeps.execution.checkpoints import checkpoint_path
from sweeps.report.subject import Subject
from sweeps.reporting.embedded import jpeg, png
from sweeps.strategy.points import Point
from tce_core import VOID
from tce_core.data.dataset import Dataset, Split
from tce_core.data.schema import ClassInfo

Bytes = npt.NDArray[np.uint8]
NUMBER = 3
"""Most images that are shown."""


class Comparison(NamedTuple):
    """One image, cut to where the class is."""

    name: str
    images: tuple[str, ...]
    """Input, truth, reference and subject as `data:` addresses."""
    found: tuple[str, str]
    """Of the reference and of the subject: which share of the class's pixels in the whole image it finds, and which
    share of what it takes for the class is right."""
    legend: tuple[ClassInfo, ...]


def has_weights(subject: Subject, checkpoints: Path) -> bool:
    """Whether the weights of both models were kept."""
    return all(checkpoint_path(checkpoints, one.trial.number).exists() for one in (subject.reference, subject.point))


def comparisons_of(subject: Subject, data: Dataset, checkpoints: Path, k: int) -> list[Comparison]:
    """Predict the images with the most pixels of a class, with the reference and with the subject.

    The images are chosen by their truth alone, so they flatter neither model. They are of the test split if there is
    one, else of val.

    Args:
        subject: the models; their weights must be there, see `has_weights`.
        data: the data set of the sweep.
        checkpoints: the folder of the sweep's checkpoints.
        k: the class.
    """
    split = data.test or data.val
    most = np.argsort(-split.pixel_counts[:, k], kind="stable")[:NUMBER]
    rows = [int(i) for i in most if split.pixel_counts[i, k]]
    predicted = [
        _predictions(point, split, rows, data, checkpoint_path(checkpoints, point.trial.number))
        for point in (subject.reference, subject.point)
    ]
    return [_comparison(split, row, k, (one, two)) for row, one, two in zip(rows, *predicted, strict=True)]


def _predictions(point: Point, split: Split, rows: Sequence[int], data: Dataset, weights: Path) -> list[Bytes]:
    import torch  # the driver of a sweep needs it for nothing else

    from tce_core.adjust import class_shares, fold
    from tce_core.evaluation import predict
    from tce_core.weights import read_weights

    model = read_weights(weights).model
    if point.tau:
        fold(model, class_shares(data.train.pixel_counts), point.tau)
    images = (torch.from_numpy(split.image(row).copy()).permute(2, 0, 1)[None] for row in rows)
    return [predict(model, image)[0].numpy() for image in images]


def _comparison(split: Split, row: int, k: int, predictions: tuple[Bytes, Bytes]) -> Comparison:
    from tce_core.diagnosis.differences import window_of

    image, truth = split.image(row), split.mask(row)
    window = window_of(truth == k)
    colours = np.zeros((VOID + 1, 3), dtype=np.uint8)
    colours[: split.num_classes] = [info.color for info in split.classes]
    parts = [window.of(ids) for ids in (truth, *predictions)]
    shown = sorted({int(one) for ids in parts for one in np.unique(ids)} - {VOID, k})
    found = [_found(ids[truth != VOID] == k, truth[truth != VOID] == k) for ids in predictions]
    return Comparison(
        split.row_name(row),
        (jpeg(window.of(image)), *(png(colours[ids]) for ids in parts)),
        (found[0], found[1]),
        (split.classes[k], *(split.classes[one] for one in shown)),
    )


def _found(predicted: npt.NDArray[np.bool_], true: npt.NDArray[np.bool_]) -> str:
    """Recall and precision of a class in one image, in words."""
    both = (predicted & true).sum()
    right = f", {both / predicted.sum():.0%} of what it takes for it is right" if predicted.any() else ""
    return f"finds {both / true.sum():.0%}{right}"
