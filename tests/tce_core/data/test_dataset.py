"""The Arrow format: reading returns exactly what was written, without copies, and bad files are named."""

import json
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tce_core import VOID
from tce_core.data import writer as writer_module
from tce_core.data.dataset import ClassInfo, Split, SplitWriter, new_folder, open_dataset
from tce_core.data.schema import METADATA_KEY
from tce_core.errors import UserError

CLASSES = (ClassInfo(0, "road", (128, 64, 128)), ClassInfo(1, "car", (0, 0, 142)), ClassInfo(2, "pole", (9, 9, 9)))


def rows(seed=0, count=5):
    rng = np.random.default_rng(seed)
    for i in range(count):
        size = (4 + i, 7)
        image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        yield f"image_{i}", image, rng.choice(np.array([0, 1, 2, VOID], np.uint8), size)


def write(path, pairs=None, classes=CLASSES, split="train"):
    with SplitWriter(path, classes, "made up", split) as writer:
        for row in rows() if pairs is None else pairs:
            writer.add(*row)
    return path


@pytest.fixture
def folder(tmp_path):
    for seed, split in enumerate(("train", "val")):
        write(tmp_path / f"{split}.arrow", rows(seed), split=split)
    return tmp_path


def left_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_round_trip_is_exact(folder):
    dataset = open_dataset(folder)
    assert (dataset.name, dataset.class_names, dataset.num_classes) == (folder.name, ("road", "car", "pole"), 3)
    assert (dataset.train.name, dataset.val.name, dataset.test) == ("train", "val", None)
    assert dataset.train.classes == CLASSES
    assert dataset.train.source == "made up"
    assert len(dataset.train) == 5
    for i, (name, image, mask) in enumerate(rows()):
        assert dataset.train.row_name(i) == name
        np.testing.assert_array_equal(dataset.train.image(i), image)
        np.testing.assert_array_equal(dataset.train.mask(i), mask)
        assert dataset.train.sizes[i].tolist() == list(mask.shape)
        assert dataset.train.pixel_counts[i].tolist() == [(mask == k).sum() for k in range(3)]
    assert dataset.train.pixel_counts.dtype == np.int64


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_size_and_any_label_survives(tmp_path, data):
    size = data.draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    image = data.draw(hnp.arrays(np.uint8, (*size, 3)))
    mask = data.draw(hnp.arrays(np.uint8, size, elements=st.sampled_from([0, 1, 2, VOID])))
    split = Split(write(tmp_path / "train.arrow", [("ünï/cøde", image, mask)]))
    assert split.row_name(0) == "ünï/cøde"
    np.testing.assert_array_equal(split.image(0), image)
    np.testing.assert_array_equal(split.mask(0), mask)


def test_many_batches_read_like_one(tmp_path, monkeypatch):
    one = Split(write(tmp_path / "one.arrow"))
    monkeypatch.setattr(writer_module, "BATCH_BYTES", 1)
    many = Split(write(tmp_path / "many.arrow"))
    assert len(pa.ipc.open_file(str(tmp_path / "many.arrow")).schema) == 7
    assert pa.ipc.open_file(str(tmp_path / "many.arrow")).num_record_batches == 5
    assert many.fingerprint == one.fingerprint
    for i in range(5):
        assert many.row_name(i) == one.row_name(i)
        np.testing.assert_array_equal(many.image(i), one.image(i))
        np.testing.assert_array_equal(many.mask(i), one.mask(i))
    np.testing.assert_array_equal(many.pixel_counts, one.pixel_counts)


def test_arrays_are_read_only_views_of_the_mapped_file(folder):
    split = open_dataset(folder).train
    before = pa.total_allocated_bytes()
    for array, again in ((split.image(0), split.image(0)), (split.mask(0), split.mask(0))):
        assert np.shares_memory(array, again)
        assert not array.flags.writeable
        assert not array.flags.owndata
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    assert pa.total_allocated_bytes() == before  # mapped, not copied into memory


@pytest.mark.parametrize("index", [-1, 5])
def test_index_outside_the_split(folder, index):
    with pytest.raises(IndexError, match=f"image {index} of 5"):
        open_dataset(folder).train.image(index)


