"""What a model does on every image of a split, kept as a Parquet file: paired intervals need more than the sums."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tce_core.data.dataset import Split
from tce_core.errors import UserError
from tce_core.files import replacing
from tce_core.iou import of_shown_classes

FORMAT = "tilted-sweeps/counts/1"
COUNTS = ("tp", "fp", "fn")


@dataclass(frozen=True, eq=False)
class ImageCounts:
    """The counts of one model on one split, for every strength of logit adjustment."""

    split: str
    images: tuple[str, ...]
    """Names of the N images, in the order of the split."""
    classes: tuple[str, ...]
    taus: tuple[float, ...]
    """The T strengths; 0 is the plain model."""
    pixels: npt.NDArray[np.int64]
    """(T, N, 3, K): true positives, false positives and false negatives, in pixels; also the false positives of a class
    that the split does not show: another part of the data may show it."""

    @classmethod
    def of(cls, split: Split, taus: Sequence[float], pixels: npt.NDArray[np.int64]) -> "ImageCounts":
        """The counts of `evaluate`, with the names of their images and classes."""
        names = tuple(split.row_name(i) for i in range(len(split)))
        return cls(split.name, names, split.class_names, tuple(taus), pixels)

    def at(self, tau: float) -> npt.NDArray[np.int64]:
        """Return the counts (N, 3, K) of one strength, see `of_shown_classes`.

        Raises:
            ValueError: there are none for it.
        """
        if tau not in self.taus:
            raise ValueError(f"no counts for tau {tau:g}; there are those for {', '.join(f'{t:g}' for t in self.taus)}")
        return of_shown_classes(self.pixels[self.taus.index(tau)])


def write_counts(path: Path, splits: Sequence[ImageCounts]) -> None:
    """Write the counts of one model, completely or not at all.

    The table has a row for each split, strength, image and class with a pixel: `split`, `tau`, `row` (of the image in
    its split), `image`, `class`, `tp`, `fp`, `fn`. Any reader of Parquet files can use it.

    Raises:
        OSError: the file cannot be written.
    """
    import pyarrow.parquet as pq  # it takes a moment, and only the last epoch needs it

    about = [{"split": c.split, "images": c.images, "classes": c.classes, "taus": c.taus} for c in splits]
    table = pa.concat_tables([_table(counts) for counts in splits], promote_options="permissive").unify_dictionaries()
    table = table.replace_schema_metadata({"format": FORMAT, "splits": json.dumps(about)})
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        pq.write_table(table, partial, compression="zstd")


def read_counts(path: Path) -> dict[str, ImageCounts]:
    """Read a file of `write_counts`.

    Returns:
        The counts by the name of the split.

    Raises:
        UserError: there is no such file, or it is damaged or of another kind.
    """
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        metadata = table.schema.metadata or {}
        if metadata.get(b"format") != FORMAT.encode():
            raise UserError(f"{path}: not a file of counts that this program wrote (format: {FORMAT})")
        return {about["split"]: _counts(about, table) for about in json.loads(metadata[b"splits"])}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (pa.ArrowException, OSError, KeyError, ValueError, IndexError) as error:
        raise UserError(f"{path}: the counts cannot be read: {str(error).partition(chr(10))[0]}") from None


def _table(counts: ImageCounts) -> Any:
    shown = counts.pixels.transpose(0, 1, 3, 2)  # (T, N, K, 3)
    tau, row, of_class = np.nonzero(shown.any(axis=-1))
    columns = {
        "split": _named(np.zeros(len(tau), np.int32), [counts.split]),
        "tau": pa.array(np.asarray(counts.taus)[tau]),
        "row": pa.array(row.astype(np.int32)),
        "image": _named(row, counts.images),
        "class": _named(of_class, counts.classes),
    }
    values = shown[tau, row, of_class]
    return pa.table(columns | {name: pa.array(values[:, i]) for i, name in enumerate(COUNTS)})


def _named(index: npt.NDArray[Any], names: Sequence[str]) -> Any:
    return pa.DictionaryArray.from_arrays(pa.array(index.astype(np.int32)), pa.array(names, pa.string()))


def _counts(about: dict[str, Any], table: Any) -> ImageCounts:
    """Put the rows of one split back into an array."""
    import pyarrow.compute as pc

    images, classes, taus = (tuple(about[key]) for key in ("images", "classes", "taus"))
    rows = table.filter(pc.equal(table["split"].cast(pa.string()), about["split"]))
    of_class = pc.index_in(rows["class"].cast(pa.string()), pa.array(classes, pa.string()))
    places = np.searchsorted(taus, rows["tau"].to_numpy()), rows["row"].to_numpy(), of_class.to_numpy()
    pixels = np.zeros((len(taus), len(images), len(COUNTS), len(classes)), np.int64)
    for i, name in enumerate(COUNTS):
        pixels[places[0], places[1], i, places[2]] = rows[name].to_numpy()
    return ImageCounts(about["split"], images, classes, taus, pixels)
