"""The result of a sweep as text: the front, the recommended model beside the baseline, the verdict and the cost."""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sweeps.storage.measures import Measure
from sweeps.storage.record import Record
from sweeps.storage.trial import TrialRecord
from sweeps.strategy.floors import SHOWN, beside_bound
from sweeps.strategy.outcome import Choice, Outcome
from sweeps.strategy.points import Point
from sweeps.strategy.racing import SURE

SHOWN_ALWAYS = ("miou", "worst_iou", "std_iou")
"""The measures that every table shows."""


def summary(outcome: Outcome, class_names: Sequence[str], console: Console) -> None:
    """Print the front, the recommended model and the baseline with their fresh seeds, the verdict and the cost."""
    choice, fairness = outcome.choose(), outcome.objectives.fairness
    more = None if fairness.name in SHOWN_ALWAYS else fairness
    table = _table("Pareto front: mIoU against " + fairness.title, more)
    for point in outcome.front():
        mark = "recommended" if choice is not None and point == choice.point else ""
        _add(table, point.trial, point.tau, class_names, mark, more)
    console.print(table)
    if choice is not None:
        shown = [(choice.point, "recommended"), *_not_proven(choice), *_baselines(choice)]
        more = None if fairness.name == "worst_iou" else fairness
        table = _table("Recommended configuration and baseline", more, fresh=True)
        for point, role in shown:
            for run in [point.trial, *outcome.repetitions(point.trial)]:
                _add(table, run, point.tau, class_names, role, more, fresh=True)
        console.print(table)
        console.print(verdict(choice, outcome), highlight=False, markup=False, soft_wrap=True)
    console.print(spending(outcome.record), highlight=False, markup=False, soft_wrap=True)


def _baselines(choice: Choice) -> list[tuple[Point, str]]:
    """The reference baseline, plain and adjusted, without the one that is recommended."""
    plain = [] if choice.baseline is None else [(Point(choice.baseline, 0.0), "baseline")]
    adjusted = [] if choice.adjusted_baseline is None else [(choice.adjusted_baseline, "baseline, adjusted")]
    return [(point, role) for point, role in [*plain, *adjusted] if point != choice.point]


def _not_proven(choice: Choice) -> list[tuple[Point, str]]:
    """The contender that came nearest to a proof, if the reference is recommended for lack of one."""
    raced = choice.raced
    return [] if raced is None or raced.point == choice.point else [(raced.point, "not proven")]


def spending(record: Record) -> str:
    """Return the sentence of `spent` and, if the search stopped early, the reason."""
    text = spent(record)
    return f"{text} The search stopped early: {record.search_stopped}." if record.search_stopped else text


def spent(record: Record) -> str:
    """Return a sentence with the epochs spent and the epochs that full training of the same trials takes.

    A trial that failed before its first epoch does not count.
    """
    trials = [trial for trial in record.trials() if trial.results]
    full = sum(trial.budget for trial in trials)
    stopped = sum(trial.stopped for trial in trials)
    text = f"Spent {record.epochs} epochs on {len(trials)} trials"
    if not full:
        return text + "."
    share = f"{record.epochs / full:.0%}"
    return f"{text} ({stopped} stopped early): {share} of the {full} epochs that full-length trials need."


def verdict(choice: Choice, outcome: Outcome) -> str:
    """Return sentences with the gain and the cost of the recommended model against the reference baseline.

    If adjusted logits suit the baseline, it is also compared with that: the adjustment costs no training.
    """
    if choice.baseline is None:
        lost = ", ".join(str(floor) for floor in outcome.objectives.floors if floor.relative)
        return "There is no baseline to compare with." + (f" The floors {lost} were not applied." if lost else "")
    limits = "and keeps the floors" if outcome.objectives.floors else "within the allowance"
    adjusted = " with adjusted logits" if choice.point.tau else ""
    unbeaten = f"No searched configuration beats the baseline{adjusted} {limits}, so it is recommended."
    others = [point for point, _ in _baselines(choice) if choice.point.tau or not choice.is_baseline]
    sentences = [proof(choice)] if choice.raced is not None else [unbeaten] if choice.is_baseline else []
    sentences += [comparison(choice.point, other, outcome) for other in others]
    if outcome.objectives.floors:
        sentences.append(kept_floors(choice))
    return " ".join(sentences)


def proof(choice: Choice) -> str:
    """Return a sentence with the probability that fresh seeds give the recommendation, or deny it."""
    raced, reference = choice.raced, choice.baseline
    assert raced is not None
    assert reference is not None
    seeds = f"{raced.seeds} fresh seed{'s' * (raced.seeds != 1)}"
    probability = f"{min(raced.probability, 0.999):.1%}"
    if raced.point == choice.point:
        return f"It beats {reference.label} with probability {probability} ({seeds})."
    nearest = f"comes nearest, with probability {probability} ({seeds}; {SURE:.0%} are asked)"
    if raced.probability > SURE and raced.missed:
        nearest = f"leads with probability {probability} ({seeds}), but misses a floor, {raced.missed}"
    return (
        f"No configuration is shown to beat {reference.label}: {raced.point}, {raced.point.label}, {nearest}, "
        f"so {choice.point.label} is recommended."
    )


