"""A diagnosis as text in the terminal: what the data show, the scores of a model, reasons, duplicates."""

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tce_core.data.dataset import Dataset
from tce_core.diagnosis.diagnose import Diagnosis
from tce_core.diagnosis.duplicates import Duplicate
from tce_core.diagnosis.reasons import percent
from tce_core.diagnosis.scores import ClassScores

ROWS = 40
"""Most classes in a table. The page has them all."""
SENTENCES = 20
"""Most bad classes that are explained. The page has them all."""
NO_VERDICT = "The data show no reason why a class should be bad."
NAMED = 5
"""Most duplicates that are named. The page has more."""


def print_diagnosis(found: Diagnosis, data: Dataset, console: Console) -> None:
    """Print the tables and sentences of a diagnosis. They fit 100 columns."""
    console.print(_data_table(found, data))
    if found.scores is not None:
        console.print()
        console.print(_score_table(found, found.scores, data))
    console.print()
    console.print("[bold]Likely reasons[/]")
    sentences = Table.grid(padding=(0, 1))
    for verdict in found.verdicts[:SENTENCES]:
        sentences.add_row("-", escape(verdict.sentence(data.class_names)))
    if (more := len(found.verdicts) - SENTENCES) > 0:
        sentences.add_row("-", f"{more} more classes: see the page")
    console.print(sentences if found.verdicts else NO_VERDICT, highlight=False)
    console.print()
    console.print(duplicate_sentence(found), highlight=False, markup=False)
    for one in found.duplicates[:NAMED]:
        console.print(f"  {duplicate_text(one, data)}", highlight=False, markup=False)


def shown_classes(found: Diagnosis, data: Dataset) -> list[int]:
    """Return the classes of the tables: all, or of many the bad ones first."""
    if data.num_classes <= ROWS:
        return list(range(data.num_classes))
    bad = [one.label for one in found.verdicts]
    rare = np.argsort(found.occurrences["train"].pixels, kind="stable").tolist()
    return sorted(list(dict.fromkeys([*bad, *rare]))[:ROWS])


def duplicate_sentence(found: Diagnosis) -> str:
    exact = sum(one.exact for one in found.duplicates)
    near = len(found.duplicates) - exact
    if not found.duplicates:
        return "No image is in two splits, exactly or nearly."
    return f"In two splits: {exact} images with the same pixels, {near} near-identical ones."


def duplicate_text(one: Duplicate, data: Dataset) -> str:
    splits = {"train": data.train, "val": data.val, "test": data.test}
    pair = [(one.split, one.image), (one.other_split, one.other_image)]
    texts = [f"{name} {split.row_name(index)}" for name, index in pair if (split := splits[name]) is not None]
    how = "has the same pixels as" if one.exact else f"is near-identical ({one.difference:.3f}) to"
    return f" {how} ".join(texts)


def confusion_text(confused: tuple[int, float], data: Dataset) -> str:
    """Return the other class and the share, such as `building 31%`; a dash for less than half a percent."""
    other, share = confused
    return f"{data.class_names[other]} {percent(share)}" if share >= 0.005 else "-"


def figure(value: float, digits: int = 3) -> str:
    """Format a measure; a dash for NaN."""
    return "-" if np.isnan(value) else f"{value:.{digits}f}"


def size(value: float) -> str:
    """Format a size in pixels; a dash for NaN."""
    return "-" if np.isnan(value) else f"{value:,.0f}"


def _data_table(found: Diagnosis, data: Dataset) -> Table:
    totals = ", ".join(f"{name} {one.total}" for name, one in found.occurrences.items())
    table = _table(f"What the data show of {data.num_classes} classes (images: {totals})")
    table.add_column("class", overflow="ellipsis", no_wrap=True, max_width=20)
    for name in found.occurrences:
        for column in (f"{name}\nimages", "\npixels"):
            table.add_column(column, justify="right")
        if name == "train":
            for column in ("median\nregion", "in small\nregions", "at\nborders"):
                table.add_column(column, justify="right")
    for k in (rows := shown_classes(found, data)):
        cells = []
        for name, one in found.occurrences.items():
            cells += [str(one.images[k]), percent(one.share[k])]
            if name == "train":
                cells += [size(one.median_size[k]), percent(one.small_share[k]), percent(one.border_share[k])]
        table.add_row(escape(data.class_names[k]), *cells)
    return _with_rest(table, data.num_classes - len(rows))


def _score_table(found: Diagnosis, scores: ClassScores, data: Dataset) -> Table:
    table = _table(f"What the model finds on {found.evaluated}, mIoU {scores.miou:.3f}")
    table.add_column("class", overflow="ellipsis", no_wrap=True, max_width=18)
    for column in ("IoU", "95% interval", "recall", "precision"):
        table.add_column(column, justify="right")
    for column in ("taken for", "taken for it"):
        table.add_column(column, overflow="ellipsis", no_wrap=True, max_width=19)
    rows = shown_classes(found, data)
    for k in sorted(rows, key=lambda k: (np.isnan(scores.iou[k]), scores.iou[k])):
        low, high = scores.interval[:, k]
        table.add_row(
            escape(data.class_names[k]),
            figure(scores.iou[k]),
            "-" if np.isnan(low) else f"{low:.3f}-{high:.3f}",
            figure(scores.recall[k]),
            figure(scores.precision[k]),
            escape(confusion_text(scores.confused_with(k), data)),
            escape(confusion_text(scores.taken_as(k), data)),
        )
    return _with_rest(table, data.num_classes - len(rows))


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)


def _with_rest(table: Table, left_out: int) -> Table:
    if left_out:
        table.caption, table.caption_justify = f"… and {left_out} more classes on the page", "left"
    return table
