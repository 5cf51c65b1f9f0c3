"""Who wants to know how a sweep goes: the view, MLflow, the keeper of checkpoints."""

from concurrent.futures import ThreadPoolExecutor
from typing import Protocol


class Listener(Protocol):
    """Told what happened, after it is in the record. Must not raise: that would end the sweep."""

    def trial_started(self, number: int) -> None: ...

    def epoch_done(self, number: int) -> None: ...

    def trial_ended(self, number: int) -> None: ...


class Background:
    """Tells a slow listener everything, in order, from a thread of its own: the sweep does not wait for it."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.pool = ThreadPoolExecutor(1, thread_name_prefix=type(listener).__name__)

    def trial_started(self, number: int) -> None:
        self.pool.submit(self.listener.trial_started, number)

    def epoch_done(self, number: int) -> None:
        self.pool.submit(self.listener.epoch_done, number)

    def trial_ended(self, number: int) -> None:
        self.pool.submit(self.listener.trial_ended, number)

    def close(self) -> None:
        """Wait until it has been told everything."""
        self.pool.shutdown()
