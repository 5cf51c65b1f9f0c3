"""What a sweep leaves in its folder and on the terminal when it has ended: its recommendation, or a comparison."""

from typing import TYPE_CHECKING

from sweeps.reporting.best import write_best
from sweeps.reporting.compared import Compared
from sweeps.reporting.comparison import print_comparison, tables_path, write_comparison
from sweeps.reporting.summary import summary
from sweeps.reporting.terminal import farewell, wide_console
from sweeps.storage.folder import SweepFolder
from sweeps.strategy.outcome import Outcome
from tce_core.errors import UserError

if TYPE_CHECKING:
    from sweeps.reporting.tracking import Tracking


def write_result(outcome: Outcome, class_names: tuple[str, ...], folder: SweepFolder) -> None:
    """Write the recommended configuration and the plots of the front; of a comparison its tables, as far as they go.

    Raises:
        UserError: they cannot be written; a comparison that has ended has no model of its reference.
    """
    if not outcome.record.plan.methods:
        write_best(outcome, class_names, folder)
        return
    try:
        compared = Compared.of(outcome.record, folder)
    except UserError:
        if outcome.record.finished:
            raise
        return  # interrupted before the reference had a model
    write_comparison(compared, folder.comparison)


def show_interruption(folder: SweepFolder, again: str) -> None:
    """Print where a comparison's tables are so far, and the command that continues."""
    console = wide_console()
    if folder.comparison.exists():
        console.print(f"Tables so far  {tables_path(folder.comparison)}", highlight=False, soft_wrap=True)
    console.print(f"Interrupted. Continue with: {again}", highlight=False, soft_wrap=True)


def show_result(tracking: "Tracking", class_names: tuple[str, ...], folder: SweepFolder) -> None:
    """Print what a sweep that has ended found, and where it is.

    Raises:
        UserError: no trial was trained to its end, or none keeps the floors.
    """
    outcome, console = tracking.outcome, wide_console()
    if outcome.record.plan.methods:
        print_comparison(Compared.of(outcome.record, folder), folder.comparison, console)
        return
    if outcome.candidates():
        summary(outcome, class_names, console)
    if (choice := outcome.choose()) is None:
        raise UserError(f"sweep '{outcome.record.plan.name}': {outcome.why_none()}")
    farewell(folder, tracking.uri, tracking.pages, console, not choice.trial.untrained)
