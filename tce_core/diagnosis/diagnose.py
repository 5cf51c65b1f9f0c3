"""The whole diagnosis of a data set and, if there is one, of a model."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from tce_core.data.dataset import Dataset
from tce_core.diagnosis.differences import Difference, differences
from tce_core.diagnosis.duplicates import Duplicate, find_duplicates
from tce_core.diagnosis.occurrence import Occurrence
from tce_core.diagnosis.reasons import Verdict, verdicts
from tce_core.diagnosis.scores import ClassScores, class_scores
from tce_core.diagnosis.survey import survey
from tce_core.errors import UserError
from tce_core.evaluation import evaluate


@dataclass(frozen=True)
class Diagnosis:
    """What is known of every class."""

    occurrences: Mapping[str, Occurrence]
    """What each split shows, by its name."""
    duplicates: tuple[Duplicate, ...]
    """Pictures that splits share."""
    evaluated: str
    """The split that the model was evaluated on, or would be."""
    scores: ClassScores | None
    """Of the model; None without one."""
    verdicts: tuple[Verdict, ...]
    """The bad classes, the worst first, and the likely reasons."""
    differences: Mapping[int, list[Difference]] = field(default_factory=dict)
    """For each bad class the images on which the model is worst at it."""


def diagnose(
    data: Dataset, model: nn.Module | None = None, evaluated: str = "val", device: torch.device | None = None
) -> Diagnosis:
    """Look at every image of a data set, and evaluate a model on one split.

    Args:
        data: with K classes.
        model: gives logits of these classes, see `evaluation.predict`; on the device, in `channels_last` if possible.
        evaluated: `val` or `test`.
        device: where the model is. Default: the CPU.

    Raises:
        UserError: the split does not exist, or a model is to be evaluated and the split has no labels.
    """
    every = {"train": data.train, "val": data.val, "test": data.test}
    splits = {name: split for name, split in every.items() if split is not None}
    if evaluated not in splits:
        raise UserError(f"{data.path}: no {evaluated} split; it has {', '.join(splits)}")
    if model is not None and not splits[evaluated].pixel_counts.any():
        raise UserError(f"{splits[evaluated].path}: no labelled pixel, so no model can be evaluated on it")
    surveys = {name: survey(split) for name, split in splits.items()}
    occurrences = {name: one.occurrence for name, one in surveys.items()}
    duplicates = tuple(find_duplicates({name: one.fingerprints for name, one in surveys.items()}))
    if model is None:
        found = tuple(verdicts(data.class_names, occurrences, None, evaluated))
        return Diagnosis(occurrences, duplicates, evaluated, None, found)
    device, split = device or torch.device("cpu"), splits[evaluated]
    confusion, counts = (one[0].numpy() for one in evaluate(model, split, device))
    scores = class_scores(confusion, counts)
    found = tuple(verdicts(data.class_names, occurrences, scores, evaluated))
    worst = differences(model, split, device, counts, [one.label for one in found])
    return Diagnosis(occurrences, duplicates, evaluated, scores, found, worst)
