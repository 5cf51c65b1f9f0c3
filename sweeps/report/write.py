"""Write the report of a sweep into its folder."""

import math

from sweeps.report.reproduction import write_space
from sweeps.report.subject import Subject, pairs_of, subject_of
from sweeps.storage.folder import SweepFolder
from sweeps.strategy.outcome import Outcome
from tce_core.data.dataset import Dataset
from tce_core.errors import file_error
from tce_core.files import replacing


def write_report(outcome: Outcome, data: Dataset, folder: SweepFolder) -> None:
    """Write `report.html` and the files of its command; without a recommendation there is no report.

    Raises:
        UserError: they cannot be written.
    """
    if (choice := outcome.choose()) is None:
        folder.report.unlink(missing_ok=True)  # a sweep that is extended by floors can lose its recommendation
        return
    from sweeps.report.page import Report  # it imports plotly
    from sweeps.report.pictures import comparisons_of, has_weights

    subject = subject_of(choice, outcome)
    pairs = pairs_of(subject, outcome, folder) if subject else None
    pictures, pictured = None, -1
    if subject is not None and has_weights(subject, folder.checkpoints):
        pictured = _worst_class(subject)
        pictures = comparisons_of(subject, data, folder.checkpoints, pictured)
    name = data.class_names[pictured] if pictures else ""
    page = Report(outcome, choice, data.class_names, folder, subject, pairs, pictures, name).page()
    try:
        write_space(outcome.record.plan, folder)
        with replacing(folder.report) as partial:
            partial.write_text(page, encoding="utf-8")
    except OSError as error:
        raise file_error(folder.path, "the report cannot be written", error) from None


def _worst_class(subject: Subject) -> int:
    """The class that the reference finds worst on val."""
    iou = subject.reference.scores.iou
    return min((k for k in range(len(iou)) if not math.isnan(iou[k])), key=lambda k: iou[k])
