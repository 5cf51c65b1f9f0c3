"""`tce_core.fairness` compared with the printed figures of the paper, and the properties of each measure."""

import statistics
from decimal import ROUND_HALF_UP, Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tce_core.fairness import class_rows, class_table, fairness_report

# Per-class IoU (percent) of plain cross-entropy on Cityscapes, arXiv 2103.14051, Table 1.
MCCE = [48.46, 53.66, 61.12, 62.23, 62.98, 66.21, 67.72, 69.19, 71.53, 74.33]
MCCE += [79.23, 81.22, 83.19, 84.95, 92.52, 93.04, 95.00, 95.45, 98.06]

ious = arrays(np.float64, st.integers(1, 30), elements=st.floats(1e-3, 1.0))


def as_printed(value):
    """Round to two decimals, ties away from zero, as the paper rounds 64.595 to 64.60."""
    return str(Decimal(repr(value)).quantize(Decimal("0.01"), ROUND_HALF_UP))


def test_the_golden_row_is_reproduced_as_printed():
    report = fairness_report(MCCE)
    assert {name: as_printed(value) for name, value in report.as_dict().items() if name not in ("gini", "jain")} == {
        "miou": "75.79",
        "worst_iou": "48.46",
        "worst_class": "0.00",
        "std_iou": "14.96",
        "sorted_bottom": "57.69",
        "sorted_top": "94.81",
        "bottom_percentile": "64.60",
        "bottom_percentile_mean": "57.69",
        "top_percentile": "88.74",
        "top_percentile_mean": "94.81",
    }


def test_the_sorted_means_follow_the_order_of_the_reference():
    iou = np.arange(1.0, 9.0)
    report = fairness_report(iou, reference_iou=[8, 1, 7, 2, 6, 3, 5, 4])  # the worst two: 1 and 3; the best: 2 and 0
    assert report.sorted_bottom == np.mean([iou[1], iou[3]])
    assert report.sorted_top == np.mean([iou[2], iou[0]])
    assert report.bottom_percentile[1] == np.mean([1, 2])  # the percentiles use the model's own order
    assert report.top_percentile[1] == np.mean([7, 8])


@pytest.mark.parametrize("n", range(1, 160))
def test_a_quarter_of_the_classes_is_what_lies_beyond_the_percentile(n):
    report = fairness_report(np.random.default_rng(n).permutation(n) + 1.0)
    assert report.sorted_bottom == pytest.approx(report.bottom_percentile[1])
    assert report.sorted_top == pytest.approx(report.top_percentile[1])


def test_an_absent_class_is_left_out_and_never_zero():
    with_absent = fairness_report([np.nan, *MCCE[::-1], np.nan])
    without = fairness_report(MCCE)
    assert with_absent.worst_class == 19
    got, wanted = with_absent.as_dict(), without.as_dict()
    got.pop("worst_class"), wanted.pop("worst_class")
    assert got == pytest.approx(wanted)


def test_a_class_absent_from_the_reference_has_no_place_in_its_order():
    report = fairness_report([0.1, 0.2, 0.3, 0.4, 0.5], [np.nan, 0.1, 0.2, 0.3, 0.4])
    assert (report.miou, report.worst_iou) == (pytest.approx(0.3), 0.1)
    assert (report.sorted_bottom, report.sorted_top) == (0.2, 0.5)


def test_a_class_never_learnt_counts():
    report = fairness_report([0.0, 0.5, 0.0])
    assert (report.worst_iou, report.worst_class) == (0.0, 0)
    assert report.jain == pytest.approx(1 / 3)
    assert report.gini == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("iou", "reference", "message"),
    [
        ([], None, "it is empty"),
        ([np.nan, np.nan], None, "every class is NaN"),
        ([0.1, np.nan], [np.nan, 0.1], "no class is present both"),
        ([0.1, -0.2], None, "class 1 is -0.2"),
        ([np.inf], None, "class 0 is inf"),
        ([[0.1]], None, r"must be \(K,\)"),
        ([0.1, 0.2], [0.1], "has shape"),
    ],
)
def test_ious_without_an_answer_are_refused(iou, reference, message):
    with pytest.raises(ValueError, match=message):
        fairness_report(iou, reference)


@given(ious, st.randoms(use_true_random=False))
def test_the_order_of_the_classes_does_not_matter(iou, random):
    order = list(range(iou.size))
    random.shuffle(order)
    got, wanted = fairness_report(iou[order]).as_dict(), fairness_report(iou).as_dict()
    assert iou[order][int(got.pop("worst_class"))] == iou[int(wanted.pop("worst_class"))]
    assert got == pytest.approx(wanted, abs=1e-12)


@given(ious)
def test_percent_and_fraction_say_the_same(iou):
    fraction, percent = fairness_report(iou).as_dict(), fairness_report(100 * iou).as_dict()
    del fraction["worst_class"]  # two IoUs that differ in the last bit may be equal after times 100
    for name, value in fraction.items():
        scale = 1 if name in ("gini", "jain") else 100
        assert percent[name] == pytest.approx(scale * value, rel=1e-9, abs=1e-9), name


@given(ious)
def test_the_bounds_and_definitions_of_the_inequality_measures(iou):
    report = fairness_report(iou)
    n = iou.size
    assert 1 / n - 1e-12 <= report.jain <= 1 + 1e-12
    assert 0 <= report.gini <= (n - 1) / n + 1e-12
    pairs = np.abs(iou[:, None] - iou[None, :]).mean()
    assert report.gini == pytest.approx(pairs / (2 * iou.mean()), abs=1e-12)
    assert report.jain == pytest.approx(1 / (1 + (iou.std() / iou.mean()) ** 2))
    if n > 1:
        assert report.std_iou == pytest.approx(statistics.stdev(iou.tolist()), abs=1e-12)


@given(st.floats(0, 100), st.integers(1, 40))
def test_equal_classes_are_perfectly_fair(value, n):
    report = fairness_report([value] * n)
    assert report.gini == pytest.approx(0, abs=1e-12)
    assert report.jain == pytest.approx(1)
    assert report.std_iou == pytest.approx(0, abs=1e-12)


def test_the_class_table_is_sorted_by_the_reference():
    iou, reference, names = [0.9, np.nan, 0.3, 0.5], [0.95, 0.4, 0.1, np.nan], ["road", "wall", "rider", "train"]
    rows = class_rows(iou, reference, names)
    assert [row.name for row in rows] == ["rider", "wall", "road", "train"]
    assert rows[0].difference == pytest.approx(0.2)
    assert class_table(iou, reference, names, "MCCE", "TCE", decimals=2).splitlines() == [
        "| class | MCCE |  TCE | difference |",
        "| ----- | ---: | ---: | ---------: |",
        "| rider | 0.10 | 0.30 |      +0.20 |",
        "| wall  | 0.40 |    - |          - |",
        "| road  | 0.95 | 0.90 |      -0.05 |",
        "| train |    - | 0.50 |          - |",
    ]
    with pytest.raises(ValueError, match="3 class names"):
        class_rows(iou, reference, names[:3])
