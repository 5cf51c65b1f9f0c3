"""The exported file: one configuration, what it measured, and everything needed to train it again."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from search_spaces.loading import read_yaml
from sweeps.storage.measures import MEASURES
from sweeps.storage.trial import TrialRecord
from sweeps.strategy.outcome import Choice, Outcome
from sweeps.strategy.points import Point
from tce_core.adjust import TAUS
from tce_core.config import TrialConfig, parse_config
from tce_core.errors import UserError, file_error
from tce_core.files import replacing
from tce_core.results import Scores

FORMAT: Literal["tilted-sweeps/1"] = "tilted-sweeps/1"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True)


class SweepSection(_Section):
    """Where the configuration comes from."""

    name: str
    trial: int
    label: str
    objective: str
    miou_allowance: float
    floors: tuple[str, ...] = ()
    """What the configuration had to keep beside the allowance, such as `wall=0.3`."""


class DatasetSection(_Section):
    """The data set that the configuration was found for."""

    path: str = ""
    """Its folder on the machine of the sweep."""
    fingerprint: str = ""
    classes: tuple[str, ...]


class WorkersSection(_Section):
    """The data-parallel workers of the trial."""

    number: int
    cpus_each: int | None
    """None: the cores of the machine are shared out over its GPUs."""
    gpus_each: float


class Tested(_Section):
    """A model on the test split."""

    worst_class: str
    miou: float
    worst_iou: float
    iou: dict[str, float | None]


class Measured(_Section):
    """A trial's last validation. IoUs are fractions."""

    label: str = ""
    epochs: int
    seed: int = 0
    logit_adjustment: float = 0.0
    """Its strength; 0: the plain model."""
    worst_class: str
    miou: float
    worst_iou: float
    std_iou: float | None = None
    bottom25_iou: float | None = None
    intervals_95: dict[str, tuple[float, float]] = {}
    """Over the validation images, by measure (`tce_core.evidence.intervals`)."""
    measures: dict[str, float] = {}
    """Measures that the class IoUs do not show (`tce_core.fine_grained`)."""
    iou: dict[str, float | None]
    """By class; None for a class in neither truth nor prediction."""
    test: Tested | None = None
    """The test split, which chose nothing; None if this trial was not evaluated on it."""


class Export(_Section):
    """The content of an exported file."""

    format: Literal["tilted-sweeps/1"] = FORMAT
    sweep: SweepSection | None = None
    dataset: DatasetSection
    workers: WorkersSection
    trial: TrialConfig
    start_sha256: str = ""
    """SHA-256 of the weights that the trial started from; "" if there are none, or it is unknown."""
    logit_adjustment: float = 0.0
    """Its strength tau. Trained weights hold it, folded into the last bias (`tce_core.adjust`)."""
    measured: Measured
    """The adjusted model."""
    measured_plain: Measured | None = None
    """The same model without the adjustment, if there is one."""
    baseline: Measured | None = None
    """The plain reference baseline."""
    baseline_adjusted: Measured | None = None
    """The reference baseline with the adjustment that suits it best, if one does."""
    probability: float | None = None
    """That trainings of this configuration beat the reference baseline in the leading measure, from fresh seeds; None
    if it was not raced."""
    confirmed: tuple[Measured, ...] = ()
    """The same configuration with fresh seeds that had no part in its choice."""
    baseline_confirmed: tuple[Measured, ...] = ()
    """The plain baseline with these fresh seeds."""
    baseline_adjusted_confirmed: tuple[Measured, ...] = ()
    """The adjusted baseline with these fresh seeds."""
    versions: dict[str, str] = {}

    @field_validator("logit_adjustment")
    @classmethod
    def _tau_is_evaluated(cls, tau: float) -> float:
        if tau not in TAUS:
            raise ValueError(f"give one of {', '.join(f'{known:g}' for known in TAUS)}")
        return tau


