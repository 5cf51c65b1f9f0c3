"""The runs that MLflow should show for a sweep, computed from the record alone. `mlflow_store` writes them."""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from optuna.trial import TrialState

from sweeps.reporting.front import measures
from sweeps.reporting.summary import proof, spent
from sweeps.storage.measures import MEASURES, ClassIoU
from sweeps.storage.plan import EXTENDABLE
from sweeps.storage.trial import TrialRecord
from sweeps.strategy.outcome import Outcome
from sweeps.strategy.points import Point
from tce_core.fairness import FairnessReport, class_table
from tce_core.results import EpochResult, Scores

LONGEST = 5000  # characters in a tag; MLflow accepts at most 8000
TABLES = json.dumps([{"path": "front.json", "type": "table"}])  # this tag makes MLflow show the file as a table
STATUS = {TrialState.COMPLETE: "FINISHED", TrialState.PRUNED: "FINISHED", TrialState.FAIL: "FAILED"}


@dataclass(frozen=True)
class Step:
    """Metrics that are written in one call, so that the presence of the first shows that all are present."""

    number: int
    time: int
    """Milliseconds since 1970."""
    values: dict[str, float]
    """Metric values by name; the first name identifies the step, see `mark`."""

    @property
    def mark(self) -> tuple[str, int]:
        """The first metric's name and the step number: they identify the step among those already written."""
        return next(iter(self.values)), self.number


@dataclass(frozen=True)
class RunView:
    """One run as MLflow should show it.

    MLflow may hold further tags and steps. No parameter and no step may be written twice.
    """

    name: str
    status: str
    started: int
    """Milliseconds since 1970, as in `ended`."""
    ended: int | None
    """None: the run has not ended."""
    tags: dict[str, str]
    params: dict[str, str]
    steps: list[Step]


