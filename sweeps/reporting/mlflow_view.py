"""What MLflow should show of a sweep, worked out from the record alone. `tracking` makes MLflow show it."""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from optuna.trial import TrialState

from sweeps.reporting.front import measures
from sweeps.reporting.terminal import spent
from sweeps.storage.objectives import MEASURES
from sweeps.storage.trial import TrialRecord
from sweeps.strategy.outcome import Outcome, ended_at
from tce_core.fairness import FairnessReport, class_table
from tce_core.results import EpochResult

LONGEST = 5000  # characters in a tag; MLflow refuses more than 8000
TABLES = json.dumps([{"path": "front.json", "type": "table"}])  # so that the file is shown as one
STATUS = {TrialState.COMPLETE: "FINISHED", TrialState.PRUNED: "FINISHED", TrialState.FAIL: "FAILED"}


@dataclass(frozen=True)
class Step:
    """Metrics that are written together, so that the first of them tells whether all are there."""

    number: int
    time: int
    """Milliseconds since 1970."""
    values: dict[str, float]

    @property
    def mark(self) -> tuple[str, int]:
        return next(iter(self.values)), self.number


@dataclass(frozen=True)
class RunView:
    """One run. It may show more tags and steps than these, never a parameter twice or a step twice."""

    name: str
    status: str
    started: int
    ended: int | None
    tags: dict[str, str]
    params: dict[str, str]
    steps: list[Step]


class SweepView:
    """A sweep at this moment: one run for all of it, `sweep()`, and one nested in that for each `trial()`."""

    def __init__(self, outcome: Outcome, class_names: Sequence[str]) -> None:
        self.outcome, self.record, self.plan = outcome, outcome.record, outcome.record.plan
        self.class_names, self.class_keys = class_names, metric_keys(class_names)
        self.trials = self.record.trials()
        self.history = outcome.history()
        self.candidates = {trial.number for trial in self.history[0]}
        self.front = {trial.number for trial in outcome.front()}
        self.choice = outcome.choose()
        # The times come last: the sweep goes on meanwhile, and whatever was found above has to have one.
        frozen = self.record.study.get_trials(deepcopy=False)
        self.started = [_milliseconds(trial.datetime_start) or 0 for trial in frozen]
        self.ended = [_milliseconds(trial.datetime_complete) for trial in frozen]
        # The moment it began tells a sweep from another of the same name in another record.
        begun = frozen[0].datetime_start.isoformat() if frozen and frozen[0].datetime_start else ""
        self.identity = {"sweep": self.plan.name, "begun": begun}

    @property
    def empty(self) -> bool:
        return not self.trials

    def trial(self, number: int) -> RunView:
        trial = self.trials[number]
        tags = {**self.identity, "trial": str(number), "role": trial.role, "label": trial.label[:LONGEST]}
        tags["state"] = trial.state.name
        if trial.results:
            tags["epochs"] = str(trial.epoch)
        if trial.results and (report := _report(trial.last)) is not None:
            tags["worst_class"] = self.class_names[report.worst_class]
        if trial.reason is not None:
            tags["reason"] = trial.reason[:LONGEST] or "unknown"
        if trial.repeats is not None:
            tags["repeats"] = str(trial.repeats)
        if number in self.candidates:
            recommended = self.choice is not None and self.choice.trial.number == number
            tags |= {"pareto": _text(number in self.front), "recommended": _text(recommended)}
        return RunView(
            name=f"{number:03d} {trial.label}",
            status=STATUS.get(trial.state, "RUNNING"),
            started=self.started[number],
            ended=self.ended[number],
            tags=tags,
            params={key: _text(value) for key, value in trial.config.items()},
            steps=self._epochs(trial),
        )

    def sweep(self) -> RunView:
        """Its status is what the record tells: RUNNING until it has come to its end, be it interrupted or not."""
        plan = asdict(self.plan)
        del plan["space"], plan["versions"]
        ends = [end for end in self.ended if end is not None]
        tags = {**self.identity, "role": "sweep", "fingerprint": self.plan.fingerprint}
        if self.candidates:
            tags["mlflow.loggedArtifacts"] = TABLES
        if self.choice is not None:
            tags["mlflow.note.content"] = self._note()[:LONGEST]
        return RunView(
            name=self.plan.name,
            status="FINISHED" if self.record.finished else "RUNNING",
            started=min(self.started),
            ended=max(ends, default=None),
            tags=tags,
            params={key: _text(value) for key, value in plan.items()},
            steps=self._progress(),
        )

    def _epochs(self, trial: TrialRecord) -> list[Step]:
        """Every epoch's metrics. Times are the start and the seconds spent, so that they come out the same again."""
        steps, time = [], float(self.started[trial.number])
        for result in trial.results:
            time += 1000 * (result.train_seconds + result.evaluation_seconds)
            steps.append(Step(result.epoch, int(time), _metrics(result, self.class_keys)))
        return steps

    def _progress(self) -> list[Step]:
        """The hypervolume after each candidate in the order they *finished*, and the best as it now stands.

        Trials that run side by side do not finish in the order of their numbers; a history that only ever grows
        cannot follow the numbers.
        """
        trials, volumes = self.history
        steps, time = [], 0
        for i, (trial, volume) in enumerate(zip(trials, volumes, strict=True), start=1):
            time = max(time, self.ended[trial.number] or 0)  # a clock may be set back
            steps.append(Step(i, time, {"hypervolume": volume, "epochs_spent": float(ended_at(trial))}))
        if not steps:
            return []
        if self.choice is not None:
            best = {f"best_{name}": value for name, value in measures(self.choice.trial.last.report).items()}
            best["best_trial"] = float(self.choice.trial.number)
            steps.append(Step(len(trials), time, best))
        return steps

    def _note(self) -> str:
        """The description of the sweep's run, in Markdown: what is recommended, what it took, what each class gains."""
        assert self.choice is not None
        trial, baseline = self.choice.trial, self.choice.baseline
        lines = [f"**Recommended:** trial {trial.number}, `{trial.label}`", ""]
        lines += [f"- {MEASURES[name].title} {_figure(trial.last, name)}" for name in measures(trial.last.report)]
        lines += ["", spent(self.record)]
        if baseline is None or baseline.number == trial.number:
            return "\n".join(lines)
        lines += ["", f"IoU of each class beside the baseline `{baseline.label}` (trial {baseline.number}):", ""]
        table = class_table(trial.last.iou, baseline.last.iou, self.class_names, baseline.label, "recommended", 3)
        return "\n".join(lines + table.splitlines()[:52])  # the 50 classes that were worst


