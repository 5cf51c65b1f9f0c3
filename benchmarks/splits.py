"""Splits of many tiny images, for benchmarks of the index of a data set."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from tce_core.data.dataset import ClassInfo
from tce_core.data.schema import Metadata, arrow_schema


def write_split(path: Path, n: int, k: int = 19) -> Path:
    """Write a split of n images of one pixel. It is written by columns: `SplitWriter` takes one row at a time."""
    rng = np.random.default_rng(n)
    classes = tuple(ClassInfo(i, f"class {i}", (i, i, i)) for i in range(k))
    schema = arrow_schema(Metadata("train", classes, "drawn at random"))
    labels = rng.integers(0, k, n, dtype=np.uint8)

    def binary(values: np.ndarray, size: int) -> pa.Array:
        places = pa.array(np.arange(n + 1, dtype=np.int64) * size).buffers()[1]
        return pa.LargeBinaryArray.from_buffers(pa.large_binary(), n, [None, places, pa.py_buffer(values.tobytes())])

    pixels = np.zeros((n, k), np.int64)
    pixels[np.arange(n), labels] = 1
    columns = [
        pa.array([str(i) for i in range(n)]),
        *[pa.array(np.ones(n, np.int32))] * 2,
        binary(rng.integers(0, 256, 3 * n, dtype=np.uint8), 3),
        binary(labels, 1),
        pa.FixedSizeListArray.from_arrays(pa.array(pixels.ravel()), k),
        pa.FixedSizeBinaryArray.from_buffers(schema.field("digest").type, n, [None, pa.py_buffer(rng.bytes(32 * n))]),
    ]
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as file:
        table = pa.Table.from_arrays(columns, schema=schema)
        for batch in table.to_batches(max_chunksize=10_000):
            file.write_batch(batch)
    return path
