"""Folds of a small data set: each image of `train` and `val` is held out once, and trains the other models.

Images that belong together, such as frames of one drive, form a group, which no fold takes apart.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tce_core.config import TrialConfig
from tce_core.data.dataset import Dataset, Split
from tce_core.errors import UserError

Places = npt.NDArray[np.int64]


class Selection(Split):
    """Some images of several splits, as one split; see `Split` for what it offers. It reads them where they are."""

    def __init__(self, name: str, parts: Sequence[Split], places: Places) -> None:
        """Select images.

        Args:
            name: of the new split.
            parts: splits with the same classes.
            places: (N, 2), for each image the number of its part and its row there.
        """
        first = parts[0]
        self.path, self.name, self.classes, self.source = first.path.parent, name, first.classes, first.source
        self._parts, self._places = tuple(parts), places
        self.pixel_counts = np.stack([parts[part].pixel_counts[row] for part, row in places])
        self.sizes = np.stack([parts[part].sizes[row] for part, row in places])
        digest = hashlib.sha256("".join(part.fingerprint for part in parts).encode())
        digest.update(places.tobytes())
        self.fingerprint = digest.hexdigest()

    def __len__(self) -> int:
        return len(self._places)

    def image(self, index: int) -> np.ndarray:
        split, row = self._split_of(index)
        return split.image(row)

    def mask(self, index: int) -> np.ndarray:
        split, row = self._split_of(index)
        return split.mask(row)

    def row_name(self, index: int) -> str:
        split, row = self._split_of(index)
        return split.row_name(row)

    def __reduce__(self) -> tuple[type["Selection"], tuple[str, tuple[Split, ...], Places]]:  # type: ignore[override]
        return Selection, (self.name, self._parts, self._places)

    def _split_of(self, index: int) -> tuple[Split, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)} in {self!r}")
        part, row = self._places[index].tolist()
        return self._parts[part], row


def in_fold(data: Dataset, config: TrialConfig) -> Dataset:
    """Return the data that a training sees: those of its fold, or the data set as it is.

    Of fold 2/5, `val` holds the second fifth of the images of `train` and `val`, and `train` all others; there is no
    `test`. The folds depend on nothing but the data and `group_by`, so all trainings with all seeds have the same ones.

    Raises:
        UserError: there are fewer groups than folds, or no image's name holds `group_by`.
    """
    if config.fold is None:
        return data
    number, folds = map(int, config.fold.split("/"))
    places = _places(data)
    held_out = _fold_of(_groups(data, config.group_by), folds, data.path) == number - 1
    parts = (data.train, data.val)
    train, val = (Selection(n, parts, places[at]) for n, at in (("train", ~held_out), ("val", held_out)))
    return replace(data, train=train, val=val, test=None)


def _places(data: Dataset) -> Places:
    parts = [np.stack([np.full(len(s), i), np.arange(len(s))], axis=1) for i, s in enumerate((data.train, data.val))]
    return np.concatenate(parts).astype(np.int64)


def _groups(data: Dataset, group_by: str | None) -> list[str]:
    """The group of each image: its own, or the part of its name before `group_by`."""
    if group_by is None:
        return [f"{i}" for i in range(len(data.train) + len(data.val))]
    require_groups((data.train, data.val), group_by)
    return [group_of(name, group_by) for split in (data.train, data.val) for name in _names(split)]


def require_groups(splits: Sequence[Split], group_by: str) -> None:
    """Check that some image's name holds `group_by`.

    Raises:
        UserError: none does.
    """
    if not any(group_by in name for split in splits for name in _names(split)):
        first = splits[0]
        raise UserError(f"{first.path}: no image's name holds '{group_by}', to group by; one is '{first.row_name(0)}'")


def _names(split: Split) -> list[str]:
    return [split.row_name(i) for i in range(len(split))]


def group_of(name: str, group_by: str) -> str:
    """Return the group of an image: the part of its name before `group_by`."""
    return name.partition(group_by)[0]


def _fold_of(groups: Sequence[str], folds: int, path: Path) -> Places:
    """Deal groups into folds of about the same number of images: the largest first, each into the smallest fold.

    Returns:
        (N,), the fold of each image, from 0.
    """
    names, of_image, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(names) < folds:
        few = f"{len(names)} groups ({', '.join(names[:6])})" if len(names) < len(groups) else f"{len(names)} images"
        raise UserError(f"{path}: {few} for {folds} folds; give fewer folds")
    mixed = np.random.default_rng(0).permutation(len(names))
    filled, fold_of_group = np.zeros(folds, np.int64), np.zeros(len(names), np.int64)
    for group in mixed[np.argsort(-sizes[mixed], kind="stable")]:
        fold_of_group[group] = filled.argmin()
        filled[filled.argmin()] += sizes[group]
    return fold_of_group[of_image]
