"""The files of a prediction, read by others."""

import contextlib

import numpy as np
import pytest
import torch
from PIL import Image

from tce_core.data.layout import label_map, read_mask
from tce_core.data.schema import ClassInfo
from tce_core.errors import TemporaryError, UserError
from tce_core.prediction.outputs import colours_of, probabilities, write_mask, write_overlay

CLASSES = (ClassInfo(0, "road", (10, 20, 30)), ClassInfo(1, "sky", (200, 100, 0)), ClassInfo(2, "car", (0, 0, 255)))
MASK = np.array([[0, 1, 2], [2, 255, 0]], np.uint8)


def test_a_mask_holds_class_ids_and_shows_their_colours(tmp_path):
    path = tmp_path / "new" / "folder" / "a.png"
    write_mask(path, MASK, colours_of(CLASSES))
    with Image.open(path) as picture:
        assert picture.mode == "P"
        assert np.array_equal(np.asarray(picture), MASK)
        shown = np.asarray(picture.convert("RGB"))
    assert shown[0].tolist() == [list(info.color) for info in CLASSES]
    assert shown[1, 1].tolist() == [0, 0, 0]
    assert np.array_equal(read_mask(path, label_map({0: 0, 1: 1, 2: 2, 255: 255})), MASK)  # a data set can have it


def test_an_overlay_is_the_middle_of_photograph_and_colours(tmp_path):
    image = np.full((64, 64, 3), (50, 100, 150), np.uint8)
    write_overlay(tmp_path / "a.jpg", image, np.full((64, 64), 1, np.uint8), colours_of(CLASSES))
    with Image.open(tmp_path / "a.jpg") as picture:
        assert picture.format == "JPEG"
        assert np.asarray(picture).reshape(-1, 3).mean(0) == pytest.approx([125, 100, 75], abs=3)


def test_probabilities_are_numpy_s_file_in_any_order_of_rows(tmp_path):
    values = torch.rand(3, 5, 4).softmax(0)
    with probabilities(tmp_path / "a.npy", 3, 5, 4) as file:
        file.write(2, values[:, 2:])
        file.write(0, values[:, :2])
        assert not (tmp_path / "a.npy").exists()
    loaded = np.load(tmp_path / "a.npy", allow_pickle=False)
    assert loaded.dtype == np.float16
    assert np.array_equal(loaded, values.half().numpy())


@contextlib.contextmanager
def _begun(path):
    with probabilities(path, 3, 5, 4) as file:
        file.write(0, torch.rand(3, 2, 4))
        yield


def test_a_prediction_that_fails_leaves_no_file(tmp_path):
    (tmp_path / "a.npy").write_text("earlier")
    with pytest.raises(ValueError, match="stopped"), _begun(tmp_path / "a.npy"):
        raise ValueError("stopped")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.npy", "earlier")]


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "a.png").mkdir()
    with pytest.raises(UserError, match=r"a\.png: cannot be written: not a regular file"):
        write_mask(tmp_path / "a.png", MASK, colours_of(CLASSES))
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"b\.png: cannot be written: Not a directory"):
        write_mask(tmp_path / "file" / "c" / "b.png", MASK, colours_of(CLASSES))


def test_a_full_disk_can_pass(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tce_core.prediction.outputs.Probabilities.write", full)
    with (
        pytest.raises(TemporaryError, match=r"a\.npy: cannot be written: No space left"),
        probabilities(tmp_path / "a.npy", 3, 5, 4) as file,
    ):
        file.write(0, torch.rand(3, 5, 4))
    assert list(tmp_path.iterdir()) == []
