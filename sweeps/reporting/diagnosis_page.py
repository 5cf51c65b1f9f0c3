"""A diagnosis as one page that opens anywhere, offline: it holds its styles and its pictures."""

from pathlib import Path

import jinja2
import numpy as np
from markupsafe import Markup

from sweeps.reporting.diagnosis_pictures import pictures_of
from sweeps.reporting.diagnosis_table import (
    NO_VERDICT,
    confusion_text,
    duplicate_sentence,
    duplicate_text,
    figure,
)
from sweeps.reporting.heat_map import colour, heat_map, ink
from tce_core.data.dataset import Dataset
from tce_core.diagnosis import duplicates, occurrence, reasons
from tce_core.diagnosis.diagnose import Diagnosis
from tce_core.diagnosis.reasons import percent

TEMPLATE = "diagnosis.html"
LISTED = 200
"""Most duplicates that a page names."""
TALL = 40
"""Tables of more classes scroll in a box of their own."""
TAKEN_FOR = "{share} of the pixels of {truth} are taken for {prediction}"
TAKEN = "{share} of what is predicted as {prediction} is {truth}"


def diagnosis_page(found: Diagnosis, data: Dataset, weights: Path | None) -> str:
    """Return the HTML of a diagnosis.

    Args:
        found: the diagnosis.
        data: the data set.
        weights: the file of the model, None without one.
    """
    scores = found.scores
    pictures = pictures_of(dict(found.differences), data.classes)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "figure": figure, "size": _size, "short": short}
    maps = [] if scores is None else [(scores.taken_for, TAKEN_FOR), (scores.taken, TAKEN)]
    return environment.get_template(
        TEMPLATE
    ).render(
        data=data,
        weights=weights,
        found=found,
        tall=" tall" if data.num_classes > TALL else "",
        scores=scores,
        order=[] if scores is None else np.argsort(scores.iou, kind="stable").tolist(),  # NaN last
        bad={verdict.label for verdict in found.verdicts},
        sentences=[(verdict, verdict.sentence(data.class_names)) for verdict in found.verdicts],
        no_verdict=NO_VERDICT,
        pictures=pictures,
        without_pictures=len(found.differences) - len(pictures),
        heat_maps=[Markup(heat_map(shares, data.class_names, said)) for shares, said in maps],
        legend=[(f"{share:.0%}", colour(share), ink(share)) for share in (0.01, 0.05, 0.1, 0.25, 0.5, 1)],
        confusion=lambda one: confusion_text(one, data),
        duplicate_sentence=duplicate_sentence(found),
        duplicates=[duplicate_text(one, data) for one in found.duplicates[:LISTED]],
        unlisted=max(0, len(found.duplicates) - LISTED),
        reasons=reasons,
        constants=duplicates,
        occurrence=occurrence,
    )


def short(number: int) -> str:
    """Format a large number with three digits at most, such as `2.66M`."""
    for unit, name in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= 0.9995 * unit:
            return f"{number / unit:#.3g}".rstrip(".") + name
    return str(number)


def _size(pixels: float) -> str:
    return "-" if np.isnan(pixels) else short(round(pixels))
