"""Who wants to know how a sweep goes: the view, MLflow, the keeper of checkpoints."""

from typing import Protocol


class Listener(Protocol):
    """Told what happened, after it is in the record. Must not raise: that would end the sweep."""

    def trial_started(self, number: int) -> None: ...

    def epoch_done(self, number: int) -> None: ...

    def trial_ended(self, number: int) -> None: ...
