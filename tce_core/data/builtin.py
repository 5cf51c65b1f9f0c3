"""Open the data set that a command names: the built-in `streets` or a folder of Arrow files."""

from pathlib import Path

from tce_core.data.dataset import Dataset, open_dataset
from tce_core.data.streets.dataset import make_streets

BUILT_IN = "streets"


def built_in_path() -> Path:
    """Return the folder of `streets`: `data/streets`, relative to the working directory."""
    return Path("data", BUILT_IN)


def is_built_in(name: str | Path) -> bool:
    """Whether a data set's name means the built-in one: `streets`, unless the working directory has such a folder."""
    return str(name) == BUILT_IN and not Path(BUILT_IN).is_dir()


def resolve_dataset(name: str | Path) -> Dataset:
    """Open a data set by its name, and check that every class has a training pixel.

    Args:
        name: see `find_dataset`.

    Raises:
        UserError: see `find_dataset`; or a class has no training pixel.
    """
    data = find_dataset(name)
    data.require_trainable()
    return data


def find_dataset(name: str | Path) -> Dataset:
    """Open a data set by its name.

    Args:
        name: the path of a folder of Arrow files, or `streets`. If the working directory has no folder `streets`, this
            means the built-in data set in `data/streets`, which is made on first use.

    Raises:
        UserError: there is no such folder, or it is not a data set.
    """
    path = built_in_path() if is_built_in(name) else Path(name)
    if path == built_in_path() and not path.exists():
        make_streets(path)
    return open_dataset(path)
