"""The listeners of a sweep: the terminal, MLflow, the keeper of checkpoints."""

from concurrent.futures import ThreadPoolExecutor
from typing import Protocol


class Listener(Protocol):
    """Hears of an event after it is in the record. It must not raise: that would end the sweep."""

    def on_trial_start(self, number: int) -> None: ...

    def on_epoch(self, number: int) -> None: ...

    def on_trial_end(self, number: int) -> None: ...


class Background:
    """Passes every event, in order, to a slow listener in a thread of its own, so that the sweep does not wait."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.pool = ThreadPoolExecutor(1, thread_name_prefix=type(listener).__name__)

    def on_trial_start(self, number: int) -> None:
        self.pool.submit(self.listener.on_trial_start, number)

    def on_epoch(self, number: int) -> None:
        self.pool.submit(self.listener.on_epoch, number)

    def on_trial_end(self, number: int) -> None:
        self.pool.submit(self.listener.on_trial_end, number)

    def close(self) -> None:
        """Wait until the listener has heard everything."""
        self.pool.shutdown()
