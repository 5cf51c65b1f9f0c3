"""Counts of each image, kept in Parquet: what is written is read, by this program and by others."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tce_core.errors import UserError
from tce_core.image_counts import ImageCounts, read_counts, write_counts
from tce_core.iou import iou_from_counts
from tce_core.training import train
from tests.tce_core.test_training import CPU


def counts(pixels: np.ndarray, split: str = "val") -> ImageCounts:
    taus, images, _, classes = pixels.shape
    names = tuple(f"image-{i % 2}" for i in range(images))  # names may repeat
    return ImageCounts(split, names, tuple(f"class {k}" for k in range(classes)), (0.0, 0.25, 1.0)[:taus], pixels)


shapes = st.tuples(st.integers(1, 3), st.integers(1, 4), st.just(3), st.integers(1, 5))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pixels=shapes.flatmap(lambda shape: arrays(np.int64, shape, elements=st.sampled_from([0, 0, 1, 2**40]))))
def test_what_is_written_is_read(tmp_path: Path, pixels: np.ndarray) -> None:
    one, other = counts(pixels), counts(pixels[:1, :1] + 1, "test")
    write_counts(tmp_path / "counts.parquet", [one, other])
    found = read_counts(tmp_path / "counts.parquet")
    assert list(found) == ["val", "test"]
    for written in (one, other):
        same = found[written.split]
        assert (same.images, same.classes, same.taus) == (written.images, written.classes, written.taus)
        np.testing.assert_array_equal(same.pixels, written.pixels)


def test_other_programs_find_plain_columns(tmp_path: Path) -> None:
    pixels = np.zeros((1, 2, 3, 2), np.int64)
    pixels[0, 1, :, 1] = 5, 6, 7
    write_counts(tmp_path / "counts.parquet", [counts(pixels)])
    assert pq.read_table(tmp_path / "counts.parquet").to_pylist() == [
        {"split": "val", "tau": 0.0, "row": 1, "image": "image-1", "class": "class 1", "tp": 5, "fp": 6, "fn": 7}
    ]


def test_a_strength_without_counts_is_named() -> None:
    with pytest.raises(ValueError, match=r"no counts for tau 0.5; there are those for 0"):
        counts(np.zeros((1, 1, 3, 1), np.int64)).at(0.5)


def test_bad_files_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_counts(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("text")
    with pytest.raises(UserError, match=r"text.parquet: the counts cannot be read: .*Parquet"):
        read_counts(tmp_path / "text.parquet")
    pq.write_table(pa.table({"x": [1]}), tmp_path / "foreign.parquet")
    with pytest.raises(UserError, match="not a file of counts"):
        read_counts(tmp_path / "foreign.parquet")


def test_a_training_keeps_the_counts_of_its_last_epoch(tmp_path, fast_config, streets) -> None:
    file = tmp_path / "deep" / "counts.parquet"
    results = train(fast_config(epochs=2), streets, test=True, counts=file, device=CPU)
    next(results)
    assert not file.exists()
    last = next(results)
    found = read_counts(file)
    assert found["val"].taus == tuple(scores.tau for scores in last.curve)
    for scores in last.curve:
        np.testing.assert_allclose(iou_from_counts(found["val"].at(scores.tau).sum(0)), scores.iou)
    assert last.test is not None
    np.testing.assert_allclose(iou_from_counts(found["test"].at(0.0).sum(0)), last.test[0].iou)
