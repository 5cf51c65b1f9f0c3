"""The course of a sweep: baselines, then the search, then confirmation of the winner with fresh seeds."""

from typing import Any

import numpy as np

from search_spaces.space import Space, parse_space
from sweeps.outcome import Outcome
from sweeps.proposals import Proposer
from sweeps.record import Record, TrialRecord
from tce_core.results import EpochResult


class Search:
    """Decides which trial runs next; writes every event to the record at once.

    Built from the record alone, so a resumed sweep goes on where the record stops: trials found RUNNING are handed
    out again first, under their own numbers.
    """

    def __init__(self, record: Record) -> None:
        self.record, self.plan = record, record.plan
        self.space: Space = parse_space(self.plan.space, self.plan.space_file)
        self.outcome = Outcome(record, self.plan.objectives)
        numbers = {trial.number for trial in record.trials("search")}
        frozen = [trial for trial in record.study.get_trials(deepcopy=True) if trial.number in numbers]
        self.proposer = Proposer(self.space, self.plan.sampler, self.plan.seed, self.plan.objectives.maximize, frozen)
        self.exhausted = False
        self.interrupted = [trial for trial in record.trials() if not trial.state.is_finished()]
        for trial in [t for t in self.interrupted if t.results and t.last.epoch >= t.config["epochs"]]:
            self.interrupted.remove(trial)  # it was all done but for saying so
            self.trial_done(trial.number)

    def next(self) -> TrialRecord | None:
        """The trial to run next; None if there is none now (see `finished`)."""
        if self.interrupted:
            return self.interrupted.pop(0)
        return self._next_baseline() or self._next_proposal() or self._next_confirmation()

    @property
    def finished(self) -> bool:
        """Whether every planned trial has ended."""
        return self._searched_out() and not self._open() and self._confirmation_due() is None

    @property
    def epochs_planned(self) -> int:
        """Epochs of all planned trials together; confirming runs count if there is a baseline to compare with."""
        trials = len(self.space.baselines) + self.plan.trials
        confirming = self.plan.confirm * (2 if self.space.baselines else 1)
        return (trials + confirming) * self.space.config({}).epochs

    def _next_baseline(self) -> TrialRecord | None:
        begun = {trial.label for trial in self.record.trials("baseline")}
        for label, settings in self.space.baselines.items():
            if label not in begun:
                return self.record.begin("baseline", label, self._config(settings))
        return None

    def _next_proposal(self) -> TrialRecord | None:
        if self._searched_out() or (proposal := self.proposer.next()) is None:
            self.exhausted = True
            return None
        config = self._config(proposal.params)
        return self.record.begin(
            "search", describe(proposal.params), config, proposal.params, proposal.distributions, proposal.system_attrs
        )

    def _next_confirmation(self) -> TrialRecord | None:
        due = self._confirmation_due()
        if due is None:
            return None
        trial, seed = due
        config = {**trial.config, "seed": seed}
        return self.record.begin("confirm", f"{trial.label} seed={seed}", config, of=trial.number)

    def _confirmation_due(self) -> tuple[TrialRecord, int] | None:
        """The reference baseline and the winner are each trained again, with seeds that chose nothing.

        The baseline first: that need not wait for the winner, and keeps slots at work that are done with the search.
        """
        if not self._searched_out():
            return None
        winner = None if self._open("baseline", "search") else self.outcome.choose()
        done = {(trial.of, trial.config["seed"]) for trial in self.record.trials("confirm")}
        for trial in (self.outcome.reference(), winner.trial if winner is not None else None):
            for seed in range(self.plan.seed + 1, self.plan.seed + 1 + self.plan.confirm):
                if trial is not None and (trial.number, seed) not in done:
                    return trial, seed
        return None

    def _searched_out(self) -> bool:
        return self.exhausted or len(self.record.trials("search")) >= self.plan.trials

    def _open(self, *roles: Any) -> bool:
        return any(not trial.state.is_finished() for trial in self.record.trials(*roles))

    def _config(self, params: dict[str, Any]) -> dict[str, Any]:
        return self.space.config(params, seed=self.plan.seed).model_dump(mode="json")

    def _measurable(self, trial: TrialRecord) -> bool:
        try:
            return bool(np.isfinite(self.plan.objectives.values(trial.last.report)).all())
        except ValueError:  # no class has an IoU at all
            return False

    def epoch_done(self, number: int, result: EpochResult) -> None:
        self.record.add_epoch(number, result)

    def trial_done(self, number: int, error: str | None = None) -> None:
        """The trial ended: at its full budget, or for the reason given. A result without values is a failure too."""
        trial = self.record[number]
        if error is None and not self._measurable(trial):
            error = "the objectives are not finite"
        if error is None:
            self.record.complete(number)
        else:
            self.record.fail(number, error)
        if trial.role == "search":
            place = [t.number for t in self.record.trials("search")].index(number)
            self.proposer.tell(place, self.record[number].values)


def describe(params: dict[str, Any]) -> str:
    """A configuration in a few words, such as `class_tilt t=1.2 lr=0.05`."""
    parts = []
    for name, value in params.items():
        text = f"{value:.3g}" if isinstance(value, float) else str(value)
        parts.append(text if name == "loss" else f"{name}={text}")
    return " ".join(parts)
