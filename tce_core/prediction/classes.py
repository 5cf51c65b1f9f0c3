"""The classes of a model, with names and colours, for a model that may not know them."""

from pathlib import Path

from tce_core import VOID
from tce_core.data.builtin import find_dataset
from tce_core.data.folder import read_classes
from tce_core.data.schema import ClassInfo
from tce_core.errors import UserError
from tce_core.prediction.palette import palette
from tce_core.weights import Weights, check_classes_of, class_names_of


def classes_of_model(
    weights: Weights, path: Path, dataset: str | Path | None = None, file: Path | None = None
) -> tuple[ClassInfo, ...]:
    """Return the K classes of weights that were read from `path`.

    Args:
        weights: of K classes.
        path: for error messages.
        dataset: a data set that has them, if there is one.
        file: a `classes.json` that has them, if there is one and no data set is given.

    Returns:
        The classes of the data set or the file. Without both, the names are those in the weights, or `class 0` and so
        on, and the colours those of `palette`.

    Raises:
        UserError: the data set or the file cannot be read, or has other classes than the weights; or K is too large.
    """
    if weights.num_classes > VOID:
        raise UserError(f"{path}: weights for {weights.num_classes} classes; a mask can hold {VOID}")
    if dataset is not None:
        data = find_dataset(dataset)
        classes, owner = data.classes, data.path
    elif file is not None:
        classes, owner = read_classes(file), file
    else:
        names = class_names_of(weights.metadata)
        if names is None or len(names) != weights.num_classes:
            names = tuple(f"class {k}" for k in range(weights.num_classes))
        colours = palette(len(names))
        return tuple(ClassInfo(k, name, colours[k]) for k, name in enumerate(names))
    check_classes_of(weights, path, [info.name for info in classes], owner)
    return classes
