"""The course of a sweep: baselines, then the search, then confirmation of the winner with fresh seeds."""

from functools import cached_property
from operator import itemgetter
from typing import Any

import numpy as np
from optuna.trial import TrialState

from search_spaces.space import Space, parse_space
from sweeps.storage.record import Record
from sweeps.storage.trial import TrialRecord
from sweeps.strategy.budget import Budget
from sweeps.strategy.outcome import Outcome
from sweeps.strategy.proposals import Observation, Proposer
from sweeps.strategy.rungs import goes_on
from tce_core.results import EpochResult

End = tuple[TrialState, str | None]
"""How a trial ends, and why if before its full budget."""


class Search:
    """Decides which trial runs next and which goes on; writes every event to the record at once.

    Built from the record alone, so a resumed sweep goes on where the record stops: trials found RUNNING are handed
    out again first, under their own numbers.
    """

    def __init__(self, record: Record) -> None:
        self.record, self.plan = record, record.plan
        self.space: Space = parse_space(self.plan.space, self.plan.space_file)
        self.outcome = Outcome(record, self.plan.objectives)
        self.budget = Budget(record, self.outcome)
        self.proposer = Proposer(
            self.space, self.plan.sampler, self.plan.seed, self.plan.objectives.maximize, self.plan.warm_start
        )
        self.stop_requested = False
        """No trial is to begin or to go on: the sweep is being interrupted."""
        self.pending_ends: dict[int, End] = {}
        """Of trials that are to end but are not told yet that they have."""
        self.at_rungs: dict[int, dict[int, tuple[float, float]]] = {rung: {} for rung in self.plan.rungs}
        """What every searched trial that has got as far as each rung is compared by, by its number, as they came."""
        self.told: dict[int, Observation] = {}
        """What the sampler is told of trials that have ended, once that will not change."""
        searched = record.trials("search")
        done = [(s.epochs, trial, r) for trial in searched for s, r in zip(trial.spent, trial.results, strict=True)]
        for _, trial, result in sorted(done, key=itemgetter(0)):
            self._note(trial, result)
        self.unfinished = [record[number] for number in sorted(record.running)]
        for trial in list(self.unfinished):
            if trial.results and not self._goes_on(trial.number):  # all was done but for saying so
                self.unfinished.remove(trial)
                self.record_end(trial.number)

    def next(self) -> TrialRecord | None:
        """The trial to run next; None if there is none now (see `finished`)."""
        if self.stop_requested:
            return None
        if self.unfinished:
            return self.unfinished.pop(0)
        self._close_if_it_is_time()
        return self._next_baseline() or self._next_proposal() or self._next_confirmation()

    def request_stop(self) -> None:
        """Begin no trial and continue none: running trials stop after their epoch and stay unfinished."""
        self.stop_requested = True

    @property
    def finished(self) -> bool:
        """Whether every planned trial has ended."""
        return self._searched_out() and not self._open() and self._confirmation_due() is None

    @property
    def epochs_expected(self) -> int:
        """Epochs the whole sweep will take: what is spent, and what is to come if as many trials are stopped as so far.

        Before any has ended, every trial counts at full length.
        """
        searched = self.record.trials("search")
        ended = [trial for trial in searched if trial.state.is_finished()]
        each = sum(trial.epoch for trial in ended) / len(ended) if ended else self.full
        begun = sum(trial.epoch for trial in searched)
        planned = len(searched) if self.record.search_stopped is not None else self.plan.trials
        others = len(self.space.baselines) * self.full + self._epochs_confirming
        expected = others + max(begun, round(each * planned))
        return min(expected, self.plan.max_epochs or expected)

    @cached_property
    def full(self) -> int:
        """Epochs of a trial's full budget."""
        return self.space.config({}).epochs

    def _next_baseline(self) -> TrialRecord | None:
        begun = {trial.label for trial in self.record.trials("baseline")}
        for label, settings in self.space.baselines.items():
            if label not in begun and self.budget.limit(len(self.record.running)) is None:
                return self.record.begin("baseline", label, self._config(settings))
        return None

    def _next_proposal(self) -> TrialRecord | None:
        if self._searched_out() or self._limit_to_another() is not None:
            return None
        proposal = self.proposer.next([self._observation(trial) for trial in self.record.trials("search")])
        if proposal is None:
            self.record.stop_search("every configuration of the space has been tried")
            return None
        config = self._config(proposal.params)
        return self.record.begin(
            "search", describe(proposal.params), config, proposal.params, proposal.distributions, proposal.system_attrs
        )

    def _observation(self, trial: TrialRecord) -> Observation:
        """What the sampler is told: of a trial that was stopped, the last it showed, as if it had been its all."""
        if trial.number in self.told:
            return self.told[trial.number]
        failed = trial.state == TrialState.FAIL
        if failed or not trial.state.is_finished():
            return Observation(trial.params, failed=failed, system_attrs=trial.system_attrs)
        values, reference = self.plan.objectives.values(trial.last.report), self.outcome.reference()
        shortfall = None if reference is None else self._shortfall(trial, reference)
        told = Observation(trial.params, values, False, shortfall, trial.system_attrs)
        if reference is not None or not self.space.baselines:
            self.told[trial.number] = told
        return told

    def _shortfall(self, trial: TrialRecord, reference: TrialRecord) -> float:
        """How far the trial is from keeping the guard, beside the reference baseline after as many epochs."""
        guard, beside = self.plan.objectives.guard, reference.results[trial.epoch - 1]
        return guard.value(beside.report) - self.plan.objectives.allowance - guard.value(trial.last.report)

    def _next_confirmation(self) -> TrialRecord | None:
        due = self._confirmation_due()
        if due is None:
            return None
        trial, seed = due
        config = {**trial.config, "seed": seed}
        return self.record.begin("confirm", f"{trial.label} seed={seed}", config, repeats=trial.number)

    def _confirmation_due(self) -> tuple[TrialRecord, int] | None:
        """The reference baseline and the winner are each trained again, with seeds that chose nothing.

        The baseline first: that need not wait for the winner, and keeps slots at work that are done with the search.
        """
        if not self._searched_out() or self.budget.limit(0) is not None:
            return None
        winner = None if self._open("baseline", "search") else self.outcome.choose()
        done = {(trial.repeats, trial.config["seed"]) for trial in self.record.trials("confirm")}
        for trial in (self.outcome.reference(), winner.trial if winner is not None else None):
            for seed in range(self.plan.seed + 1, self.plan.seed + 1 + self.plan.confirm):
                if trial is not None and (trial.number, seed) not in done:
                    return trial, seed
        return None

    def _searched_out(self) -> bool:
        return self.record.count("search") >= self.plan.trials or self.record.search_stopped is not None

    def _close_if_it_is_time(self) -> None:
        if self._searched_out():
            return
        reason = self.budget.stagnant()
        if reason is None and not self._searching():  # else what those do not need may do for another
            limit = self._limit_to_another()
            reason = limit and f"of the sweep's {limit} too little is left for another trial"
        if reason is not None:
            self.record.stop_search(reason)

    def _limit_to_another(self) -> str | None:
        """What leaves no room for another searched trial, should it and all that are open get to their end."""
        to_come = sum(trial.epochs_left for trial in self._searching())
        return self.budget.limit(to_come + self._reserved() + self.full - 1)

    def _reserved(self) -> int:
        """Epochs still to come of baselines and confirming runs: the search leaves them, so that they have theirs."""
        baselines = {trial.label: trial for trial in self.record.trials("baseline")}
        due = self._epochs_confirming - sum(trial.epoch for trial in self.record.trials("confirm"))
        for label in self.space.baselines:
            if label not in baselines:
                due += self.full
            elif not baselines[label].state.is_finished():
                due += baselines[label].epochs_left
        return due

    def _searching(self) -> list[TrialRecord]:
        open_trials = (self.record[number] for number in self.record.running)
        return [trial for trial in open_trials if trial.role == "search"]

    @property
    def _epochs_confirming(self) -> int:
        return self.plan.confirming * self.full

    def _open(self, *roles: Any) -> bool:
        return any(not roles or self.record[number].role in roles for number in self.record.running)

    def _config(self, params: dict[str, Any]) -> dict[str, Any]:
        return self.space.config(params, seed=self.plan.seed).model_dump(mode="json")

    def record_epoch(self, number: int, result: EpochResult) -> bool:
        """Record an epoch. Whether the trial goes on: not at its full budget, a rung it falls from, or an interrupt."""
        self.record.add_epoch(number, result, self.budget.seconds)
        self._note(self.record[number], result)
        return self._goes_on(number) and not self.stop_requested

    def record_end(self, number: int, error: str | None = None) -> None:
        """Record a trial's end: as `record_epoch` decided, or FAIL with `error`. An interrupted trial stays RUNNING."""
        end = self.pending_ends.pop(number, None) if error is None else (TrialState.FAIL, error)
        if end is not None:
            self.record.end(number, *end, self.budget.seconds)

    def _goes_on(self, number: int) -> bool:
        end = self._end(self.record[number])
        if end is not None:
            self.pending_ends[number] = end
        return end is None

    def _end(self, trial: TrialRecord) -> End | None:
        """How the trial ends after its last epoch; None: it goes on."""
        if not self._measurable(trial.last):
            return TrialState.FAIL, f"the objectives are not finite after epoch {trial.epoch}"
        if trial.epochs_left <= 0:
            return TrialState.COMPLETE, None
        if trial.role != "search":
            limit = self.budget.limit(len(self.record.running) - 1)
        elif trial.epoch in self.plan.rungs and not self._survives(trial):
            return TrialState.PRUNED, f"not among the best {self.plan.keep:.0%} at epoch {trial.epoch}"
        else:
            limit = self.budget.limit(len(self._searching()) - 1 + self._reserved())
        return None if limit is None else (TrialState.PRUNED, f"the sweep's {limit} are spent")

    def _note(self, trial: TrialRecord, result: EpochResult) -> None:
        if trial.role == "search" and result.epoch in self.at_rungs and self._measurable(result):
            lead, guard = self.plan.objectives.early_pair
            self.at_rungs[result.epoch][trial.number] = lead.value(result.report), guard.value(result.report)

    def _survives(self, trial: TrialRecord) -> bool:
        """Beside the searched trials that got as far before it, whenever this is asked; see `rungs`."""
        there = self.at_rungs[trial.epoch]
        index = list(there).index(trial.number)
        maximize = [measure.maximize for measure in self.plan.objectives.early_pair]
        return goes_on(list(there.values())[: index + 1], index, self.plan.keep, maximize)

    def _measurable(self, result: EpochResult) -> bool:
        try:
            return bool(np.isfinite(self.plan.objectives.values(result.report)).all())
        except ValueError:  # no class has an IoU at all
            return False


def describe(params: dict[str, Any]) -> str:
    """A configuration in a few words, such as `class_tilt t=1.2 lr=0.05`."""
    parts = []
    for name, value in params.items():
        text = f"{value:.3g}" if isinstance(value, float) else str(value)
        parts.append(text if name == "loss" else f"{name}={text}")
    return " ".join(parts)
