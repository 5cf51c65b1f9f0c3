"""`sweeps.report.subject` and `gains`: which model stands beside the reference, and what its classes gain."""

import numpy as np
import pytest

from sweeps.report.gains import class_gains, gains_figure, overall_gains
from sweeps.report.subject import Pairs, pairs_of, subject_of
from sweeps.storage.folder import SweepFolder, counts_path
from tce_core.evidence.intervals import difference
from tce_core.evidence.jackknife import Jackknife
from tce_core.evidence.measures import mean_of
from tce_core.image_counts import ImageCounts, write_counts
from tests.sweeps.searching import SPACE, train

ONE = {**SPACE, "baselines": {"mcce": {"loss": "mcce"}}}
NAMES = ("road", "rider", "car", "sky")


def ended(begin, values, **changes):
    search = begin(space=ONE, trials=2, rungs=(), **changes)
    left = {number: list(rows) for number, rows in values.items()}
    while (trial := search.next()) is not None:
        rows = left[trial.number if trial.repeats is None else trial.repeats]
        train(search, trial, rows.pop(0) if len(rows) > 1 else rows[0])
    search.record.finish()
    return search


def counts(rng, split="val", gain=0):
    """Counts of 20 images and four classes; `gain`: more true positives of the second."""
    pixels = rng.integers(20, 60, (20, 3, 4))
    pixels[:, 0, 1] += gain
    return ImageCounts(split, tuple(f"{i}" for i in range(20)), NAMES, (0.0,), pixels[None])


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ({0: [(0.5, 0.1)], 1: [(0.5, 0.2)], 2: [(0.5, 0.4)]}, (2, "recommended")),
        ({0: [(0.5, 0.1)], 1: [(0.5, 0.4), (0.5, 0.1)], 2: [(0.5, 0.05)]}, (1, "not proven")),
        ({0: [(0.5, 0.1)], 1: [(0.6, 0.05)], 2: [(0.4, 0.05)]}, (1, "best of the search")),
        ({0: [(0.5, 0.1)], 1: [(0.4, 0.05)], 2: [(0.4, 0.05)]}, None),
    ],
)
def test_the_model_beside_the_reference(begin, values, shown):
    outcome = ended(begin, values, confirm=2).outcome
    subject = subject_of(outcome.choose(), outcome)
    assert (subject and (subject.point.trial.number, subject.role)) == shown
    assert subject is None or subject.reference.trial.number == 0


def test_fresh_seeds_on_the_test_split_are_compared_if_there_are_any(begin, tmp_path):
    search = ended(begin, {0: [(0.5, 0.1)], 1: [(0.5, 0.2)], 2: [(0.5, 0.4)]}, confirm=2)
    subject, folder, rng = subject_of(search.outcome.choose(), search.outcome), SweepFolder("a", tmp_path), None
    assert pairs_of(subject, search.outcome, folder) is None  # no file yet
    rng = np.random.default_rng(0)
    made = {}
    for trial in search.record.trials():
        splits = ("val", "test") if trial.role == "confirm" else ("val",)
        gain = 200 if 2 in (trial.number, trial.repeats) else 0
        made[trial.number] = [counts(rng, split, gain) for split in splits]
        write_counts(counts_path(folder.counts, trial.number), made[trial.number])
    pairs = pairs_of(subject, search.outcome, folder)
    assert (pairs.split, pairs.fresh, len(pairs.subject), len(pairs.reference)) == ("test", True, 2, 2)
    gains = class_gains(pairs, NAMES)
    assert {one.name for one in gains if one.sure and one.gain.value > 0} == {"rider"}
    runs = {run.config["seed"]: run.number for run in search.record.trials("confirm") if run.repeats == 2}
    mine = [Jackknife.of(made[runs[seed]][1].at(0.0)) for seed in sorted(runs)]
    assert [one.iou.tolist() for one in pairs.subject] == [one.iou.tolist() for one in mine]
    for run in search.record.trials("confirm"):
        counts_path(folder.counts, run.number).unlink()
    assert pairs_of(subject, search.outcome, folder) is None


def test_without_fresh_seeds_the_trials_themselves_are_compared(begin, tmp_path):
    search = ended(begin, {0: [(0.5, 0.1)], 1: [(0.5, 0.2)], 2: [(0.5, 0.4)]}, confirm=0)
    folder, rng = SweepFolder("a", tmp_path), np.random.default_rng(0)
    for trial in search.record.trials():
        write_counts(counts_path(folder.counts, trial.number), [counts(rng)])
    pairs = pairs_of(subject_of(search.outcome.choose(), search.outcome), search.outcome, folder)
    assert (pairs.split, pairs.fresh, len(pairs.subject)) == ("val", False, 1)


def test_bars_show_the_differences_worst_class_first():
    rng = np.random.default_rng(0)
    mine, theirs = ((Jackknife.of(counts(rng, gain=gain).at(0.0)),) for gain in (100, 0))
    pairs = Pairs(mine, theirs, "val", True)
    gains = class_gains(pairs, NAMES)
    assert [one.before.value for one in gains] == sorted(one.before.value for one in gains)
    (bars,) = gains_figure(gains).data
    for name, value, high in zip(bars.y, bars.x, bars.error_x.array, strict=True):
        k = NAMES.index(name.split(" ")[0])
        expected = difference(mine, theirs, mean_of([k]))
        assert value == pytest.approx(100 * expected.value)
        assert value + high == pytest.approx(100 * expected.high)
    assert overall_gains(pairs)["mIoU"].value == pytest.approx(np.mean(mine[0].iou) - np.mean(theirs[0].iou))
