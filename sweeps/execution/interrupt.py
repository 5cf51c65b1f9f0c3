"""Ctrl-C stops a sweep gracefully; a second Ctrl-C stops it at once."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from rich.console import Console

from sweeps.strategy.search import Search


@contextlib.contextmanager
def stop_on_interrupt(search: Search, console: Console) -> Iterator[None]:
    """Handle Ctrl-C and SIGTERM while a sweep runs.

    After the first, running trials finish their epoch and are saved. The second raises KeyboardInterrupt at once.
    Either way the sweep can be resumed. Outside the main thread Python delivers no signals, and nothing is handled.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupted(number: int, frame: FrameType | None) -> None:
        if search.stop_requested:
            raise KeyboardInterrupt
        search.request_stop()
        console.print("Stopping when the running epochs are done. Press Ctrl-C again to stop at once.", highlight=False)

    earlier = {number: signal.signal(number, interrupted) for number in (signal.SIGINT, signal.SIGTERM)}
    # Tune's own handler would stop the trials in the middle of their epochs.
    tune_setting = os.environ.get("TUNE_DISABLE_SIGINT_HANDLER")
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
        if tune_setting is None:
            del os.environ["TUNE_DISABLE_SIGINT_HANDLER"]
