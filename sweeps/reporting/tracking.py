"""MLflow as a view of the record: one run for the sweep and, nested in it, one run for each trial.

`mlflow_store` compares MLflow with what `mlflow_view` says it should show, and writes the difference. So writing twice
changes nothing, and whatever could not be written is written the next time.
"""

import logging
import re
import time
from collections.abc import Sequence
from pathlib import Path

from sweeps.reporting.mlflow_store import Mirror
from sweeps.reporting.mlflow_view import SweepView
from sweeps.strategy.outcome import Outcome

EXPERIMENT = "tilted-sweeps"
PAUSE = 30.0  # seconds, at least, between attempts after one has failed
log = logging.getLogger(__name__)


class Tracking:
    """A `Listener` that shows the sweep in MLflow. It never raises, and never delays the sweep for long.

    It reports an outage once, in one line. During an outage it tries again now and then, for at most about a tenth of
    the time. The first attempt that succeeds catches up on everything.
    """

    def __init__(
        self,
        outcome: Outcome,
        class_names: Sequence[str],
        uri: str,
        best_path: Path | None = None,
        experiment: str = EXPERIMENT,
    ) -> None:
        self.outcome, self.class_names = outcome, class_names
        self.uri, self.best_path, self.experiment = uri, best_path, experiment
        self.status: str | None = None
        """Status of the sweep's run: RUNNING from the first trial on, then how the sweep ended; None before."""
        self.mirror: Mirror | None = None
        """None if not connected, or if MLflow may have changed and has to be read again."""
        self.pages: dict[str, str] = {}
        """Addresses in MLflow's UI, once they are known; see `Mirror.pages`."""
        self.behind = False
        self.next_attempt = 0.0

    def on_trial_start(self, number: int) -> None:
        first, self.status = self.status != "RUNNING", "RUNNING"
        self._show(None if first else number)

    def on_epoch(self, number: int) -> None:
        self._show(number)

    def on_trial_end(self, number: int) -> None:
        self._show(number, ended=True)

    def sweep_ended(self, status: str) -> None:
        """Show that the sweep ended: `status` is FINISHED or KILLED."""
        self.status = status
        self.sync()

    def sync(self) -> bool:
        """Make MLflow equal to the record, whatever it holds now. Returns False if that failed."""
        self.mirror, self.next_attempt = None, 0.0
        return self._show()

    def _show(self, number: int | None = None, ended: bool = False) -> bool:
        """Bring the run of one trial up to date; if it has ended, also what its end changes elsewhere.

        Without a number, or after an outage, bring all runs up to date.
        """
        began = time.monotonic()
        if began < self.next_attempt:
            return False
        try:
            view = SweepView(self.outcome, self.class_names)
            if not view.empty:
                if self.mirror is None:
                    self.mirror, number = Mirror(view, self.uri, self.experiment), None
                if number is None or ended:
                    self.mirror.show(view, self.status, self.best_path, number)
                    self.pages = self.mirror.pages()
                else:
                    self.mirror.show_trial(view, number)
        except Exception as error:  # of any kind: an observer must not end what it observes
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


def _one_line(text: str) -> str:
    """The first line, shortened, without the password of a URL."""
    return re.sub(r"//[^/@\s]*@", "//***@", text.partition("\n")[0])[:300]
