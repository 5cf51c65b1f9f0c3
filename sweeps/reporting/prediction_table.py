"""What a model saw in a folder of photographs, as a table; and how far it is."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from sweeps.reporting.heartbeat import QUIET, Heartbeat
from tce_core.data.schema import ClassInfo
from tce_core.diagnosis.reasons import percent


class PredictionProgress:
    """On a terminal a bar of the images; elsewhere a line after every half a minute."""

    def __init__(self, total: int, console: Console, quiet: float = QUIET) -> None:
        self.done, self.total, self.console = 0, total, console
        columns = (TextColumn("images"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.bar = Progress(*columns, console=console, disable=not console.is_terminal, transient=True)
        self.task = self.bar.add_task("", total=total)
        self.heartbeat = Heartbeat(self._say, quiet)

    def __enter__(self) -> "PredictionProgress":
        self.bar.start()
        if self.bar.disable:
            self.heartbeat.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.heartbeat.stop()
        self.bar.stop()

    def advance(self) -> None:
        self.done += 1
        self.bar.advance(self.task)

    def _say(self) -> None:
        self.console.print(f"{self.done} of {self.total} images", highlight=False)


def prediction_table(counts: npt.NDArray[np.int64], classes: Sequence[ClassInfo]) -> Table:
    """Return the table of the classes.

    Args:
        counts: (N, K), the pixels of each class in each image.
        classes: the K classes.
    """
    table = Table(title=f"Predicted in {len(counts)} images", title_justify="left", title_style="bold", box=None)
    table.pad_edge = False
    table.add_column("")
    table.add_column("class", overflow="ellipsis", no_wrap=True, max_width=40)
    table.add_column("pixels", justify="right")
    table.add_column("images", justify="right")
    pixels = counts.sum(axis=0)
    for info in classes:
        share, shown = pixels[info.id] / max(1, pixels.sum()), np.count_nonzero(counts[:, info.id])
        red, green, blue = info.color
        swatch = f"[rgb({red},{green},{blue})]\N{BLACK SQUARE}[/]"
        table.add_row(swatch, escape(info.name), percent(share) if shown else "-", str(shown))
    return table
