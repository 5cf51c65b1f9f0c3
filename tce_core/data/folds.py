"""Folds of a small data set: each image of `train` and `val` is held out once, and trains the other models.

Images that belong together, such as frames of one drive, form a group, which no fold takes apart.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

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
        UserError: there are fewer groups than folds, or an image's name does not hold `group_by`.
    """
    if config.fold is None:
        return data
    number, folds = map(int, config.fold.split("/"))
    parts = (data.train, data.val)
    if config.group_by is not None:
        require_groups(parts, config.group_by)
    names = [split.row_name(row) for split in parts for row in range(len(split))]
    groups = [f"{i}" if config.group_by is None else group_of(names[i], config.group_by) for i in range(len(names))]
    shown = np.concatenate([split.pixel_counts > 0 for split in parts])
    try:
        held_out = deal(groups, shown, folds) == number - 1
    except UserError as error:
        raise UserError(f"{data.path}: {error}") from None
    places = np.concatenate([[(part, row) for row in range(len(split))] for part, split in enumerate(parts)])
    train, val = (Selection(n, parts, places[at]) for n, at in (("train", ~held_out), ("val", held_out)))
    return replace(data, train=train, val=val, test=None)


def group_of(name: str, group_by: str) -> str:
    """Return the group of an image: the part of its name before `group_by`."""
    return name.partition(group_by)[0]


def require_groups(splits: Sequence[Split], group_by: str) -> None:
    """Check that every image's name has something before `group_by`, and that there are two groups.

    Raises:
        UserError: naming the first image whose name does not, or the only group.
    """
    groups = set()
    for split in splits:
        for name in (split.row_name(row) for row in range(len(split))):
            if name.find(group_by) < 1:
                raise UserError(f"{split.path}: image '{name}' has no group: its name has nothing before '{group_by}'")
            groups.add(group_of(name, group_by))
    if len(groups) < 2:
        raise UserError(f"{splits[0].path}: all images are of one group, '{groups.pop()}'; at least two are needed")


def deal(groups: Sequence[str], shown: npt.NDArray[np.bool_], folds: int) -> Places:
    """Deal groups into folds that share the images of each class, and all images, about evenly.

    The groups with the rarest classes come first, of these the largest. Each goes where its rarest class has the fewest
    images, then where the fewest images are.

    Args:
        groups: (N,) the group of each image.
        shown: (N, K) whether an image shows a class.
        folds: number of folds.

    Returns:
        (N,) the fold of each image, from 0.

    Raises:
        UserError: there are fewer groups than folds.
    """
    names, of_image, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(names) < folds:
        few = f"{len(names)} groups ({', '.join(names[:6])})" if len(names) < len(groups) else f"{len(names)} images"
        raise UserError(f"{few} for {folds} folds; give fewer folds")
    images = np.zeros((len(names), shown.shape[1]), np.int64)  # of each group, that show each class
    np.add.at(images, of_image, shown)
    rarity = np.where(images > 0, (images > 0).sum(axis=0), len(names) + 1)
    rarest = rarity.argmin(axis=1)
    mixed = np.random.default_rng(0).permutation(len(names))
    order = mixed[np.lexsort((-sizes[mixed], rarity.min(axis=1)[mixed]))]
    total, of_class = np.zeros(folds, np.int64), np.zeros((folds, shown.shape[1]), np.int64)
    fold_of_group = np.zeros(len(names), np.int64)
    for group in order:
        fold = np.lexsort((total, of_class[:, rarest[group]]))[0]
        fold_of_group[group] = fold
        total[fold] += sizes[group]
        of_class[fold] += images[group]
    return fold_of_group[of_image]