class SweepView:
    """A snapshot of a sweep: `sweep()` is the run of the whole sweep, `trial()` a run nested in it for one trial."""

    def __init__(self, outcome: Outcome, class_names: Sequence[str]) -> None:
        self.outcome, self.record, self.plan = outcome, outcome.record, outcome.record.plan
        self.class_names, self.class_keys = class_names, metric_keys(class_names)
        self.lead = lead = outcome.objectives.lead
        self.lead_key = self.class_keys[lead.index] if isinstance(lead, ClassIoU) else lead.name
        """The metric of the leading measure."""
        self.trials = self.record.trials()
        self.history = outcome.history()
        self.candidates = {trial.number for trial in self.history[0]}
        self.front = {point.trial.number for point in outcome.front()}
        self.choice = outcome.choose()
        # Read the times last: the sweep goes on meanwhile, and every trial found above needs a time.
        self.frozen = frozen = self.record.study.get_trials(deepcopy=False)
        # The start time distinguishes sweeps of the same name in different records.
        begun = frozen[0].datetime_start.isoformat() if frozen and frozen[0].datetime_start else ""
        self.identity = {"sweep": self.plan.name, "begun": begun}

    @property
    def empty(self) -> bool:
        """Whether no trial has started yet; `sweep()` needs at least one."""
        return not self.trials

    def trial(self, number: int) -> RunView:
        """Return the run of one trial."""
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
            started=self._started(number),
            ended=self._ended(number),
            tags=tags,
            params={key: _text(value) for key, value in trial.config.items()},
            steps=self._epochs(trial),
        )

    def sweep(self) -> RunView:
        """Return the run of the whole sweep.

        Its status comes from the record, which does not know about interruptions: RUNNING until the sweep has finished.
        """
        plan = asdict(self.plan)
        del plan["space"], plan["versions"], plan["classes"]
        plan["floors"] = " ".join(map(str, self.plan.floors)) or None
        limits = {name: plan.pop(name) for name in EXTENDABLE}
        numbers = range(len(self.frozen))
        ends = [end for end in map(self._ended, numbers) if end is not None]
        tags = {**self.identity, "role": "sweep", "fingerprint": self.plan.fingerprint}
        # MLflow never changes a parameter, but a sweep may be extended: so its limits are tags.
        tags |= {name: _text(value) for name, value in limits.items() if value is not None}
        if self.candidates:
            tags["mlflow.loggedArtifacts"] = TABLES
        if self.choice is not None:
            tags["mlflow.note.content"] = self._note()[:LONGEST]
        return RunView(
            name=self.plan.name,
            status="FINISHED" if self.record.finished else "RUNNING",
            started=min(map(self._started, numbers)),
            ended=max(ends, default=None),
            tags=tags,
            params={key: _text(value) for key, value in plan.items()},
            steps=self._progress(),
        )

    def _started(self, number: int) -> int:
        return _milliseconds(self.frozen[number].datetime_start) or 0

    def _ended(self, number: int) -> int | None:
        return _milliseconds(self.frozen[number].datetime_complete)

    def _epochs(self, trial: TrialRecord) -> list[Step]:
        """Return one step per epoch.

        The times are the start of the trial plus the seconds spent, so that they are the same in every snapshot.
        """
        steps, time = [], float(self._started(trial.number))
        for result in trial.results:
            time += 1000 * (result.train_seconds + result.evaluation_seconds)
            steps.append(Step(result.epoch, int(time), self._metrics(result)))
        return steps

    def _metrics(self, result: EpochResult) -> dict[str, float]:
        # "seconds" comes first: every epoch has it, so it can identify the step.
        values = {"seconds": result.train_seconds + result.evaluation_seconds}
        if result.train_loss is not None:  # a baseline that is only evaluated has none
            values |= {"train_loss": result.train_loss, "lr": result.lr}
        report = _report(result)
        if report is not None:
            values |= measures(result) | {
                **result.measures,
                "worst_class": float(report.worst_class),
                self.lead_key: self.lead.value(result),
            }
        for name, (low, high) in result.intervals.items():
            values |= {f"{name}_low": low, f"{name}_high": high}
        values |= dict(zip(self.class_keys, result.iou, strict=True))
        if report is not None:
            for scores in result.curve[1:]:
                adjusted = {"miou": scores.report.miou, "worst_iou": scores.report.worst_iou}
                adjusted[self.lead_key] = self.lead.value(scores)
                values |= {f"tau_{scores.tau:g}/{name}": value for name, value in adjusted.items()}
        for scores in result.test or ():
            prefix = f"tau_{scores.tau:g}/test" if scores.tau else "test"
            values |= {f"{prefix}/miou": scores.report.miou, f"{prefix}/worst_iou": scores.report.worst_iou}
        return {key: value for key, value in values.items() if math.isfinite(value)}  # an absent class has no IoU

    def _progress(self) -> list[Step]:
        """Return the hypervolume after each candidate, in the order they *finished*, and the current best measures.

        Parallel trials do not finish in the order of their numbers. In the order of numbers, a trial that finishes
        late would change steps that are already written.
        """
        trials, volumes = self.history
        steps, time = [], 0
        for i, (trial, volume) in enumerate(zip(trials, volumes, strict=True), start=1):
            time = max(time, self._ended(trial.number) or 0)  # keeps the times rising if a clock was set back
            steps.append(Step(i, time, {"hypervolume": volume, "epochs_spent": float(trial.ended_at)}))
        if not steps:
            return []
        if self.choice is not None:
            best = {f"best_{name}": value for name, value in measures(self.choice.scores).items()}
            best[f"best_{self.lead_key}"] = self.lead.value(self.choice.scores)
            best |= {"best_trial": float(self.choice.trial.number), "best_tau": self.choice.point.tau}
            # A sweep that is extended by other floors can recommend another trial without a new one.
            changed = self.plan.floors != self.record.begun_plan.floors
            # So can its race, which ends after the last candidate.
            if (raced := self.choice.raced) is not None:
                best["best_probability"] = raced.probability
            steps.append(Step(len(trials) + changed + (raced is not None), time, best))
        return steps

    def _note(self) -> str:
        """Return the Markdown description of the run: the recommendation, the cost and the IoU of each class."""
        assert self.choice is not None
        point, scores, baseline = self.choice.point, self.choice.scores, self.choice.baseline
        lines = [f"**Recommended:** trial {point.trial.number}, `{point.label}`", ""]
        lines += [
            f"- {MEASURES[name].title} {_figure(scores, name, value)}" for name, value in measures(scores).items()
        ]
        if self.lead.name not in MEASURES:
            lines.append(f"- {self.lead.title} {_figure(scores, self.lead.name, self.lead.value(scores))}")
        if self.choice.raced is not None:
            lines += ["", proof(self.choice)]
        lines += ["", spent(self.record)]
        if baseline is None or point == Point(baseline, 0.0):
            return "\n".join(lines)
        lines += ["", f"IoU per class, next to the baseline `{baseline.label}` (trial {baseline.number}):", ""]
        table = class_table(scores.iou, baseline.last.iou, self.class_names, baseline.label, "recommended", 3)
        return "\n".join(lines + table.splitlines()[:52])  # the header and the baseline's 50 worst classes


def metric_keys(class_names: Sequence[str]) -> list[str]:
    """Return one distinct metric name per class, such as `iou/traffic_light`.

    MLflow allows few characters, and replacing the others can make two names equal. Such names get the class index as
    a suffix; if a name that is given already has that form, all of them do.
    """
    keys = [f"iou/{re.sub(r'[^A-Za-z0-9_-]+', '_', name)}" for name in class_names]
    distinct = [key if keys.count(key) == 1 else f"{key}_{i}" for i, key in enumerate(keys)]
    return distinct if len(set(distinct)) == len(keys) else [f"{key}_{i}" for i, key in enumerate(keys)]


def _report(result: EpochResult) -> FairnessReport | None:
    """Return the report of an epoch; None if no class has an IoU, in which case the trial fails."""
    try:
        return result.report
    except ValueError:
        return None


def _figure(scores: Scores, name: str, value: float) -> str:
    interval = scores.intervals.get(name)
    ends = "" if interval is None else f" (95% interval {interval[0]:.3f} to {interval[1]:.3f})"
    return f"{value:.3f}{ends}"


def _text(value: Any) -> str:
    """Write a value as in YAML: null, true, [192, 256]."""
    return value if isinstance(value, str) else json.dumps(value)


def _milliseconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(1000 * moment.timestamp())
