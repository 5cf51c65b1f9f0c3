"""IoU from pixel counts, by hand and without torch."""

import subprocess
import sys

import numpy as np

from tce_core.iou import iou_from_counts, of_shown_classes


def test_iou_from_counts_leaves_absent_classes_nan():
    counts = [[[6, 0, 0], [1, 2, 0], [3, 0, 0]]]  # one image, three classes
    np.testing.assert_array_equal(iou_from_counts(counts), [[0.6, 0.0, np.nan]])


def test_a_class_that_no_truth_shows_has_no_pixel():
    one = [[6, 0, 0, 0], [1, 2, 4, 0], [3, 5, 0, 0]]  # the third class is predicted only, the fourth nowhere
    other = [[0, 0, 0, 0], [0, 0, 7, 0], [0, 0, 0, 0]]
    shown = of_shown_classes([[one, other]])
    np.testing.assert_array_equal(shown[0, 0], [[6, 0, 0, 0], [1, 2, 0, 0], [3, 5, 0, 0]])
    np.testing.assert_array_equal(shown[0, 1], 0)
    with_truth = of_shown_classes([one, [[0, 0, 0, 0], [0, 0, 7, 0], [0, 0, 1, 0]]])
    np.testing.assert_array_equal(with_truth[0], one)  # an image elsewhere shows the third class


def test_results_are_read_without_torch():
    code = "import sys; import tce_core.results; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