def comparison(point: Point, other: Point, outcome: Outcome) -> str:
    """Return a sentence with the gain of one model over another.

    It compares the means over the fresh seeds that both have been trained with; a model that was not trained is the
    same for every seed. Without such seeds it compares the two
    trials themselves, and says so: the recommended one was chosen by these very values.
    """
    runs, others = ({run.config["seed"]: run for run in outcome.repetitions(p.trial)} for p in (point, other))
    if other.trial.untrained:  # it has no seeds
        others = dict.fromkeys(runs, other.trial)
    seeds = sorted(runs.keys() & others.keys())
    pairs = [(runs[seed], others[seed]) for seed in seeds] or [(point.trial, other.trial)]
    basis = "the same weights" if point.trial.untrained else "one seed, also used for the choice"
    if seeds:
        basis = f"mean over {len(seeds)} fresh seed{'s' * (len(seeds) > 1)}"
    scores = [(one.last.at(point.tau), two.last.at(other.tau)) for one, two in pairs]
    lead, guard = outcome.objectives.lead, outcome.objectives.guard
    by_allowance = not other.tau and outcome.objectives.all_floors != outcome.objectives.floors
    allowed = f" (allowed: {-outcome.objectives.allowance:+.3f})" if by_allowance else ""
    gains = [sum(m.value(one) - m.value(two) for one, two in scores) / len(scores) for m in (lead, guard)]
    gain = f"{lead.title} {gains[0]:+.3f}, {guard.title} {gains[1]:+.3f}"
    return f"Compared with {other.label} ({basis}): {gain}{allowed}{_on_test(pairs, point.tau, other.tau, outcome)}."


def _on_test(pairs: Sequence[tuple[TrialRecord, TrialRecord]], tau: float, other: float, outcome: Outcome) -> str:
    """The mean gain on the test split, if every run was evaluated on it."""
    scores = [(one.last.test_at(tau), two.last.test_at(other)) for one, two in pairs]
    known = [(one, two) for one, two in scores if one is not None and two is not None]
    if len(known) < len(scores):
        return ""
    measures = outcome.objectives.lead, outcome.objectives.guard
    gains = [sum(m.value(one) - m.value(two) for one, two in known) / len(known) for m in measures]
    return f"; on the test split {gains[0]:+.3f} and {gains[1]:+.3f}"


def kept_floors(choice: Choice) -> str:
    """Return a sentence with the floors that the recommended trial keeps, the tightest first."""
    tightest = sorted((one for one in choice.standings if one.comparable), key=lambda one: -one.shortfall)
    shown = ", ".join(f"{one.name} {beside_bound(one)}" for one in tightest[:SHOWN])
    more = f", and {len(tightest) - SHOWN} more" if len(tightest) > SHOWN else ""
    return f"It keeps its floors: {shown}{more}."


def _table(title: str, more: Measure | None, fresh: bool = False) -> Table:
    """An empty table. `more`: a measure that only this sweep shows; `fresh`: for seeds and the test split."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("trial", justify="right")
    table.add_column("configuration", overflow="fold")
    last = ("test mIoU", "test worst", "seed") if fresh else ("std", "epochs")
    for name in ("\N{GREEK SMALL LETTER TAU}", "mIoU", "worst IoU"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("worst class", no_wrap=True)
    for name in (*([] if more is None else [escape(more.label)]), *last):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", overflow="fold")
    return table


def _add(
    table: Table,
    trial: TrialRecord,
    tau: float,
    class_names: Sequence[str],
    note: str,
    more: Measure | None,
    fresh: bool = False,
) -> None:
    scores, test = trial.last.at(tau), trial.last.test_at(tau)
    report = scores.report
    worst = f"{report.worst_iou:.3f}", escape(class_names[report.worst_class])
    label = escape(trial.label.split(" seed=")[0])
    figures = [f"{tau:g}", f"{report.miou:.3f}", *worst, *([] if more is None else [f"{more.value(scores):.3f}"])]
    if fresh:
        figures += ["", ""] if test is None else [f"{test.report.miou:.3f}", f"{test.report.worst_iou:.3f}"]
    else:
        figures.append(f"{report.std_iou:.3f}")
    last = str(trial.config["seed"] if fresh else trial.epoch)
    table.add_row(str(trial.number), label, *figures, "\N{EN DASH}" if trial.untrained else last, note)
