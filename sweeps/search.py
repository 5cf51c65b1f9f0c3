"""The course of a sweep: baselines, then the search, then confirmation of the winner with fresh seeds."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from search_spaces.space import Space, parse_space
from sweeps.pareto import hypervolume_history, non_dominated, recommend
from sweeps.proposals import Proposer
from sweeps.record import Record, TrialRecord
from tce_core.results import EpochResult


@dataclass(frozen=True)
class Choice:
    """The recommended trial, the baseline it is measured against, and whether it kept the guard's floor."""

    trial: TrialRecord
    baseline: TrialRecord | None
    floor: float | None


class Search:
    """Decides which trial runs next; writes every event to the record at once.

    Built from the record alone, so a resumed sweep goes on where the record stops: trials found RUNNING are handed
    out again first, under their own numbers.
    """

    def __init__(self, record: Record) -> None:
        self.record, self.plan = record, record.plan
        self.space: Space = parse_space(self.plan.space, self.plan.space_file)
        self.interrupted = [trial for trial in record.trials() if not trial.state.is_finished()]
        numbers = {trial.number for trial in record.trials("search")}
        frozen = [trial for trial in record.study.get_trials(deepcopy=True) if trial.number in numbers]
        self.proposer = Proposer(self.space, self.plan.sampler, self.plan.seed, self.plan.objectives.maximize, frozen)
        self.exhausted = False

    def next(self) -> TrialRecord | None:
        """The trial to run next; None if there is none now (see `finished`)."""
        if self.interrupted:
            return self.interrupted.pop(0)
        return self._next_baseline() or self._next_proposal() or self._next_confirmation()

    @property
    def finished(self) -> bool:
        """Whether every planned trial has ended."""
        return self._searched_out() and not self._open() and self._confirmation_due() is None

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
        due = None if self._open("baseline", "search") else self._confirmation_due()
        if due is None:
            return None
        trial, seed = due
        config = {**trial.config, "seed": seed}
        return self.record.begin("confirm", f"{trial.label} seed={seed}", config, of=trial.number)

    def _confirmation_due(self) -> tuple[TrialRecord, int] | None:
        """The winner and the reference baseline are each trained again, with seeds that chose nothing."""
        choice = self.choose()
        if choice is None or not self.plan.confirm:
            return None
        done = {(trial.of, trial.config["seed"]) for trial in self.record.trials("confirm")}
        for i in range(self.plan.confirm):
            seed = self.plan.seed + 1 + i
            for trial in (choice.trial, choice.baseline):
                if trial is not None and (trial.number, seed) not in done:
                    return trial, seed
        return None

    def _searched_out(self) -> bool:
        return self.exhausted or len(self.record.trials("search")) >= self.plan.trials

    def _open(self, *roles: Any) -> bool:
        return any(not trial.state.is_finished() for trial in self.record.trials(*roles))

    def _config(self, params: dict[str, Any]) -> dict[str, Any]:
        return self.space.config(params, seed=self.plan.seed).model_dump(mode="json")

    def epoch_done(self, number: int, result: EpochResult) -> None:
        self.record.add_epoch(number, result)

    def trial_done(self, number: int, error: str | None = None) -> None:
        """The trial ended: at its full budget, or for the reason given. A result without values is a failure too."""
        trial = self.record[number]
        if error is None and not np.isfinite(self.plan.objectives.values(trial.last.report)).all():
            error = "the objectives are not finite"
        if error is None:
            self.record.complete(number)
        else:
            self.record.fail(number, error)
        if trial.role == "search":
            place = [t.number for t in self.record.trials("search")].index(number)
            self.proposer.tell(place, self.record[number].values)

    def candidates(self) -> list[TrialRecord]:
        """Completed baselines and searched trials: what the front is made of."""
        return [trial for trial in self.record.trials("baseline", "search") if trial.complete]

    def front(self) -> list[TrialRecord]:
        """The non-dominated candidates, by mIoU."""
        trials = self.candidates()
        if not trials:
            return []
        values = np.array([trial.values for trial in trials])
        mask = non_dominated(values, self.plan.objectives.maximize)
        return sorted((t for t, on in zip(trials, mask, strict=True) if on), key=lambda t: t.values or ())

    def hypervolumes(self) -> list[float]:
        """Best-so-far hypervolume after each candidate, in order of their numbers; reference point: the worst values."""
        values = np.array([trial.values for trial in self.candidates()])
        if not len(values):
            return []
        reference = np.array([0.0 if up else 1.0 for up in self.plan.objectives.maximize])
        return [float(v) for v in hypervolume_history(values, reference, self.plan.objectives.maximize)]

    def choose(self) -> Choice | None:
        """The recommended trial: the best by the leading measure that keeps the guard above its floor.

        The floor is the reference baseline's own value less the allowance. A baseline can win.
        """
        trials, objectives = self.candidates(), self.plan.objectives
        if not trials:
            return None
        reports = [trial.last.report for trial in trials]
        lead = np.array([objectives.lead.of(report) for report in reports])
        guard = np.array([objectives.guard.of(report) for report in reports])
        reference = next(iter(self.space.baselines), None)
        baseline = next((t for t in trials if t.role == "baseline" and t.label == reference), None)
        floor = None if baseline is None else objectives.guard.of(baseline.last.report) - self.plan.allowance
        best = recommend(lead, guard, -np.inf if floor is None else floor, objectives.lead.maximize)
        return None if best is None else Choice(trials[best], baseline, floor)


def describe(params: dict[str, Any]) -> str:
    """A configuration in a few words, such as `class_tilt t=1.2 lr=0.05`."""
    parts = []
    for name, value in params.items():
        text = f"{value:.3g}" if isinstance(value, float) else str(value)
        parts.append(text if name == "loss" else f"{name}={text}")
    return " ".join(parts)
