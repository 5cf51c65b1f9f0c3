"""The files of a comparison, and its text on the terminal."""

import csv
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from sweeps.reporting.compared import Compared
from sweeps.reporting.paper_tables import comparison_tables
from sweeps.reporting.table_formats import latex, markdown, print_table, transposed
from sweeps.storage.measures import FINE_MEASURES, MEASURES
from sweeps.strategy.methods import is_export
from tce_core.errors import file_error
from tce_core.files import replacing

FILES = ("comparison.md", "comparison.tex", "scores.csv", "scores.parquet")
FILE_SETTINGS = ("encoder_weights", "start")
"""Settings that hold paths: a page shows the names of the files alone."""
SHOWN_METHODS = 6
"""Most methods whose class tables are printed; all are in the files."""


def write_comparison(compared: Compared, folder: Path) -> None:
    """Write the tables as Markdown and LaTeX, and every model's figures as CSV and Parquet.

    Raises:
        UserError: they cannot be written.
    """
    tables = comparison_tables(compared)
    rows = score_rows(compared)
    writers: dict[str, Callable[[Path], object]] = {
        "comparison.md": lambda path: path.write_text(_page(compared, [markdown(one) for one in tables]), "utf-8"),
        "comparison.tex": lambda path: path.write_text("\n".join(latex(one) for one in tables), "utf-8"),
        "scores.csv": lambda path: _write_csv(path, rows),
        "scores.parquet": lambda path: _write_parquet(path, rows),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            with replacing(folder / name) as partial:
                writers[name](partial)
    except OSError as error:
        raise file_error(folder, "the comparison cannot be written", error) from None


def print_comparison(compared: Compared, folder: Path, console: Console) -> None:
    """Print the tables that fit, what was evaluated, and where the files are."""
    first, *others = comparison_tables(compared)
    tables = [transposed(first), *others]
    few = len(compared.results) <= SHOWN_METHODS
    for table in tables if few else (tables[0], tables[-1]):
        print_table(table, console)
        console.print()
    console.print(about(compared), highlight=False, markup=False, soft_wrap=True)
    console.print(f"\nTables  {tables_path(folder)}", highlight=False, markup=False, soft_wrap=True)


def tables_path(folder: Path) -> str:
    """The page of a comparison, as it is shown to people."""
    return os.path.relpath(folder / FILES[0])


def about(compared: Compared) -> str:
    """Say in sentences what the figures are."""
    plan = compared.plan
    units = "images"
    if plan.group_by is not None:
        counts = [model.counts for model in compared.reference.models if model.counts is not None]
        number = f"{len(counts[0])} " if counts else ""
        units = f"{number}groups of images (names that agree before '{plan.group_by}')"
    least, most = compared.trained_seeds
    number = f"{least}" if least == most else f"{least} to {most}"
    of = f"the mean over {number} seeds with its 95% interval over {units} and seeds"
    if most == 1:
        of = f"of one seed, with their 95% interval over {units}; what another seed would change is unknown"
    sentences = [f"Figures in percent: {of}.", f"Each training has {compared.epochs} epochs."]
    if not compared.finished:
        sentences.insert(0, f"Not finished: each method is to have {compared.seeds} seeds.")
    if least <= 2 and most > 1:
        sentences.append("One or two seeds say little of another one, so their intervals are wide or of images alone.")
    names = zip(plan.classes, compared.reference.models[0].scores.iou, strict=True)
    if absent := [name for name, iou in names if math.isnan(iou)]:
        sentences.append(f"The {compared.split} split does not show {', '.join(absent)}: left out of every measure.")
    sentences += _evaluated(compared)
    for results in compared.results:
        if results.method.tau is None:
            taus = (model.scores.tau for model in results.models)
            strengths = ", ".join("several" if math.isnan(tau) else f"{tau:g}" for tau in taus)
            sentences.append(f"{results.name}: strength by seed {strengths}" + "; 0 is the plain model.")
        if results.left_out:
            of = f"{len(results.left_out)} of {compared.seeds} seeds are left out ({results.left_out[0]})"
            sentences.append(f"{results.name}: {of}; the others stand for it.")
        if any(model.counts is None for model in results.models):
            sentences.append(f"{results.name}: counts of its images are gone, so it has no intervals.")
    return " ".join(sentences)


def _evaluated(compared: Compared) -> list[str]:
    """Say which images were evaluated, and what was chosen on them."""
    methods = compared.plan.methods
    if compared.folds > 1:
        held_out = f"Each image of train and val was held out once, in {compared.folds} folds"
        sentences = [f"{held_out}, and counts with the model that has not seen it."]
        others = "on the other folds"
    elif compared.split == "test":
        sentences, others = ["They are of the test split, which chose nothing."], "on the val split"
    else:
        sentences = ["The data set has no test split: they are of the val split."]
        others = "by cross-fitting: for each half of the images on the other half"
    if compared.split == "val" and (files := [one.name for one in methods if is_export(one.name)]):
        sentences.append(f"The sweep of {', '.join(files)} chose on images that are evaluated here: a little too good.")
    if compared.plan.start_sha256:
        sentences.append(
            "All trainings start from weights; if these have seen images that are evaluated here, so have all."
        )
    if any(method.tau is None for method in methods):
        sentences.append(f"Adjusted methods: the strength of each model was chosen {others}.")
    return sentences


def score_rows(compared: Compared) -> list[dict[str, Any]]:
    """One row for each model: method, seed, tau, every measure and every class."""
    rows = []
    for results in compared.results:
        for model in results.models:
            named = {name: measure.value(model.scores) for name, measure in (MEASURES | FINE_MEASURES).items()}
            classes = dict(zip((f"iou:{name}" for name in compared.plan.classes), model.scores.iou, strict=True))
            head = {
                "method": results.name,
                "seed": model.seed,
                "split": "folds" if compared.folds > 1 else compared.split,
                "tau": model.scores.tau,
            }
            rows.append(head | named | classes)
    return rows


def _page(compared: Compared, tables: list[str]) -> str:
    plan = compared.plan
    methods = ",".join(method.name for method in plan.methods)
    facts = [
        f"# {plan.name}",
        about(compared),
        f"Data: `{Path(plan.dataset).name}`, fingerprint {plan.fingerprint}. Methods: `{methods}`. "
        f"Seeds {plan.seed} to {plan.seed + plan.confirm}.",
    ]
    given = plan.space.get("trial", {}).items()
    trial = {key: Path(v).name if key in FILE_SETTINGS else v for key, v in given if v is not None}
    shared = ", ".join(f"{key} {value}" for key, value in trial.items())
    facts.append(f"All methods have: {shared or 'the defaults'}. Bold: the best figure, which may be so by chance.")
    versions = ", ".join(f"{name} {version}" for name, version in plan.versions.items())
    return "\n\n".join([*facts, *tables, f"Made with {versions}."]) + "\n"


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(rows), path)
