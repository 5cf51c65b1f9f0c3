"""What the report is about: the recommended model beside the reference, and what is known of both image by image."""

from collections.abc import Sequence
from dataclasses import dataclass

from sweeps.storage.folder import SweepFolder, counts_path
from sweeps.storage.trial import TrialRecord
from sweeps.strategy.outcome import Choice, Outcome
from sweeps.strategy.points import Point
from tce_core.evidence.jackknife import Jackknife
from tce_core.image_counts import ImageCounts, read_counts


@dataclass(frozen=True)
class Subject:
    """The model that the report compares with the reference."""

    point: Point
    reference: Point
    """The reference baseline as it is."""
    role: str
    """What the model is: `recommended`, `not proven` or `best of the search`."""


@dataclass(frozen=True)
class Pairs:
    """The models of the subject and of the reference, seed by seed."""

    subject: tuple[Jackknife, ...]
    reference: tuple[Jackknife, ...]
    split: str
    """The split that they were evaluated on."""
    fresh: bool
    """Whether their seeds had no part in the choice."""


def subject_of(choice: Choice, outcome: Outcome) -> Subject | None:
    """Choose what to show beside the reference; None: there is no reference, or nothing else was trained.

    If the reference itself is recommended, it is the point that came nearest to a proof, else the best one of the
    front.
    """
    if choice.baseline is None:
        return None
    reference = Point(choice.baseline, 0.0)
    if choice.point != reference:
        return Subject(choice.point, reference, "recommended")
    if choice.raced is not None and choice.raced.point != reference:
        return Subject(choice.raced.point, reference, "not proven")
    lead = outcome.objectives.lead
    others = [point for point in outcome.front() if point.trial.number != reference.trial.number]
    if not others:
        return None
    best = max(others, key=lambda point: lead.value(point.scores) * (1 if lead.maximize else -1))
    return Subject(best, reference, "best of the search")


def pairs_of(subject: Subject, outcome: Outcome, folder: SweepFolder) -> Pairs | None:
    """Read the counts of both models by image: of the fresh seeds that both have, else of the trials themselves.

    None: files are gone.
    """
    runs, references = ({run.config["seed"]: run for run in _seeds(p, outcome)} for p in _both(subject))
    if subject.reference.trial.untrained:
        references = dict.fromkeys(runs, subject.reference.trial)
    seeds = sorted(runs.keys() & references.keys())
    fresh = bool(seeds)
    mine, theirs = (
        _counts([of[seed] for seed in seeds] if fresh else [point.trial], folder)
        for of, point in zip((runs, references), _both(subject), strict=True)
    )
    if not mine or not theirs:
        return None
    split = "test" if all("test" in one for one in (*mine, *theirs)) else "val"
    found = [
        tuple(Jackknife.of(one[split].at(point.tau)) for one in counts)
        for counts, point in zip((mine, theirs), _both(subject), strict=True)
    ]
    return Pairs(found[0], found[1], split, fresh)


def _both(subject: Subject) -> tuple[Point, Point]:
    return subject.point, subject.reference


def _seeds(point: Point, outcome: Outcome) -> list[TrialRecord]:
    return outcome.repetitions(point.trial)


def _counts(runs: Sequence[TrialRecord], folder: SweepFolder) -> list[dict[str, ImageCounts]]:
    """The counts of each run by split; none at all if a file is gone."""
    paths = [counts_path(folder.counts, run.number) for run in runs]
    return [read_counts(path) for path in paths] if all(path.exists() for path in paths) else []
