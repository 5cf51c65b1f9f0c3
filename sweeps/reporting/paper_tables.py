"""The tables of a comparison, in the layout of arXiv 2103.14051: classes (Tables 1 and 2), measures (Table 3), gains.

Figures are percentages. Each is the mean over the seeds, with its 95% interval over images and seeds.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sweeps.reporting.compared import Compared, Results
from tce_core.evidence import measures
from tce_core.evidence.intervals import Estimate, difference, estimate, estimate_classes, estimate_worst
from tce_core.evidence.jackknife import Jackknife
from tce_core.evidence.resampling import worst_class_shares

Estimates = Mapping[str, Sequence[Estimate]]
"""The figures of each method, by its name, in one order."""


@dataclass(frozen=True)
class Cell:
    """A figure in a table."""

    text: str
    bold: bool = False


@dataclass(frozen=True)
class Table:
    """A table whose first column has names."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


def class_table(found: Estimates, class_names: Sequence[str], decimals: int = 1) -> Table:
    """Tables 1 and 2: the IoU of each class, sorted by the first method, the best figure of each class bold.

    Classes without an IoU in the first method are last; a dash marks an absent class.
    """
    reference = next(iter(found.values()))
    order = np.argsort([one.value for one in reference], kind="stable")
    rows = [(Cell(class_names[k]), *_best_bold([of[k] for of in found.values()], decimals)) for k in order]
    return Table("IoU of each class", ("class", *found), tuple(rows))


def measure_table(found: Estimates, head: Sequence[str], lower_is_better: Sequence[str], decimals: int = 1) -> Table:
    """Table 3: a row for each method, the best figure of each column bold."""
    columns = [
        _best_bold([of[i] for of in found.values()], decimals, lowest=name in lower_is_better)
        for i, name in enumerate(head)
    ]
    rows = [(Cell(name), *(column[i] for column in columns)) for i, name in enumerate(found)]
    return Table("Measures of fairness", ("method", *head), tuple(rows))


def gain_table(found: Estimates, class_names: Sequence[str], reference: Sequence[float], name: str) -> Table:
    """What each method gains over the reference, in points; bold where the interval does not hold 0."""
    order = [*np.argsort(reference, kind="stable").tolist(), *range(len(reference), len(class_names))]
    rows = [(Cell(class_names[k]), *(_gain(of[k]) for of in found.values())) for k in order]
    note = f"Points of IoU over {name}, paired over images and seeds; bold: the 95% interval does not hold 0."
    return Table(f"Gain over {name}", ("class", *found), tuple(rows), note)


TABLE_3 = (
    "mIoU",
    "worst class",
    "bottom 25%",
    "top 25%",
    "25th perc.",
    "mean below",
    "75th perc.",
    "mean above",
    "std",
)
"""Headings: the bottom and the top quarter have the classes that are so under the reference."""


def table_3_measures(reference_iou: Sequence[float]) -> dict[str, measures.OfIoU]:
    """The measures of Table 3 by heading; `reference_iou` decides which classes are the bottom and the top quarter."""
    order = [k for k in np.argsort(reference_iou, kind="stable").tolist() if not math.isnan(reference_iou[k])]
    quarter = math.ceil(len(order) / 4)
    found: list[measures.OfIoU] = [
        measures.miou,
        measures.worst_iou,
        measures.mean_of(order[:quarter]),
        measures.mean_of(order[-quarter:]),
        measures.percentile(25),
        measures.mean_beyond(25),
        measures.percentile(75),
        measures.mean_beyond(75),
        measures.std_iou,
    ]
    return dict(zip(TABLE_3, found, strict=True))


def comparison_tables(compared: Compared) -> list[Table]:
    """All tables of a comparison."""
    names = compared.plan.classes
    shown = [one for one in compared.results if one.models]
    classes = {one.name: _class_estimates(one) for one in shown}
    reference = [one.value for one in classes[shown[0].name]]
    chosen = table_3_measures(reference)
    figures = {one.name: [_estimate(one, name, measure) for name, measure in chosen.items()] for one in shown}
    tables = [measure_table(figures, TABLE_3, ("std",)), class_table(classes, names)]
    others = {one.name: _gains(one, compared.reference, chosen) for one in shown[1:]}
    if others := {name: gains for name, gains in others.items() if gains}:
        rows = [*names, "mIoU", "worst class", "bottom 25%"]
        tables.append(gain_table(others, rows, reference, compared.reference.name))
    return [*tables, _worst_table(compared)]


