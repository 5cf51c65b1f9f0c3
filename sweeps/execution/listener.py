"""The listeners of a sweep: the terminal, MLflow, the keeper of checkpoints."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Protocol


class Listener(Protocol):
    """Hears of an event after it is in the record. It must not raise: that would end the sweep."""

    def on_trial_start(self, number: int) -> None: ...

    def on_epoch(self, number: int) -> None: ...

    def on_trial_end(self, number: int) -> None: ...


class Background:
    """Passes every event, in order, to a slow listener in a thread of its own, so that the sweep does not wait."""

    def __init__(self, name: str, listener: Callable[[], Listener]) -> None:
        """`listener` makes the listener in its thread, at the first event."""
        self.listener = cache(listener)
        self.pool = ThreadPoolExecutor(1, thread_name_prefix=name)

    def on_trial_start(self, number: int) -> None:
        self.pool.submit(lambda: self.listener().on_trial_start(number))

    def on_epoch(self, number: int) -> None:
        self.pool.submit(lambda: self.listener().on_epoch(number))

    def on_trial_end(self, number: int) -> None:
        self.pool.submit(lambda: self.listener().on_trial_end(number))

    def close(self) -> None:
        """Wait until the listener has heard everything."""
        self.pool.shutdown()