def export_of(outcome: Outcome, choice: Choice, class_names: Sequence[str]) -> Export:
    """The export of one point; `choice` names its baseline, too."""
    plan, trial, tau = outcome.record.plan, choice.trial, choice.point.tau
    baseline, adjusted, raced = choice.baseline, choice.adjusted_baseline, choice.raced

    def fresh(point: Point | None) -> tuple[Measured, ...]:
        if point is None:
            return ()
        return tuple(measured(run, class_names, point.tau) for run in outcome.repetitions(point.trial))

    return Export(
        sweep=SweepSection(
            name=plan.name,
            trial=trial.number,
            label=trial.label,
            objective=outcome.objectives.lead.name,
            miou_allowance=plan.allowance,
            floors=tuple(map(str, outcome.objectives.floors)),
        ),
        dataset=DatasetSection(path=plan.dataset, fingerprint=plan.fingerprint, classes=tuple(class_names)),
        workers=WorkersSection(number=plan.workers, cpus_each=plan.cpus_per_worker, gpus_each=plan.gpus_per_worker),
        trial=parse_config(trial.config, f"sweep '{plan.name}', trial {trial.number}"),
        start_sha256=plan.start_sha256 if trial.config.get("start") == plan.space.get("trial", {}).get("start") else "",
        logit_adjustment=tau,
        measured=measured(trial, class_names, tau),
        measured_plain=measured(trial, class_names) if tau else None,
        baseline=None if baseline is None else measured(baseline, class_names),
        baseline_adjusted=None if adjusted is None else measured(adjusted.trial, class_names, adjusted.tau),
        probability=raced.probability if raced is not None and raced.point == choice.point else None,
        confirmed=fresh(choice.point),
        baseline_confirmed=fresh(None if baseline is None else Point(baseline, 0.0)),
        baseline_adjusted_confirmed=fresh(adjusted),
        versions=plan.versions,
    )


def measured(trial: TrialRecord, class_names: Sequence[str], tau: float = 0.0) -> Measured:
    """A trial's last validation with one strength of logit adjustment."""
    scores, test = trial.last.at(tau), trial.last.test_at(tau)
    report = scores.report
    return Measured(
        label=trial.label,
        epochs=trial.epoch,
        seed=trial.config["seed"],
        logit_adjustment=tau,
        worst_class=class_names[report.worst_class],
        **{name: measure.value(scores) for name, measure in MEASURES.items()},
        intervals_95=dict(scores.intervals),
        measures={name: value for name, value in scores.measures.items() if value == value},
        iou=_by_class(scores, class_names),
        test=None if test is None else _tested(test, class_names),
    )


def _tested(scores: Scores, class_names: Sequence[str]) -> Tested:
    report = scores.report
    return Tested(
        worst_class=class_names[report.worst_class],
        miou=report.miou,
        worst_iou=report.worst_iou,
        iou=_by_class(scores, class_names),
    )


def _by_class(scores: Scores, class_names: Sequence[str]) -> dict[str, float | None]:
    return {name: None if iou != iou else iou for name, iou in zip(class_names, scores.iou, strict=True)}


def write_export(path: Path, export: Export) -> None:
    """Write an exported file, completely or not at all.

    Raises:
        UserError: the file cannot be written there.
    """
    if path.is_dir():
        raise UserError(f"{path}: a folder, not a file to write")
    content = yaml.safe_dump(export.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            partial.write_text(content, encoding="utf-8")
    except OSError as error:
        raise file_error(path, "cannot be written", error) from None


def read_export(path: Path) -> Export:
    """Read and check an exported file.

    Raises:
        UserError: not such a file, or a configuration that is not valid here.
    """
    content = read_yaml(path, str(path))
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{path}: not a file exported by this program (format: {FORMAT})")
    trial = content.get("trial")
    if not isinstance(trial, dict):
        raise UserError(f"{path}: 'trial' is missing or not a mapping; export it again")
    config = parse_config(trial, f"{path}: trial")
    try:
        return Export.model_validate({**content, "trial": config})
    except ValidationError as error:
        raise UserError(f"{path}: {_explain(error.errors()[0])}; export it again") from None


def _explain(error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"])
    return f"'{key}' is missing" if error["type"] == "missing" else f"{key} = {error['input']!r}: {error['msg']}"
