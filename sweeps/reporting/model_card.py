"""The card of a trained model: what it is, how to use it, how good it is for each class, and where it fails."""

import importlib.metadata
import math
import platform
from collections.abc import Mapping
from pathlib import Path

import jinja2
import numpy as np

from sweeps.reporting.export_file import Export
from sweeps.reporting.paper_tables import Cell, Table
from sweeps.reporting.table_formats import markdown
from tce_core.config import TrialConfig
from tce_core.data.dataset import Dataset
from tce_core.evidence import measures
from tce_core.evidence.intervals import Estimate, estimate, estimate_classes, estimate_worst
from tce_core.evidence.jackknife import Jackknife
from tce_core.image_counts import ImageCounts, read_counts
from tce_core.loss_table import LOSSES
from tce_core.results import EpochResult

TEMPLATE = "model_card.md.jinja"
STRIDE = 16
"""Sides of the network's input are multiples of it (`tce_core.evaluation`)."""
BAD = 0.2
"""A class with a lower IoU is named among the limits."""
SETTINGS = ("lr", "epochs", "trunk", "batch_size", "crop", "scale", "jitter", "seed")
"""Settings that every loss has; the loss and those of its own come before them."""
FILES = ("encoder_weights", "start")
"""Settings that can be paths: a card shows the names of the files alone."""
PACKAGES = ("torch", "segmentation-models-pytorch", "timm")
Estimates = Mapping[str, Estimate]


def model_card(
    name: str,
    config: TrialConfig,
    export: Export,
    data: Dataset,
    last: EpochResult,
    counts_file: Path,
    licence: str | None,
) -> str:
    """Write the card, as Markdown with the front matter of Hugging Face.

    Args:
        name: of the folder that holds the model.
        config: what was trained.
        export: the exported file that it was trained from.
        data: the data set.
        last: the last evaluation.
        counts_file: the counts of the evaluated images; without it there are no intervals.
        licence: what the user states.
    """
    tau, counts = export.logit_adjustment, read_counts(counts_file) if counts_file.exists() else {}
    found = {split: _figures(split, last, tau, counts) for split in ("val", "test")}
    found = {split: figures for split, figures in found.items() if figures}
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(TEMPLATE).render(
        name=name,
        folder=name,
        stride=STRIDE,
        licence=licence,
        trial=config,
        export=export,
        data=data,
        classes=data.class_names,
        tau=tau,
        measures=markdown(_measure_table(found)),
        by_class=markdown(_class_table(found, data)),
        intervals=bool(counts),
        tested="test" in found,
        chosen=export.sweep is not None and export.dataset.fingerprint == data.fingerprint,
        limits=_limits(found, data),
        settings=markdown(_settings_table(config)),
        versions=", ".join(_versions()),
    )


def _figures(split: str, last: EpochResult, tau: float, counts: Mapping[str, ImageCounts]) -> Estimates:
    """mIoU, worst class, bottom quarter and standard deviation, then each class by its number; {} without them."""
    scores = last.at(tau) if split == "val" else last.test_at(tau)
    if scores is None:
        return {}
    report = scores.report
    plain: list[float] = [
        report.miou,
        report.worst_iou,
        float(measures.worst_quarter(np.array(scores.iou))),
        report.std_iou,
        *scores.iou,
    ]
    names = ["mIoU", "worst class", "bottom 25%", "std", *map(str, range(len(scores.iou)))]
    if split not in counts:
        return {name: Estimate(float(value), math.nan, math.nan) for name, value in zip(names, plain, strict=True)}
    models = [Jackknife.of(counts[split].at(tau))]
    whole = [
        estimate(models, measures.miou),
        estimate_worst(models),
        estimate(models, measures.worst_quarter),
        estimate(models, measures.std_iou),
    ]
    return dict(zip(names, [*whole, *estimate_classes(models)], strict=True))


def _measure_table(found: Mapping[str, Estimates]) -> Table:
    names = ("mIoU", "worst class", "bottom 25%", "std")
    rows = [(Cell(split), *(Cell(_text(figures[name])) for name in names)) for split, figures in found.items()]
    return Table("All classes together", ("split", *names), tuple(rows))


def _class_table(found: Mapping[str, Estimates], data: Dataset) -> Table:
    """The classes, worst first on the last split that was evaluated."""
    last = list(found.values())[-1]
    pixels = data.train.pixel_counts.sum(axis=0)
    order = sorted(range(data.num_classes), key=lambda k: (math.isnan(last[str(k)].value), last[str(k)].value))
    rows = [
        (
            Cell(data.class_names[k]),
            Cell(f"{pixels[k] / pixels.sum():.2%}"),
            *(Cell(_text(figures[str(k)])) for figures in found.values()),
        )
        for k in order
    ]
    return Table("Each class", ("class", "pixels in train", *found), tuple(rows))


def _settings_table(config: TrialConfig) -> Table:
    values = config.model_dump(mode="json")
    shown = {key: values[key] for key in ("loss", *sorted(LOSSES[config.loss].own_settings), *SETTINGS)}
    shown |= {key: Path(values[key]).name for key in FILES if values[key] is not None}
    rows = tuple((Cell(key), Cell(str(value))) for key, value in shown.items() if value is not None)
    return Table("Settings", ("setting", "value"), rows)


def _limits(found: Mapping[str, Estimates], data: Dataset) -> list[str]:
    split, figures = list(found.items())[-1]
    values = {name: figures[str(k)].value for k, name in enumerate(data.class_names)}
    bad = [
        f"{name} ({100 * value:.0f})" for name, value in sorted(values.items(), key=lambda one: one[1]) if value < BAD
    ]
    absent = [name for name, value in values.items() if math.isnan(value)]
    limits = [f"It hardly finds {', '.join(bad)} (IoU in percent on {split})."] if bad else []
    if absent:
        limits.append(f"The {split} split does not show {', '.join(absent)}: how good it is there is unknown.")
    images = len(data.val if split == "val" or data.test is None else data.test)
    limits.append(
        f"It was measured on {images} images of `{data.name}` alone. "
        "Other cameras, places, seasons and resolutions were not measured."
    )
    limits.append("It gives every pixel one of its classes, also where an image shows something else.")
    return limits


def _versions() -> list[str]:
    return [f"Python {platform.python_version()}", *(f"{one} {importlib.metadata.version(one)}" for one in PACKAGES)]


def _text(one: Estimate) -> str:
    if math.isnan(one.value):
        return "-"
    text = f"{100 * one.value:.1f}"
    return text if not one.high > one.low else f"{text} ({100 * one.low:.1f} to {100 * one.high:.1f})"
