"""Who wants to know how a sweep goes: the view, MLflow, the keeper of checkpoints."""

from concurrent.futures import ThreadPoolExecutor
from typing import Protocol


class Listener(Protocol):
    """Told what happened, after it is in the record. Must not raise: that would end the sweep."""

    def on_trial_start(self, number: int) -> None: ...

    def on_epoch(self, number: int) -> None: ...

    def on_trial_end(self, number: int) -> None: ...


class Background:
    """Tells a slow listener everything, in order, from a thread of its own: the sweep does not wait for it."""

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
        """Wait until it has been told everything."""
        self.pool.shutdown()
