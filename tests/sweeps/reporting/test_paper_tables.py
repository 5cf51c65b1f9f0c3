"""The tables of the paper, from its own printed figures, and with intervals."""

import csv
import math
from dataclasses import replace
from decimal import ROUND_HALF_UP, Decimal

import numpy as np
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from sweeps.reporting.compared import Compared, Model, Results, _groups, _pooled, _units
from sweeps.reporting.comparison import about, print_comparison, write_comparison
from sweeps.reporting.paper_tables import (
    TABLE_3,
    Cell,
    Table,
    class_table,
    comparison_tables,
    gain_table,
    measure_table,
    table_3_measures,
)
from sweeps.reporting.table_formats import latex, markdown, tex, transposed
from sweeps.storage.plan import Method
from tce_core.evidence.intervals import Estimate, estimate
from tce_core.evidence.jackknife import Jackknife
from tce_core.evidence.measures import miou
from tce_core.image_counts import ImageCounts
from tce_core.iou import iou_from_counts
from tce_core.results import Scores
from tests.sweeps.searching import PLAN
from tests.tce_core.test_fairness import MCCE

PRINTED = ("75.79", "48.46", "57.69", "94.81", "64.60", "57.69", "88.74", "94.81", "14.96")
"""The row of MCCE in Table 3 of arXiv 2103.14051, in the order of `TABLE_3`."""


def certain(*values):
    return [Estimate(value, math.nan, math.nan) for value in values]


def test_the_papers_row_of_table_3_is_reproduced():
    iou = np.array(MCCE) / 100
    found = certain(*(float(measure(iou)) for measure in table_3_measures(iou).values()))
    table = measure_table({"MCCE": found}, TABLE_3, ("std",), decimals=2)
    assert table.head == ("method", *TABLE_3)
    exact = [str(Decimal(repr(round(100 * one.value, 9))).quantize(Decimal("0.01"), ROUND_HALF_UP)) for one in found]
    assert tuple(exact) == PRINTED  # the paper rounds 64.595 up
    assert [cell.text for cell in table.rows[0]][1:4] == list(PRINTED[:3])


def test_the_papers_table_1_is_reproduced():
    """Classes from the worst to the best under MCCE; the best of each row bold."""
    names = [f"class {k}" for k in range(19)]
    shuffled = np.random.default_rng(0).permutation(19)
    iou = np.array(MCCE)[shuffled] / 100
    table = class_table({"MCCE": certain(*iou), "TCE": certain(*(iou + 0.01))}, names, decimals=2)
    assert [row[1].text for row in table.rows] == [f"{value:.2f}" for value in MCCE]
    assert all(row[2].bold and not row[1].bold for row in table.rows)
    assert [row[0].text for row in table.rows] == [names[k] for k in np.argsort(iou)]


def test_what_is_better_decides_what_is_bold():
    found = {"a": certain(0.5, 0.1), "b": certain(0.4, 0.2)}
    table = measure_table(found, ("mIoU", "std"), ("std",))
    assert [[cell.bold for cell in row[1:]] for row in table.rows] == [[True, True], [False, False]]
    absent = class_table({"a": certain(math.nan, 0.2), "b": certain(math.nan, 0.3)}, ["x", "y"])
    assert absent.rows[1] == (Cell("x"), Cell("-"), Cell("-"))


def test_a_gain_is_bold_if_its_interval_does_not_hold_0():
    gains = {"a": [Estimate(0.05, 0.01, 0.09), Estimate(-0.02, -0.05, 0.01), Estimate(0.0, -0.1, 0.1)]}
    table = gain_table(gains, ["x", "y", "mIoU"], [0.5, 0.2], "mcce")
    assert [row[1] for row in table.rows] == [
        Cell("-2.0 (-5.0 to +1.0)"),
        Cell("+5.0 (+1.0 to +9.0)", True),
        Cell("+0.0 (-10.0 to +10.0)"),
    ]


def test_formats():
    table = Table("T_1", ("a", "b|c"), ((Cell("50%"), Cell("1", True)),), "A & B.")
    assert markdown(table) == "### T_1\n\n| a | b\\|c |\n| --- | ---: |\n| 50% | **1** |\n\nA & B.\n"
    assert r"50\% & \textbf{1} \\" in latex(table)
    assert r"\caption{T\_1. A \& B.}" in latex(table)
    turned = transposed(
        Table("T", ("a", "x", "y"), ((Cell("m"), Cell("1"), Cell("2", True)), (Cell("n"), Cell("3"), Cell("4"))))
    )
    assert turned.head == ("a", "m", "n")
    assert turned.rows == ((Cell("x"), Cell("1"), Cell("3")), (Cell("y"), Cell("2", True), Cell("4")))
    assert tex("~^\\") == r"\textasciitilde{}\textasciicircum{}\textbackslash{}"


@pytest.fixture
def compared():
    """Two methods with three seeds each, of which the second is better in class `b`."""
    rng = np.random.default_rng(0)
    base = rng.integers(20, 60, (40, 3, 3))

    def models(gain):
        found = []
        for seed in range(3):
            counts = base + rng.integers(0, 6, base.shape)
            counts[:, 0, 1] += gain
            found.append(Model(seed, Scores(0.0, tuple(iou_from_counts(counts.sum(0)).tolist())), counts))
        return tuple(found)

    methods = (Method("mcce", ("mcce",)), Method("tce@t=1", ("tce@t=1",)))
    plan = replace(PLAN, methods=methods, classes=("a", "b", "c"), confirm=2)
    return Compared(plan, 4, "test", tuple(Results(m, models(30 * i), ()) for i, m in enumerate(methods)))


