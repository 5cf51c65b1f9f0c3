"""The files that a sweep leaves in its folder."""

from sweeps.reporting.export_file import export_of, write_export
from sweeps.storage.folder import SweepFolder
from sweeps.strategy.outcome import Outcome
from tce_core.errors import file_error


def write_best(outcome: Outcome, class_names: tuple[str, ...], folder: SweepFolder) -> None:
    """Write the recommended configuration and the plots of the front, if there is one; else remove earlier ones.

    Raises:
        UserError: they cannot be written.
    """
    from sweeps.reporting.front import save_front  # it imports plotly and matplotlib

    choice = outcome.choose()
    if choice is None:  # a sweep that is extended by floors can lose its recommendation
        folder.best.unlink(missing_ok=True)
        return
    write_export(folder.best, export_of(outcome, choice, class_names))
    try:
        save_front(outcome, class_names, folder.path)
    except OSError as error:
        raise file_error(folder.path, "the front cannot be written", error) from None
