"""The record of a sweep, shown in MLflow: one run for the sweep and, nested in it, one for each trial.

    python sweeps/tracking.py NAME      writes a sweep into MLflow later, or what an outage kept from it

MLflow is a view. `mlflow_store` compares it with what `mlflow_view` says it should show and writes the difference:
doing so twice changes nothing, and whatever could not be written is written the next time.
"""

import logging
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from sweeps.cli import Parser, run_command
from sweeps.reporting.mlflow_store import Mirror
from sweeps.reporting.mlflow_view import SweepView
from sweeps.storage.record import Record
from sweeps.strategy.outcome import Outcome
from tce_core.data.dataset import open_dataset

EXPERIMENT = "tilted-sweeps"
PAUSE = 30.0  # seconds, at least, without another attempt once one has failed
log = logging.getLogger(__name__)


class Tracking:
    """Told what happens in a sweep (a `Listener`), and shows it in MLflow. Never raises, never holds it up for long.

    An outage is said once, in one line. While it lasts MLflow is left alone but for an attempt now and then, which
    take about a tenth of the time at most; the first that succeeds catches up on everything.
    """

    def __init__(
        self,
        record: Record,
        outcome: Outcome,
        class_names: Sequence[str],
        uri: str,
        best_path: Path | None = None,
        experiment: str = EXPERIMENT,
    ) -> None:
        self.record, self.outcome, self.class_names = record, outcome, class_names
        self.uri, self.best_path, self.experiment = uri, best_path, experiment
        self.status: str | None = None
        """Of the sweep's run, once it is known: RUNNING from the first trial on, then how it ended."""
        self.mirror: Mirror | None = None
        """None: not connected, or MLflow may have changed or missed something and has to be read again."""
        self.behind = False
        self.next_attempt = 0.0

    def on_trial_start(self, number: int) -> None:
        first, self.status = self.status != "RUNNING", "RUNNING"
        self._show(None if first else number)

    def on_epoch(self, number: int) -> None:
        self._show(number)

    def on_trial_end(self, number: int) -> None:
        self._show()

    def sweep_ended(self, status: str) -> None:
        """`status`: FINISHED or KILLED."""
        self.status = status
        self.sync()

    def sync(self) -> bool:
        """Make MLflow equal to the record, whatever it holds now. False: it could not be done."""
        self.mirror, self.next_attempt = None, 0.0
        return self._show()

    def _show(self, number: int | None = None) -> bool:
        """Bring the run of one trial up to date; without a number, or after an outage, all of them."""
        began = time.monotonic()
        if began < self.next_attempt:
            return False
        try:
            view = SweepView(self.outcome, self.class_names)
            if not view.empty:
                if self.mirror is None:
                    self.mirror, number = Mirror(view, self.uri, self.experiment), None
                if number is None:
                    self.mirror.show(view, self.status, self.best_path)
                else:
                    self.mirror.show_trial(view, number)
        except Exception as error:  # whatever it is: the watcher must not end what it watches
            self.mirror = None
            self.next_attempt = time.monotonic() + max(PAUSE, 10 * (time.monotonic() - began))
            if not self.behind:
                log.warning("%s", _one_line(f"MLflow lags behind, the record does not: {self.uri}: {error}"))
            self.behind = True
            return False
        if self.behind:
            log.warning("%s", _one_line(f"MLflow is up to date again: {self.uri}"))
        self.behind = False
        return True


def main(arguments: Sequence[str] | None = None) -> int:
    parser = Parser(
        prog="python sweeps/tracking.py", description="Write a sweep into MLflow, or what is missing of it."
    )
    parser.add_argument("name", help="the sweep")
    parser.add_argument("--storage", default="sqlite:///sweeps.db", help="Optuna storage (default: %(default)s)")
    parser.add_argument("--tracking-uri", default="sqlite:///mlflow.db", help="MLflow store or server")
    options = parser.parse_args(arguments)
    record = Record.load(options.storage, options.name)
    names = open_dataset(record.plan.dataset).class_names
    best = Path("runs", record.plan.name, "best.yaml")
    tracking = Tracking(record, Outcome(record, record.plan.objectives), names, options.tracking_uri, best)
    return 0 if tracking.sync() else 1


def _one_line(text: str) -> str:
    """The first line, at a readable length, without the password of a URL."""
    return re.sub(r"//[^/@\s]*@", "//***@", text.partition("\n")[0])[:300]


if __name__ == "__main__":
    sys.exit(run_command(main))
