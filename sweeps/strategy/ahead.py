"""Proposals ahead of their use, so that many slots do not wait for the sampler."""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from sweeps.strategy.proposals import Observation, Proposal, Proposer

MOST = 3
"""Proposals that are made ahead, at most."""
TRIALS_EACH = 8
"""One proposal is made ahead for so many running trials."""


class ProposalsAhead:
    """Makes proposals in a thread of its own, in order, and keeps some ready while many trials run.

    While few trials run, none is made ahead: each proposal then depends on all results so far. With many slots, a
    proposal that is made ahead misses the results of a few trials among many that have not ended either.
    """

    def __init__(self, proposer: Proposer, observations: Callable[[], Sequence[Observation]]) -> None:
        """`observations` returns one per proposal that a trial has begun with, in order."""
        self.proposer, self.observations = proposer, observations
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="proposals")
        self.made: deque[Future[Proposal | None]] = deque()

    def take(self) -> Proposal | None:
        """Return the next proposal (see `Proposer.next`), if need be after waiting for it."""
        if not self.made:
            self._make()
        return self.made.popleft().result()

    def prepare(self, running: int, left: int) -> None:
        """Begin to make proposals ahead, as many as suit the number of running trials; `left` are still wanted."""
        while len(self.made) < min(MOST, running // TRIALS_EACH, left):
            self._make()

    def close(self) -> None:
        """Begin no other proposal, and wait for none."""
        self.thread.shutdown(wait=False, cancel_futures=True)

    def _make(self) -> None:
        observed, before = self.observations(), list(self.made)
        self.made.append(self.thread.submit(self._propose, observed, before))

    def _propose(self, observed: Sequence[Observation], before: Sequence[Future[Proposal | None]]) -> Proposal | None:
        """Proposals that no trial has begun with yet count as running trials."""
        earlier = list(observed)
        for future in before:
            proposal = future.result()
            if proposal is None:
                return None
            earlier.append(Observation(proposal.params, system_attrs=proposal.system_attrs))
        return self.proposer.next(earlier)
