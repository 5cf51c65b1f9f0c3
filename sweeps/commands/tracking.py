"""Write a sweep into MLflow later, or what an outage kept from it: `tilted-sweeps track NAME`."""

from collections.abc import Sequence

from sweeps.cli import DONE, Parser, add_storage, add_tracking_uri
from sweeps.reporting.tracking import Tracking
from sweeps.storage.folder import folder_of
from sweeps.storage.record import Record
from sweeps.strategy.options import Runtime
from sweeps.strategy.outcome import Outcome
from tce_core.data.dataset import open_dataset
from tce_core.errors import TEMPORARY


def main(arguments: Sequence[str] | None = None, prog: str = "tilted-sweeps track") -> int:
    parser = Parser(prog=prog, description="Write a sweep into MLflow, or what is missing of it.")
    parser.add_argument("name", help="the sweep")
    add_storage(parser)
    add_tracking_uri(parser)
    given = vars(parser.parse_args(arguments))
    return DONE if track_sweep(given.pop("name"), Runtime(**given)) else TEMPORARY


def track_sweep(name: str, runtime: Runtime | None = None) -> bool:
    """Make MLflow equal to the record of a sweep. Returns False, after one line in the log, if that failed.

    Raises:
        UserError: there is no such sweep, or its data set is gone.
    """
    where = runtime or Runtime()
    record = Record.load(where.storage, name)
    class_names = open_dataset(record.plan.dataset).class_names
    best = folder_of(record.plan, where.runs).best
    return Tracking(Outcome(record, record.plan.objectives), class_names, where.tracking_uri, best).sync()