def _jackknives(results: Results) -> list[Jackknife]:
    """One for each model; none if the counts of a model are gone."""
    found = [model.jackknife for model in results.models if model.jackknife is not None]
    return found if len(found) == len(results.models) else []


def _class_estimates(results: Results) -> list[Estimate]:
    if models := _jackknives(results):
        return estimate_classes(models)
    means = np.mean([model.scores.iou for model in results.models], axis=0)
    return [Estimate(float(mean), math.nan, math.nan) for mean in means]


def _estimate(results: Results, name: str, measure: measures.OfIoU) -> Estimate:
    if models := _jackknives(results):
        return estimate_worst(models) if name == "worst class" else estimate(models, measure)
    values = [float(measure(np.array(model.scores.iou))) for model in results.models]
    return Estimate(float(np.mean(values)), math.nan, math.nan)


def _gains(results: Results, reference: Results, chosen: Mapping[str, measures.OfIoU]) -> list[Estimate]:
    """The gain of each class, then in mIoU, worst class and bottom quarter; none without two models to pair."""
    mine, theirs = results.by_seed(), reference.by_seed()
    seeds = sorted(mine.keys() & theirs.keys())
    models, references = ([j for seed in seeds if (j := of[seed].jackknife) is not None] for of in (mine, theirs))
    if not seeds or len(models) < len(seeds) or len(references) < len(seeds):
        return []
    by_class = [measures.mean_of([k]) for k in range(len(models[0].iou))]
    some = [chosen[name] for name in ("mIoU", "worst class", "bottom 25%")]
    return [difference(models, references, measure) for measure in (*by_class, *some)]


def _worst_table(compared: Compared) -> Table:
    rows = []
    for results in (one for one in compared.results if one.models):
        iou = np.array([model.scores.iou for model in results.models])  # (S, K)
        seeds = _often((iou == np.nanmin(iou, axis=1, keepdims=True)).sum(axis=0), compared.plan.classes, "d")
        counts = [model.counts for model in results.models if model.counts is not None]
        shares = worst_class_shares(counts) if counts else np.zeros(0)
        drawn = _often(np.where(shares < 0.005, 0, shares), compared.plan.classes, ".0%")
        rows.append((Cell(results.name), Cell(seeds), Cell(drawn)))
    units = "images" if compared.plan.group_by is None else "groups of images"
    note = f"Classes that tie all count. Resamples: {units} drawn again with replacement, 10,000 times over the seeds."
    return Table("How often each class was the worst", ("method", "seeds", "resamples"), tuple(rows), note)


def _often(values: npt.NDArray[np.number], names: Sequence[str], form: str) -> str:
    """The four classes with the largest values."""
    most = [k for k in np.argsort(-values, kind="stable").tolist() if values[k]]
    return ", ".join(f"{names[k]} {values[k]:{form}}" for k in most[:4]) + (", …" if len(most) > 4 else "") or "-"


def _best_bold(column: Sequence[Estimate], decimals: int, lowest: bool = False) -> list[Cell]:
    values = [one.value for one in column if not math.isnan(one.value)]
    best = (min if lowest else max)(values) if values else math.nan
    return [Cell(_figure(one, decimals), one.value == best and len(column) > 1) for one in column]


def _figure(one: Estimate, decimals: int) -> str:
    if math.isnan(one.value):
        return "-"
    text = f"{100 * one.value:.{decimals}f}"
    return text if math.isnan(one.low) else f"{text} ({100 * one.low:.{decimals}f} to {100 * one.high:.{decimals}f})"


def _gain(one: Estimate) -> Cell:
    if math.isnan(one.value):
        return Cell("-")
    if not math.isfinite(one.low - one.high):  # a single group shows the class
        return Cell(f"{100 * one.value:+.1f}")
    sure = one.low > 0 or one.high < 0
    return Cell(f"{100 * one.value:+.1f} ({100 * one.low:+.1f} to {100 * one.high:+.1f})", sure)
