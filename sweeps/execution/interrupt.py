"""Ctrl-C, once and twice."""

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType

from rich.console import Console

from sweeps.strategy.search import Search


@contextlib.contextmanager
def stop_on_interrupt(search: Search, console: Console) -> Iterator[None]:
    """Once (or SIGTERM): running trials finish their epoch and are saved. Twice: KeyboardInterrupt at once.

    Either way the record can be resumed. Only where signals can be handled: in the main thread.
    """

    def interrupted(number: int, frame: FrameType | None) -> None:
        if search.stop_requested:
            raise KeyboardInterrupt
        search.request_stop()
        console.print("Stopping when the running epochs are done. Ctrl-C again: at once.", highlight=False)

    earlier = {number: signal.signal(number, interrupted) for number in (signal.SIGINT, signal.SIGTERM)}
    # Tune would take Ctrl-C itself, and stop the trials in the middle of their epochs.
    tune_asks = os.environ.get("TUNE_DISABLE_SIGINT_HANDLER")
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
        if tune_asks is None:
            del os.environ["TUNE_DISABLE_SIGINT_HANDLER"]