def metric_keys(class_names: Sequence[str]) -> list[str]:
    """A metric name for each class's IoU; MLflow allows few characters, so two names may need telling apart."""
    keys = [f"iou/{re.sub(r'[^A-Za-z0-9_-]+', '_', name)}" for name in class_names]
    return [key if keys.count(key) == 1 else f"{key}_{i}" for i, key in enumerate(keys)]


def _metrics(result: EpochResult, class_keys: Sequence[str]) -> dict[str, float]:
    # First what is always there: it marks the step.
    values = {"seconds": result.train_seconds + result.evaluation_seconds}
    values |= {"train_loss": result.train_loss, "lr": result.lr}
    report = _report(result)
    if report is not None:
        values |= measures(report) | {"worst_class": float(report.worst_class)}
    for name, (low, high) in result.intervals.items():
        values |= {f"{name}_low": low, f"{name}_high": high}
    values |= dict(zip(class_keys, result.iou, strict=True))
    return {key: value for key, value in values.items() if math.isfinite(value)}  # an absent class has no IoU


def _report(result: EpochResult) -> FairnessReport | None:
    """None if no class has an IoU; such a trial fails."""
    try:
        return result.report
    except ValueError:
        return None


def _figure(result: EpochResult, name: str) -> str:
    interval = result.intervals.get(name)
    ends = "" if interval is None else f" (95% interval {interval[0]:.3f} to {interval[1]:.3f})"
    return f"{MEASURES[name].value(result.report):.3f}{ends}"


def _text(value: Any) -> str:
    """As it would stand in YAML: null, true, [192, 256]."""
    return value if isinstance(value, str) else json.dumps(value)


def _milliseconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(1000 * moment.timestamp())
