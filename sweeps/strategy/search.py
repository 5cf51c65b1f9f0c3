"""The course of a sweep: baselines, then the search, then confirmation of the winner with fresh seeds."""

from typing import Any

from optuna.trial import TrialState

from search_spaces.space import Space, parse_space
from sweeps.storage.record import Record
from sweeps.storage.trial import Role, TrialRecord
from sweeps.strategy.ahead import ProposalsAhead
from sweeps.strategy.budget import Budget, Limit, baseline_budgets, full_budget
from sweeps.strategy.confirming import Confirmations
from sweeps.strategy.halving import Halving, measurable
from sweeps.strategy.observations import Observations
from sweeps.strategy.outcome import Outcome
from sweeps.strategy.proposals import Proposer
from sweeps.strategy.trunks import Trunks
from tce_core.results import EpochResult

End = tuple[TrialState, str | None]
"""How a trial ends, and why if it ends before its full budget."""


class Search:
    """Decides which trial runs next and which trial continues, and writes every event to the record at once.

    It derives everything from the record. So a resumed sweep continues where the record stops.
    """

    def __init__(self, record: Record) -> None:
        """Read the record; nothing is written. A sweep that continues is made by `resume`."""
        self.record, self.plan = record, record.plan
        self.space: Space = parse_space(self.plan.space, self.plan.space_file)
        self.outcome = Outcome(record, self.plan.objectives)
        self.budget = Budget(record, self.outcome)
        self.confirmations = Confirmations(record, self.outcome)
        self.trunks = Trunks(self.space, self.plan, record)
        self.observations = Observations(record, self.outcome)
        self.proposer = Proposer(
            self.space, self.plan.sampler, self.plan.seed, self.plan.objectives.maximize, self.plan.warm_start
        )
        self.ahead = ProposalsAhead(self.proposer, lambda: self.observations.all())
        self.stop_requested = False
        self.unfinished = [record[number] for number in sorted(record.running)]
        """Trials of an interrupted sweep that are still to be handed out again."""
        self.pending_ends: dict[int, End] = {}
        """Endings decided but not yet recorded, by trial number."""
        self.halving = Halving(record)
        self.full_budget = full_budget(self.space)
        """Epochs of a searched trial that is not stopped, without a trunk that it shares."""
        self.baseline_budgets = baseline_budgets(self.space)

    @classmethod
    def resume(cls, record: Record) -> "Search":
        """The search of a record, new or interrupted. It records the endings that an interruption left unrecorded."""
        search = cls(record)
        for trial in list(search.unfinished):
            if trial.results and not search._goes_on(trial.number):
                search.unfinished.remove(trial)
                search.record_end(trial.number)
        return search

    def next(self) -> TrialRecord | None:
        """The trial to run next; None if there is none at the moment (see `finished`).

        Interrupted trials come first, under their own numbers.
        """
        if self.stop_requested:
            return None
        if self.unfinished:
            return self.unfinished.pop(0)
        self._stop_search_if_due()
        return self._next_trunk() or self._next_baseline() or self._next_proposal() or self._next_confirmation()

    def record_epoch(self, number: int, result: EpochResult) -> bool:
        """Record an epoch, and decide whether the trial continues.

        A trial stops at its full budget, at a rung that it does not survive, at a limit of the sweep and after
        `request_stop`.
        """
        self.record.add_epoch(number, result, self.budget.seconds)
        self.halving.note(self.record[number], result)
        return self._goes_on(number) and not self.stop_requested

    def record_end(self, number: int, error: str | None = None) -> None:
        """Record a trial's end: as `record_epoch` decided, or FAIL with `error`. An interrupted trial stays RUNNING."""
        end = self.pending_ends.pop(number, None) if error is None else (TrialState.FAIL, error)
        if end is not None:
            self.record.end(number, *end, self.budget.seconds)

    def request_stop(self) -> None:
        """Begin no trial and continue none: running trials stop after their epoch and stay unfinished."""
        self.stop_requested = True

    def sees_test(self, trial: TrialRecord) -> bool:
        """Whether a trial is evaluated on the test split, too: only if nothing is chosen by its figures there."""
        return trial.role == "confirm" or trial.untrained or bool(self.plan.methods)

    @property
    def finished(self) -> bool:
        """Whether every planned trial has ended."""
        return self._search_complete() and not self._running() and not self._confirmations_due()

    @property
    def epochs_expected(self) -> int:
        """Epochs that the whole sweep will take, if as many trials are stopped as so far.

        Until a trial has ended, every trial counts at full length.
        """
        trials, begun = self.record.begun("search")
        running = self._running("search")
        ended = trials - len(running)
        each = (begun - sum(trial.trained for trial in running)) / ended if ended else self.full_budget
        planned = trials if self.record.search_stopped is not None else self.plan.trials
        confirming = max(self.plan.confirmation_runs, self.record.begun("confirm")[0])
        others = sum(self.baseline_budgets.values()) + confirming * self.full_budget
        others += self.record.begun("trunk")[1] + self.trunks.to_come
        expected = others + max(begun, round(each * planned))
        return min(expected, self.plan.max_epochs or expected)

    # What runs next.

    def _next_trunk(self) -> TrialRecord | None:
        """The trunk of the sweep's seed comes first. Slots that would wait for it train those of the fresh seeds."""
        for seed, plain in self.trunks.sure.items():
            trunk = self.trunks.of(plain)
            if trunk is None and (seed != self.plan.seed or self._first_trunk_is_needed()):
                return self._begin_trunk(plain)
            if trunk is None or trunk.state.is_finished():
                return None
        return None

    def _first_trunk_is_needed(self) -> bool:
        """Whether a configuration or a baseline is still to begin behind the trunk of the sweep's seed."""
        return not self._search_complete() or any(self.trunks.due(config) for config in self._baselines_due().values())

    def _begin_trunk(self, plain: dict[str, Any]) -> TrialRecord | None:
        if self.budget.limit(len(self.record.running)) is not None:
            return None
        label = f"trunk seed={plain['seed']}" if plain["seed"] != self.plan.seed else "trunk"
        return self.record.begin("trunk", label, plain, until=self.trunks.epochs)

    def _begin(self, role: Role, label: str, config: dict[str, Any], *given: Any, **origin: Any) -> TrialRecord:
        """Begin a trial behind its trunk, if it shares one that was trained to its end."""
        trunk = self.trunks.of(config)
        if trunk is not None and trunk.complete:
            origin["trunk"] = trunk.number
        return self.record.begin(role, label, config, *given, **origin)

    def _waits(self, config: dict[str, Any]) -> bool:
        """Whether the trunk of a trial is still being trained."""
        trunk = self.trunks.of(config)
        return trunk is not None and not trunk.state.is_finished()

    def _next_baseline(self) -> TrialRecord | None:
        for label, config in self._baselines_due().items():
            if not self._waits(config) and self.budget.limit(len(self.record.running)) is None:
                return self._begin("baseline", label, config)
        return None

    def _baselines_due(self) -> dict[str, dict[str, Any]]:
        """The configurations of the baselines that have not begun, by label."""
        begun = {trial.label for trial in self.record.trials("baseline")}
        return {label: self._config(settings) for label, settings in self.space.baselines.items() if label not in begun}

    def _next_proposal(self) -> TrialRecord | None:
        if self._search_complete() or self._limit_to_another_trial() is not None or self._waits(self._config({})):
            return None
        proposal = self.ahead.take()
        if proposal is None:
            self.record.stop_search("every configuration of the space has been tried")
            return None
        config = self._config(proposal.params)
        given = proposal.params, proposal.distributions, proposal.system_attrs
        trial = self._begin("search", proposal.label, config, *given)
        self.ahead.prepare(len(self.record.running), self.plan.trials - self.record.proposals)
        return trial

    def _next_confirmation(self) -> TrialRecord | None:
        for trial, seed in self._confirmations_due():
            config = trial.config | {"seed": seed}
            if (plain := self.trunks.due(config)) is not None:
                return self._begin_trunk(plain)
            if not self._waits(config):
                return self._begin("confirm", f"{trial.label} seed={seed}", config, repeats=trial.number)
        return None

    def _confirmations_due(self) -> list[tuple[TrialRecord, int]]:
        to_come = sum(trial.epochs_left for trial in self._running())
        if not self._search_complete() or self.budget.limit(to_come + self.full_budget - 1) is not None:
            return []  # a run that could not end would be in vain
        return self.confirmations.due(choosable=not self._running("baseline", "search"))

    def _config(self, params: dict[str, Any]) -> dict[str, Any]:
        return self.space.config(params, seed=self.plan.seed).model_dump(mode="json")

    # When the search ends.

    def _search_complete(self) -> bool:
        return self.record.proposals >= self.plan.trials or self.record.search_stopped is not None

    def _stop_search_if_due(self) -> None:
        if self._search_complete():
            return
        idle = self.budget.idle_epochs()
        reason = None if idle is None else f"no better front for {idle} epochs"
        if reason is None and not self._running("search"):  # a running trial may leave epochs for another one
            limit = self._limit_to_another_trial()
            reason = f"the limit of {limit} leaves no room for another trial" if limit else None
        if reason is not None:
            self.record.stop_search(reason)

    def _limit_to_another_trial(self) -> Limit | None:
        """The limit that leaves no room for another searched trial, if all running ones reach their full budget."""
        to_come = sum(trial.epochs_left for trial in self._running("search"))
        return self.budget.limit(to_come + self._reserved() + self.full_budget - 1)

    def _reserved(self) -> int:
        """Epochs reserved for unfinished baselines and confirmation runs."""
        baselines = {trial.label: trial for trial in self.record.trials("baseline")}
        due = self._reserved_for_confirmation() + self.trunks.to_come
        for label, budget in self.baseline_budgets.items():
            if label not in baselines:
                due += budget
            elif not baselines[label].state.is_finished():
                due += baselines[label].epochs_left
        return due

    def _reserved_for_confirmation(self) -> int:
        """The reference keeps the confirmation runs that it has; a winner to come will need all of its own."""
        reference = self.outcome.reference()
        runs = [trial for trial in self.record.current("confirm") if reference and trial.repeats == reference.number]
        return max(0, self.plan.confirmation_runs * self.full_budget - sum(trial.trained for trial in runs))

    def _running(self, *roles: Role) -> list[TrialRecord]:
        """The trials of these roles (default: all) that have begun and not ended."""
        trials = (self.record[number] for number in self.record.running)
        return [trial for trial in trials if not roles or trial.role in roles]

    # Whether a trial continues.

    def _goes_on(self, number: int) -> bool:
        end = self._end(self.record[number])
        if end is not None:
            self.pending_ends[number] = end
        return end is None

    def _end(self, trial: TrialRecord) -> End | None:
        """How the trial ends after its last epoch; None: it continues."""
        if not measurable(self.plan.objectives, trial.last):
            return TrialState.FAIL, f"the objectives are not finite after epoch {trial.epoch}"
        if trial.epochs_left <= 0:
            return TrialState.COMPLETE, None
        if trial.role != "search":
            limit = self.budget.limit(len(self.record.running) - 1)
        elif self.halving.stops(trial):
            return TrialState.PRUNED, f"not among the best {self.plan.keep:.0%} at epoch {trial.epoch}"
        else:
            limit = self.budget.limit(len(self._running("search")) - 1 + self._reserved())
        return None if limit is None else (TrialState.PRUNED, f"the sweep reached its limit of {limit}")
