"""Data sets: the Arrow format, the converters into it, and the built-in procedural data set `streets`."""

from tce_core.data.dataset import ClassInfo, Dataset, Split, open_dataset

__all__ = ["ClassInfo", "Dataset", "Split", "open_dataset"]