def test_pickles_as_a_path(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    dataset = open_dataset(Path(folder.name))
    pickled = pickle.dumps(dataset)
    assert len(pickled) < 2000
    monkeypatch.chdir("/")  # a worker process may start in another folder than its parent
    again = pickle.loads(pickled)
    assert again.fingerprint == dataset.fingerprint
    np.testing.assert_array_equal(again.val.image(2), dataset.val.image(2))


def test_fingerprint_follows_the_content(tmp_path):
    def fingerprint(pairs, classes=CLASSES):
        return Split(write(tmp_path / "x.arrow", pairs, classes)).fingerprint

    original = list(rows())
    seen = {fingerprint(original)}
    assert fingerprint(original) in seen
    assert len(next(iter(seen))) == 64
    name, image, mask = original[1]
    variants = [
        [original[1], original[0], *original[2:]],
        original[:-1],
        [original[0], ("renamed", image, mask), *original[2:]],
        [original[0], (name, image ^ 1, mask), *original[2:]],
        [original[0], (name, image, np.full_like(mask, VOID)), *original[2:]],
        [original[0], (name, image.reshape(7, 5, 3), mask.reshape(7, 5)), *original[2:]],
    ]
    seen |= {fingerprint(variant) for variant in variants}
    seen.add(fingerprint(original, (*CLASSES[:2], ClassInfo(2, "mast", (9, 9, 9)))))
    assert len(seen) == 1 + len(variants) + 1


def test_dataset_fingerprint_tells_splits_apart(folder):
    first = open_dataset(folder).fingerprint
    assert len(first) >= 12
    assert int(first, 16) >= 0
    (folder / "train.arrow").rename(folder / "x")
    (folder / "val.arrow").rename(folder / "train.arrow")
    (folder / "x").rename(folder / "val.arrow")
    assert open_dataset(folder).fingerprint != first


def test_untrainable_class_is_named(folder):
    open_dataset(folder).require_trainable()
    write(folder / "train.arrow", [(n, i, np.where(m == 1, VOID, m).astype(np.uint8)) for n, i, m in rows()])
    with pytest.raises(UserError, match=r"train\.arrow: no pixel of class car in the train split.*classes\.json"):
        open_dataset(folder).require_trainable()


IMAGE, MASK = np.zeros((4, 6, 3), np.uint8), np.zeros((4, 6), np.uint8)
BAD_ROWS = {
    "sizes differ": (IMAGE, MASK[:3], r"odd: its image is 4x6 but its mask 3x6.*same size"),
    "label id": (IMAGE, np.where(np.arange(6) < 2, 3, MASK).astype(np.uint8), r"odd: .*label id 3; allowed are 0\.\.2"),
    "label ids": (IMAGE, np.arange(24, dtype=np.uint8).reshape(4, 6) + 230, r"odd: .*label id 230, .*253; allowed"),
    "grey image": (MASK, MASK, r"odd: its image is uint8 \(4, 6\); it must be uint8 \(H, W, 3\)"),
    "float image": (IMAGE.astype(np.float32), MASK, r"odd: its image is float32"),
    "int64 mask": (IMAGE, MASK.astype(np.int64), r"odd: its mask is int64"),
    "colour mask": (IMAGE, IMAGE, r"odd: its mask is uint8 \(4, 6, 3\)"),
    "no pixels": (IMAGE[:0], MASK[:0], r"odd: its image is uint8 \(0, 6, 3\).*not empty"),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_bad_row_is_named_and_nothing_is_left(tmp_path, case):
    image, mask, message = BAD_ROWS[case]
    with pytest.raises(UserError, match=message):
        write(tmp_path / "train.arrow", [*rows(), ("odd", image, mask)])
    assert left_in(tmp_path) == []


def test_name_used_twice(tmp_path):
    with pytest.raises(UserError, match="image_0: this name is used by two images"):
        write(tmp_path / "train.arrow", [*rows(), *rows(count=1)])
    assert left_in(tmp_path) == []


def test_empty_split_is_refused_and_the_old_file_stays(tmp_path):
    old = write(tmp_path / "train.arrow").read_bytes()
    with pytest.raises(UserError, match=r"train\.arrow: the split is empty"):
        write(tmp_path / "train.arrow", [])
    assert left_in(tmp_path) == ["train.arrow"]
    assert (tmp_path / "train.arrow").read_bytes() == old


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_interrupted_writing_leaves_nothing(tmp_path, error):
    def interrupted():
        yield from rows()
        raise error

    def make():
        with new_folder(tmp_path / "out") as folder:
            write(folder / "train.arrow")
            write(folder / "val.arrow", interrupted())

    with pytest.raises(error):
        make()
    assert left_in(tmp_path) == []


def test_new_folder_refuses_a_taken_path(folder):
    for taken in (folder, folder / "train.arrow"):
        with pytest.raises(UserError, match=f"{taken}: exists already"), new_folder(taken):
            pass
    assert left_in(folder) == ["train.arrow", "val.arrow"]
    (folder / "empty").mkdir()
    with new_folder(folder / "empty") as partial:
        (partial / "file").touch()
    assert left_in(folder / "empty") == ["file"]


def numbered(count):
    return tuple(ClassInfo(i, f"class {i}", (i, i, i)) for i in range(count))


BAD_CLASSES = {
    "too many": (numbered(256), "256 classes; there must be 1..255"),
    "none": ((), "0 classes"),
    "a gap": ((CLASSES[0], CLASSES[2]), r"class id 2 is out of place; ids must be 0\.\.1"),
    "a name twice": ((CLASSES[0], ClassInfo(1, "road", (0, 0, 0))), "class name 'road' is used more than once"),
}


@pytest.mark.parametrize("case", BAD_CLASSES)
def test_bad_classes(tmp_path, case):
    classes, message = BAD_CLASSES[case]
    with pytest.raises(UserError, match=rf"train\.arrow: {message}"):
        SplitWriter(tmp_path / "train.arrow", classes, "", "train")
    assert left_in(tmp_path) == []


def test_most_classes_possible(tmp_path):
    mask = np.array([[0, 254, VOID]], np.uint8)
    split = Split(write(tmp_path / "x.arrow", [("a", np.zeros((1, 3, 3), np.uint8), mask)], numbered(255)))
    assert split.pixel_counts[0, [0, 253, 254]].tolist() == [1, 0, 1]


def test_missing_folder(tmp_path):
    with pytest.raises(UserError, match=r"nowhere: no such data set; .*python -m tce_core\.data\.convert"):
        open_dataset(tmp_path / "nowhere")


def test_raw_folder_names_the_command(tmp_path):
    (tmp_path / "classes.json").write_text("{}")
    command = f"python -m tce_core.data.convert folder {tmp_path} {tmp_path}-arrow"
    with pytest.raises(UserError) as caught:
        open_dataset(tmp_path)
    assert command in str(caught.value)


@pytest.mark.parametrize("name", ["train.arrow", "val.arrow"])
def test_missing_split(folder, name):
    (folder / name).unlink()
    with pytest.raises(UserError, match=f"{folder}: {name} missing"):
        open_dataset(folder)


def test_a_file_is_no_data_set(folder):
    with pytest.raises(UserError, match=r"train\.arrow: a file, not a data set"):
        open_dataset(folder / "train.arrow")


@pytest.mark.parametrize("part", [0.0, 0.001, 0.4, 0.999])
def test_truncated_file(folder, part):
    whole = (folder / "val.arrow").read_bytes()
    (folder / "val.arrow").write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(UserError, match=r"val\.arrow: not a complete Arrow file"):
        open_dataset(folder)


def test_not_an_arrow_file(folder):
    (folder / "val.arrow").write_text("PNG, honestly\n" * 200)
    with pytest.raises(UserError, match=r"val\.arrow: not a complete Arrow file"):
        open_dataset(folder)


def rewrite(path, metadata=None, change=lambda table: table):
    table = change(pa.ipc.open_file(str(path)).read_all())
    if metadata is not None:
        stored = json.loads(table.schema.metadata[METADATA_KEY]) | metadata
        table = table.replace_schema_metadata({METADATA_KEY: json.dumps(stored)})
    with pa.ipc.new_file(str(path), table.schema) as file:
        file.write_table(table)


BAD_FILES = {
    "version": ({"metadata": {"version": 2}}, "format version 2, but this program reads version 1"),
    "columns": ({"change": lambda table: table.drop_columns(["pixels"])}, "columns .* are not those of format version"),
    "foreign": ({"change": lambda table: table.replace_schema_metadata(None)}, "not a split of a data set"),
    "damaged": ({"metadata": {"classes": None}}, '"classes" must be a list'),
    "empty": ({"change": lambda table: table.slice(0, 0)}, "the split is empty"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_arrow_file_of_another_make(folder, case):
    arguments, message = BAD_FILES[case]
    rewrite(folder / "val.arrow", **arguments)
    with pytest.raises(UserError, match=rf"val\.arrow: .*{message}") as caught:
        open_dataset(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ((*CLASSES[:2], ClassInfo(2, "mast", (9, 9, 9))), "class 2 is 'mast' .*but 'pole'"),
        ((*CLASSES, ClassInfo(3, "bus", (1, 1, 1))), "4 classes, but train has 3"),
    ],
)
def test_splits_that_disagree(folder, classes, message):
    write(folder / "val.arrow", classes=classes, split="val")
    with pytest.raises(UserError, match=rf"val\.arrow: {message}"):
        open_dataset(folder)
