"""The fast measures compared with `fairness_report`."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tce_core.evidence import measures
from tce_core.fairness import fairness_report

ious = arrays(np.float64, st.tuples(st.integers(1, 3), st.integers(1, 12)), elements=st.floats(0, 1) | st.just(np.nan))


@given(ious.filter(lambda iou: not np.isnan(iou).all(axis=1).any()))
def test_each_set_has_the_measures_of_its_report(iou):
    reports = [fairness_report(one) for one in iou]
    for measure, figure in {
        measures.miou: lambda report: report.miou,
        measures.worst_iou: lambda report: report.worst_iou,
        measures.std_iou: lambda report: report.std_iou,
        measures.worst_quarter: lambda report: report.sorted_bottom,
        measures.percentile(25): lambda report: report.bottom_percentile[0],
        measures.mean_beyond(25): lambda report: report.bottom_percentile[1],
        measures.percentile(75): lambda report: report.top_percentile[0],
        measures.mean_beyond(75): lambda report: report.top_percentile[1],
    }.items():
        assert measure(iou) == pytest.approx([figure(report) for report in reports], abs=1e-12)


def test_the_mean_of_some_classes_leaves_absent_ones_out():
    assert measures.mean_of([0, 2])(np.array([[0.1, 0.9, 0.3], [np.nan, 0.9, 0.3]])) == pytest.approx([0.2, 0.3])
