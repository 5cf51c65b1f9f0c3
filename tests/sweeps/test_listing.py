"""`tilted-sweeps list`: every sweep of a storage, with its state."""

import re

import optuna
import pytest

from sweeps.commands.listing import list_sweeps, main
from sweeps.storage.folder import SweepFolder
from sweeps.storage.lock import sweep_lock
from sweeps.strategy.options import Runtime
from tests.sweeps.searching import ALONE, train


@pytest.fixture
def listed(begin, tmp_path):
    """A search, the runtime of its storage, and a function that returns its row in the list."""
    search = begin(space=ALONE, trials=3, confirm=0)
    runtime = Runtime(storage=search.record.store.url, runs=tmp_path / "runs")
    return search, runtime, lambda: list_sweeps(runtime)[0]


def test_a_sweep_is_listed_with_its_state_its_trials_and_its_best(listed):
    search, runtime, row = listed
    assert row() == ("one", "interrupted", "0 of 3", "0", "-", "-", "-", "-")
    first = train(search, search.next(), (0.5, 0.2))
    name, state, trials, epochs, best, miou, worst, last = row()
    assert (name, state, trials, epochs, best) == ("one", "interrupted", "1 of 3", "4", first.label)
    assert (miou, worst) == ("0.500", "0.200")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d", last)
    with sweep_lock("one", SweepFolder("one", runtime.runs).path):
        assert row()[1] == "running"
    assert row()[1] == "interrupted"
    while (trial := search.next()) is not None:
        train(search, trial, (0.4, 0.1))
    search.record.finish()
    assert row()[1:3] == ("finished", "3 of 3")


def test_a_search_that_stopped_early_is_listed_as_stopped_early(begin, tmp_path):
    search = begin(space=ALONE, trials=9, confirm=0, max_epochs=4)
    while (trial := search.next()) is not None:
        train(search, trial, (0.4, 0.1))
    search.record.finish()
    (row,) = list_sweeps(Runtime(storage=search.record.store.url, runs=tmp_path))
    assert row[1:3] == ("stopped early", "1 of 1")


def test_a_study_of_another_program_is_listed_as_unreadable(listed):
    _, runtime, _ = listed
    optuna.create_study(storage=runtime.storage, study_name="theirs").set_user_attr("theirs", True)
    assert [row[:2] for row in list_sweeps(runtime)] == [("one", "interrupted"), ("theirs", "unreadable")]


def test_the_table_is_printed(listed, capsys):
    search, runtime, _ = listed
    train(search, search.next(), (0.5, 0.2))
    assert main(["--storage", runtime.storage]) == 0
    head, row = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert head == "sweep state trials epochs best mIoU worst IoU last activity"
    assert row.startswith("one interrupted 1 of 3 4 class_tilt t=")
