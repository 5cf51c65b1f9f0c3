"""Choose the settings of each method, and print the comparison of all methods as Markdown.

    python benchmarks/rivals_table.py streets.jsonl camvid.jsonl > docs/results/rivals.md

The rules are those of a sweep. The settings of a method are those with the best mean IoU of the worst quarter of the
classes on `val`, among those whose mIoU is at most `ALLOWANCE` below that of the best plain cross-entropy. The tau of a
trained model is the one with the best worst quarter on `val`, among those whose mIoU is at most `ALLOWANCE` below that
of the model itself. So nothing is chosen on `test`.
"""

import argparse
import json
import math
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from tce_core.fairness import fairness_report

Row = dict[str, Any]
ALLOWANCE = 0.02
REFERENCE = "mcce"
MEASURES: dict[str, Callable[[Sequence[float]], float]] = {
    "mIoU": lambda iou: fairness_report(iou).miou,
    "worst": lambda iou: fairness_report(iou).worst_iou,
    "quarter": lambda iou: fairness_report(iou).sorted_bottom,
}


def iou_of(row: Row, split: str, tau: str = "0.0") -> list[float]:
    """The IoU of each class; NaN for an absent class."""
    return [math.nan if x is None else x for x in row[split][tau]]


def value(row: Row, measure: str, split: str, tau: str = "0.0") -> float:
    return MEASURES[measure](iou_of(row, split, tau))


def best(rows: Sequence[Any], quarter: Callable[[Any], float], miou: Callable[[Any], float], floor: float) -> Any:
    """The entry with the best worst quarter among those whose mIoU reaches the floor; if none does, the best mIoU."""
    allowed = [row for row in rows if miou(row) >= floor]
    return max(allowed, key=lambda row: (quarter(row), miou(row))) if allowed else max(rows, key=miou)


def reference_of(rows: Sequence[Row]) -> float:
    """The mIoU on `val` of the best plain cross-entropy of seed 0."""
    return max((value(row, "mIoU", "val") for row in rows if _tuning(row, REFERENCE)), default=-math.inf)


def chosen_settings(rows: Sequence[Row], method: str, reference: float) -> dict[str, Any] | None:
    """The settings of a method that its trainings with seed 0 choose; None if all of them diverged."""
    tried = [row for row in rows if _tuning(row, method)]
    if not tried:
        return None
    row = best(
        tried,
        quarter=lambda row: value(row, "quarter", "val"),
        miou=lambda row: value(row, "mIoU", "val"),
        floor=reference - ALLOWANCE,
    )
    settings: dict[str, Any] = row["settings"]
    return settings


def chosen_tau(row: Row) -> str:
    """The tau that the validation images choose for a trained model."""
    tau: str = best(
        list(row["val"]),
        quarter=lambda tau: value(row, "quarter", "val", tau),
        miou=lambda tau: value(row, "mIoU", "val", tau),
        floor=value(row, "mIoU", "val") - ALLOWANCE,
    )
    return tau


def _tuning(row: Row, method: str) -> bool:
    return row["method"] == method and row["seed"] == 0 and "error" not in row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="+", help="files that rivals.py wrote")
    for path in parser.parse_args().results:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        print(section(rows))


def section(rows: list[Row]) -> str:
    """Return the tables of one data set: every method by its test figures, and the differences to two references."""
    reference = reference_of(rows)
    methods = list(dict.fromkeys(row["method"] for row in rows))
    fresh = {
        method: [
            row
            for row in rows
            if row["method"] == method and row["seed"] and row["settings"] == chosen_settings(rows, method, reference)
        ]
        for method in methods
        if any(_tuning(row, method) for row in rows)
    }
    fresh = {method: sorted(runs, key=lambda row: row["seed"]) for method, runs in fresh.items() if runs}
    title = f"## {rows[0]['data']}: {rows[0]['epochs']} epochs, {len(fresh[REFERENCE])} seeds"
    return "\n\n".join([title, levels(fresh), differences(fresh)]) + "\n"


def levels(fresh: dict[str, list[Row]]) -> str:
    """Return the means over the seeds on `test`, plain and adjusted."""
    lines = [
        "| method | settings | mIoU | worst class | worst quarter | τ | mIoU, adjusted | worst class | worst quarter |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for method, runs in fresh.items():
        good = [row for row in runs if "error" not in row]
        if not good:
            lines.append(f"| {method} | {named(runs[0])} | diverged | | | | | | |")
            continue
        plain = [f"{mean([value(row, m, 'test') for row in good]):.3f}" for m in MEASURES]
        adjusted = [f"{mean([value(row, m, 'test', chosen_tau(row)) for row in good]):.3f}" for m in MEASURES]
        taus = " ".join(f"{float(chosen_tau(row)):g}" for row in good)
        lines.append(f"| {method} | {named(runs[0])} | {' | '.join(plain)} | {taus} | {' | '.join(adjusted)} |")
    return "\n".join(lines)


def differences(fresh: dict[str, list[Row]]) -> str:
    """Return the differences on `test` to adjusted cross-entropy, with intervals over the seeds."""
    lines = [
        "Difference on `test` to `mcce` with its own τ; behind ± is the half-width of the 95% interval over the seeds:",
        "",
        "| method, adjusted | mIoU | worst class | worst quarter |",
        "|---|---|---|---|",
    ]
    others = {row["seed"]: row for row in fresh[REFERENCE] if "error" not in row}
    for method, runs in fresh.items():
        good = [row for row in runs if "error" not in row and row["seed"] in others]
        if method == REFERENCE or len(good) < 2:
            continue
        cells = []
        for m in MEASURES:
            pairs = [(row, others[row["seed"]]) for row in good]
            cells.append(
                interval([value(a, m, "test", chosen_tau(a)) - value(b, m, "test", chosen_tau(b)) for a, b in pairs])
            )
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def named(row: Row) -> str:
    """The tuned settings in a few words."""
    settings = {name: value for name, value in row["settings"].items() if name != "loss"}
    settings["lr"] = f"x{settings['lr']:g}"
    return ", ".join(
        f"{name} {value if isinstance(value, str) else f'{value:.2g}'}" for name, value in settings.items()
    )


def mean(values: Sequence[float]) -> float:
    return statistics.fmean(values)


def interval(values: Sequence[float]) -> str:
    """The mean and the half-width of its 95% interval (Student's t)."""
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values))
    return f"{mean(values):+.3f} ± {half:.3f}"


if __name__ == "__main__":
    main()
