"""IoU from pixel counts, by hand and without torch."""

import subprocess
import sys

import numpy as np

from tce_core.iou import iou_from_counts


def test_iou_from_counts_leaves_absent_classes_nan():
    counts = [[[6, 0, 0], [1, 2, 0], [3, 0, 0]]]  # one image, three classes
    np.testing.assert_array_equal(iou_from_counts(counts), [[0.6, 0.0, np.nan]])


def test_results_are_read_without_torch():
    code = "import sys; import tce_core.results; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
