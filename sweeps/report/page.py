"""The report as one HTML page that opens offline: it holds its script, its figures and its pictures."""

import json
import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import jinja2
import plotly.graph_objects as go
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from search_spaces.dimensions import Range
from search_spaces.space import Space
from sweeps.report import gains, progress, settings
from sweeps.report.pictures import Comparison
from sweeps.report.reproduction import command_again
from sweeps.report.subject import Pairs, Subject
from sweeps.reporting.front import drawn_points, front_points
from sweeps.reporting.plots import front_figure
from sweeps.reporting.summary import spending, verdict
from sweeps.storage.folder import SweepFolder
from sweeps.storage.trial import TrialRecord
from sweeps.strategy.outcome import Choice, Outcome
from sweeps.strategy.points import Point

TEMPLATE = "report.html"
TRIALS = 400
"""Most trials in a figure that has a line or a marker for each; the best ones are drawn."""
CURVES = 6
"""Trainings of the front whose learning curves are drawn, beside those of the baselines."""
ALARMS = 12
"""Most unlearnt classes that are named."""


class Report:
    """Everything that the page shows of one sweep. `choice` is what the sweep recommends."""

    def __init__(
        self,
        outcome: Outcome,
        choice: Choice,
        class_names: Sequence[str],
        folder: SweepFolder,
        subject: Subject | None,
        pairs: Pairs | None,
        pictures: Sequence[Comparison] | None,
        pictured: str = "",
    ) -> None:
        """`pictures`: of the class `pictured`; None: the weights are gone, or there is nothing to compare."""
        self.outcome, self.choice, self.class_names, self.folder = outcome, choice, class_names, folder
        self.subject, self.pairs, self.pictures, self.pictured = subject, pairs, pictures, pictured
        self.plan, self.record = outcome.record.plan, outcome.record
        self.space = Space.model_validate(self.plan.space)  # unlike `parse_space`, it needs no file to be still there
        self.fairness = outcome.objectives.fairness
        self.searched = settings.ordered(self.record.trials("search"), outcome.objectives.lead)[-TRIALS:]

    def page(self) -> str:
        """Return the HTML."""
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(Path(__file__).parent),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        shown = {} if self.pairs is None else gains.overall_gains(self.pairs)
        return environment.get_template(TEMPLATE).render(
            report=self,
            plan=self.plan,
            script=Markup(get_plotlyjs()),
            verdict=verdict(self.choice, self.outcome),
            spending=spending(self.record),
            details=Markup(json.dumps(self.details(), allow_nan=False).replace("<", "\\u003c")),
            overall=shown,
            points=lambda one: f"{100 * one.value:+.1f} ({100 * one.low:+.1f} to {100 * one.high:+.1f})",
            alarms=self.alarms()[:ALARMS],
            more_alarms=max(0, len(self.alarms()) - ALARMS),
            command=command_again(self.plan, self.folder.path),
            least=settings.LEAST,
        )

    # The figures, as HTML.

    def front(self) -> Markup:
        """The front; a click on a marker shows the settings and classes of its model."""
        points, fairness = front_points(self.outcome, self.class_names), self.fairness
        figure = front_figure(points, "", y_name=fairness.title, y_minimize=not fairness.maximize)
        figure.update_layout(width=None, height=640, autosize=True, margin={"t": 20, "l": 70, "r": 20, "b": 130})
        return _html(figure, "front")

    def gains(self) -> Markup:
        assert self.pairs is not None
        return _html(gains.gains_figure(gains.class_gains(self.pairs, self.class_names)), "gains")

    def growth(self) -> Markup:
        return _html(progress.growth_figure(self.outcome), "growth")

    def curves(self) -> list[Markup]:
        """Learning curves of the baselines and of the best of the front, one figure for each objective."""
        pair = self.outcome.objectives.pair
        return [_html(progress.curves_figure(self._compared(), one), f"curve-{one.name}") for one in pair]

    def class_curves(self) -> Markup:
        """The classes that the reference finds worst, or else the recommended model, over its training."""
        point = self.subject.point if self.subject else self.choice.point
        reference = self.subject.reference if self.subject else self.choice.point
        iou = reference.scores.iou
        known = [k for k in range(len(iou)) if not math.isnan(iou[k])]
        return _html(
            progress.classes_figure(point, self.class_names, sorted(known, key=lambda k: iou[k])[: progress.SHOWN]),
            "classes",
        )

    def parallel(self) -> Markup:
        objectives = self.outcome.objectives
        measures = [objectives.guard, objectives.lead]
        return _html(settings.parallel_figure(self.searched, self.space.space, measures), "parallel")

    def slices(self) -> list[Markup]:
        lead = self.outcome.objectives.lead
        tried = {name for trial in self.searched for name in trial.params}
        ranges = {name: one for name, one in self.space.space.items() if isinstance(one, Range) and name in tried}
        return [
            _html(settings.slice_figure(self.searched, name, one, lead), f"slice-{name}")
            for name, one in ranges.items()
        ]

    def strengths(self) -> Markup:
        trials = {point.trial.number: point.trial for point in self._compared()}
        return _html(settings.strengths_figure(list(trials.values()), self.outcome.objectives.lead), "strengths")

    def importance(self) -> Markup | None:
        shares = settings.importance_of(self.searched, self.space.space, self.outcome.objectives.lead)
        return _html(settings.importance_figure(shares), "importance") if shares else None

    # What a click shows, and what is listed.

    def details(self) -> dict[str, Any]:
        """Settings and class IoUs of every model in the front, by its key; and the names of the classes."""
        front, reference = set(self.outcome.front()), self.outcome.reference()
        models = {
            f"{point.trial.number}-{point.tau:g}": {
                "title": f"trial {point.trial.number}, {point.label}",
                "settings": {key: str(value) for key, value in (point.trial.params or _own(point.trial)).items()},
                "iou": [None if math.isnan(x) else round(x, 4) for x in point.scores.iou],
            }
            for point in drawn_points(self.outcome, front, self.choice)
        }
        before = None if reference is None else [None if math.isnan(x) else round(x, 4) for x in reference.last.iou]
        return {
            "classes": list(self.class_names),
            "reference": before,
            "reference_label": reference.label if reference else "",
            "models": models,
            "shown": f"{self.choice.trial.number}-{self.choice.point.tau:g}",
        }

    def alarms(self) -> list[progress.Unlearnt]:
        """Of all trainings that reached their end."""
        ended = [trial for trial in self.record.trials("baseline", "search") if trial.complete]
        return progress.unlearnt_classes(ended, self.class_names)

    def facts(self) -> list[tuple[str, str]]:
        """What the sweep was, in names and values."""
        plan, versions = self.plan, self.plan.versions
        floors = " ".join(map(str, plan.floors)) or f"{self.outcome.objectives.guard.label} -{plan.allowance:g}"
        seconds = max((trial.spent[-1].seconds for trial in self.record.trials() if trial.spent), default=0.0)
        return [
            ("data set", f"{Path(plan.dataset).name}, {len(plan.classes)} classes, fingerprint {plan.fingerprint}"),
            ("objective", f"{plan.objective}; floors: {floors}"),
            ("search", f"{plan.trials} configurations at most, {plan.sampler}, seed {plan.seed}, {self.space.size()}"),
            ("halving", f"best {plan.keep:.0%} at epochs {', '.join(map(str, plan.rungs))}" if plan.rungs else "none"),
            ("fresh seeds", f"{plan.confirm} at most"),
            ("workers", f"{plan.workers} for each trial, {plan.gpus_per_worker:g} GPUs each"),
            ("running time", f"{seconds / 60:.0f} minutes"),
            ("versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
        ]

    def _compared(self) -> list[Point]:
        """The reference, the subject, the other baselines and the best of the front; no trial twice."""
        lead, maximize = self.outcome.objectives.lead, self.outcome.objectives.lead.maximize
        front = sorted(self.outcome.front(), key=lambda p: -lead.value(p.scores) if maximize else lead.value(p.scores))
        baselines = [self.outcome.best_point(t) for t in self.record.trials("baseline") if t.complete]
        first = [self.subject.reference, self.subject.point] if self.subject else [self.choice.point]
        by_trial: dict[int, Point] = {}
        for point in (*first, *baselines, *front[:CURVES]):
            by_trial.setdefault(point.trial.number, point)
        return list(by_trial.values())


def _own(trial: TrialRecord) -> dict[str, Any]:
    """Of a baseline, which has no searched settings: its loss and learning rate."""
    return {key: trial.config[key] for key in ("loss", "lr")}


def _html(figure: go.Figure, name: str) -> Markup:
    config = {"responsive": True, "displayModeBar": False}  # zooming by dragging, and back by a double click, stay
    html = figure.to_html(full_html=False, include_plotlyjs=False, div_id=escape(name), config=config)
    return Markup(html)