def test_a_comparison_shows_who_gains(compared):
    measures, classes, gains, worst = comparison_tables(compared)
    assert [row[0].text for row in measures.rows] == ["mcce", "tce@t=1"]
    assert {row[0].text for row in classes.rows} == {"a", "b", "c"}
    gain = {row[0].text: row[1] for row in gains.rows}
    assert list(gain)[-3:] == ["mIoU", "worst class", "bottom 25%"]
    assert gain["b"].bold
    assert gain["b"].text.startswith("+")
    assert not gain["a"].bold
    assert [row[0].text for row in worst.rows] == ["mcce", "tce@t=1"]


def test_its_files_hold_every_figure(compared, tmp_path):
    write_comparison(compared, tmp_path / "deep")
    rows = list(csv.DictReader((tmp_path / "deep" / "scores.csv").open()))
    assert [(row["method"], row["seed"]) for row in rows] == [
        (m, str(s)) for m in ("mcce", "tce@t=1") for s in range(3)
    ]
    assert float(rows[0]["iou:b"]) == compared.results[0].models[0].scores.iou[1]
    assert pq.read_table(tmp_path / "deep" / "scores.parquet").num_rows == 6
    page = (tmp_path / "deep" / "comparison.md").read_text()
    for part in ("test split, which chose nothing", "### Measures of fairness", "### Gain over mcce", "fingerprint f"):
        assert part in page
    assert (tmp_path / "deep" / "comparison.tex").read_text().count(r"\begin{table}") == 4
    console = Console(width=140, record=True, file=open(tmp_path / "out.txt", "w"))  # noqa: SIM115
    print_comparison(compared, tmp_path / "deep", console)
    assert "Gain over mcce" in console.export_text()


def test_groups_are_the_units_of_an_interval():
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 50, (6, 3, 2))
    names = ("a_1", "b_1", "a_2", "c", "b_2", "a_3")
    units = _units(counts, _groups(names, "_"))
    np.testing.assert_array_equal(units, [counts[[0, 2, 5]].sum(0), counts[[1, 4]].sum(0), counts[3]])
    np.testing.assert_array_equal(_units(counts, _groups(names, None)), counts)
    copies, copied = np.repeat(counts, 4, axis=0), [f"{i}_{j}" for i in range(6) for j in range(4)]
    false, true = (estimate([Jackknife.of(_units(copies, _groups(copied, text)))], miou) for text in (None, "_"))
    assert true.high - true.low > 1.5 * (false.high - false.low)  # copies of an image are no new images


def kept(*pixels, split="val"):
    """The counts of one model on images named `A_0`, `A_1`, …; two classes."""
    names = tuple(f"{name}_{i}" for name, one in pixels for i in range(one.shape[1]))
    both = np.concatenate([one for _, one in pixels], axis=1)
    return ImageCounts(split, names, ("road", "rider"), (0.0, 1.0), both)


def images(number, *, rider=0, false=0):
    """(T, N, 3, K): images of 100 pixels; `rider` are of the rider and found, `false` are falsely taken for it."""
    one = np.array([[100 - rider - false, rider], [0, false], [false, 0]])
    return np.broadcast_to(one, (2, number, 3, 2)).copy()


def test_false_positives_count_in_a_fold_that_does_not_show_the_class():
    """A model finds all riders of one fold, and sees as many where the other fold has none."""
    parts = [kept(("a", images(2, rider=30))), kept(("b", images(2, false=30)))]
    model = _pooled(0, Method("mcce", ("1", "2")), parts, PLAN)
    assert model.scores.iou[1] == 0.5


def test_an_adjustment_is_chosen_by_other_groups():
    """Strength 1 suits drive a, and the plain model drive b."""
    plan = replace(PLAN, classes=("road", "rider"), group_by="_", allowance=1.0)
    gains, loses = images(4, rider=30), images(4, rider=30)
    gains[0, :, :, 1] = loses[1, :, :, 1] = (15, 0, 15)  # half of the riders are missed
    model = _pooled(0, Method("mcce+adjusted", ("1",), None), [kept(("a", gains), ("b", loses))], plan)
    assert model.scores.iou[1] == 0.5  # each drive has the strength that suits the other
    assert model.counts.shape == (2, 3, 2)


def test_what_is_missing_is_said(compared):
    first, second = compared.results
    gone = replace(
        second, models=tuple(replace(model, counts=None) for model in second.models), left_out=("it diverged",)
    )
    tables = comparison_tables(lacking := replace(compared, results=(first, gone), split="val"))
    assert "Gain over mcce" not in [table.title for table in tables]
    said = about(lacking)
    assert "no test split" in said
    assert "1 of 3 seeds are left out (it diverged)" in said
    assert "counts of its images are gone" in said


def test_a_comparison_that_is_not_finished_says_how_many_seeds_it_has(compared):
    first, second = compared.results
    begun, failed = (
        replace(second, models=second.models[:2]),
        Results(Method("focal", ("focal",)), (), ("it diverged",)),
    )
    part = replace(compared, results=(first, begun))
    assert compared.finished
    assert "Not finished" not in about(compared)
    assert not part.finished
    assert about(part).startswith(
        "Not finished: each method is to have 3 seeds. Figures in percent: the mean over 2 to 3"
    )
    assert "One or two seeds say little of another one" in about(part)
    *_, worst = comparison_tables(replace(compared, results=(first, failed)))
    assert [row[0].text for row in worst.rows] == ["mcce"]
