"""`builtin`: the name `streets` is a data set that is made on first use; any other name is a folder."""

import shutil
from functools import partial
from pathlib import Path

import pytest

from tce_core.data import builtin
from tce_core.data.builtin import find_dataset, resolve_dataset
from tce_core.data.schema import ClassInfo
from tce_core.data.streets.dataset import make_streets
from tce_core.data.writer import SplitWriter
from tce_core.errors import UserError

SMALL = {"train": 12, "val": 3, "test": 1, "size": (48, 80)}


@pytest.fixture(autouse=True)
def working_directory(tmp_path, monkeypatch):
    """An empty working directory, and small built-in data sets."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(builtin, "make_streets", partial(make_streets, **SMALL))


def test_streets_is_made_once_below_the_working_directory(monkeypatch):
    first = resolve_dataset("streets")
    assert first.path == Path("data/streets")
    monkeypatch.delattr(builtin, "make_streets")
    assert resolve_dataset("streets").fingerprint == first.fingerprint
    assert resolve_dataset("data/streets").fingerprint == first.fingerprint


def test_a_folder_named_streets_comes_before_the_built_in_data_set():
    make_streets("streets", seed=7, **SMALL)
    assert resolve_dataset("streets").train.source == "procedural, seed 7"
    assert not Path("data").exists()


def test_another_name_is_a_folder_of_arrow_files():
    shutil.move(make_streets("elsewhere", **SMALL).path, "mine")
    assert resolve_dataset("mine").name == "mine"
    with pytest.raises(UserError, match="elsewhere: no such data set"):
        resolve_dataset("elsewhere")


def test_a_class_without_training_pixels_is_refused():
    data = make_streets("mine", **SMALL)
    for split in (data.train, data.val):
        classes = [*data.classes, ClassInfo(10, "bus", (0, 60, 100))]
        with SplitWriter(split.path, classes, "one class too many", split.name) as writer:
            for index in range(len(split)):
                writer.add(split.row_name(index), split.image(index), split.mask(index))
    Path("mine/test.arrow").unlink()
    with pytest.raises(UserError, match="no pixel of class bus in the train split"):
        resolve_dataset("mine")
    assert find_dataset("mine").num_classes == 11
