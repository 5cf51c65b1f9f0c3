"""The data set that a command names: the built-in `streets`, or a folder of Arrow files."""

from pathlib import Path

from tce_core.data.dataset import Dataset, open_dataset
from tce_core.data.streets.dataset import make_streets

BUILT_IN = "streets"


def built_in_path() -> Path:
    """Where `streets` is kept, below the working directory."""
    return Path("data", BUILT_IN)


def resolve_dataset(name: str) -> Dataset:
    """Open a data set; `streets` is made under `data/` on first use.

    Raises:
        UserError: no such folder, not a data set, or a class without a training pixel.
    """
    path = Path(name) if name != BUILT_IN or Path(name).is_dir() else built_in_path()
    if path == built_in_path() and not path.exists():
        make_streets(path)
    data = open_dataset(path)
    data.require_trainable()
    return data
