"""`sweeps.storage.record` on real SQLite files: a later process reads exactly what was written."""

import math
import sqlite3
from dataclasses import replace

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.study import StudyDirection
from optuna.trial import TrialState

from sweeps.storage.plan import Plan
from sweeps.storage.record import NotBegun, Record
from sweeps.storage.trial import Ended, Spent
from tce_core.config import TrialConfig
from tce_core.errors import UserError
from tce_core.results import EpochResult, Scores

PLAN = Plan(
    name="first",
    objective="worst_iou",
    allowance=0.01,
    sampler="tpe",
    seed=3,
    trials=4,
    confirm=1,
    dataset="/data/streets",
    fingerprint="0123456789abcdef",
    space={"trial": {"epochs": 2}, "space": {"lr": {"low": 0.1, "high": 0.2, "points": 3}}},
    space_file="own.yaml",
    workers=2,
    cpus_per_worker=1,
    gpus_per_worker=0.5,
    rungs=(1,),
    keep=0.25,
    patience=9,
    max_epochs=40,
    max_hours=0.1 + 0.2,
    warm_start=({"lr": 0.15},),
    versions={"python": "3.11"},
)
CONFIG = TrialConfig(epochs=2, lr=0.1 + 0.2, crop=(32, 48)).model_dump(mode="json")


def result(epoch, iou=(0.9, math.nan, 0.5, 0.1)):
    plain = Scores(0.0, iou, {"worst_recall": 0.25}, {"miou": (0.1, 0.7)})
    adjusted = Scores(0.5, iou[::-1], {"worst_recall": math.nan})
    return EpochResult(epoch, 1 / 3, 0.1, (plain, adjusted), (0.25, 0.75), 2.5, 0.5)


def test_a_plan_is_read_as_it_was_written(storage):
    Record.create(storage, PLAN)
    assert Record.load(storage, "first").plan == PLAN


@pytest.mark.parametrize(
    ("objective", "second"),
    [
        ("worst_iou", StudyDirection.MAXIMIZE),
        ("miou", StudyDirection.MAXIMIZE),
        ("std_iou", StudyDirection.MINIMIZE),
        ("bottom25_iou", StudyDirection.MAXIMIZE),
    ],
)
def test_a_study_has_two_objectives_in_the_right_directions(storage, objective, second):
    record = Record.create(storage, replace(PLAN, objective=objective))
    assert record.study.directions == [StudyDirection.MAXIMIZE, second]
    names = record.study.metric_names
    assert names == ["miou", "worst_iou" if objective == "miou" else objective]


def test_a_trial_is_read_as_it_was_written(storage):
    record = Record.create(storage, PLAN)
    distributions = {"lr": FloatDistribution(0.1, 0.5, log=True), "loss": CategoricalDistribution(["mcce", "focal"])}
    params = {"lr": 0.1 + 0.2, "loss": "focal"}
    begun = record.begin("search", "focal lr=0.3", CONFIG, params, distributions, {"sampler:note": 7})
    record.add_epoch(begun.number, result(1), 1.0)
    record.add_epoch(begun.number, result(2, (0.8, math.nan, 0.7, 0.6)), 1.0)
    record.end(begun.number, TrialState.COMPLETE, None, 12.5)
    again = record.begin("confirm", "focal lr=0.3 seed=4", CONFIG, repeats=begun.number)
    record.end(again.number, TrialState.FAIL, "its workers died 3 times", 20.25)

    read = Record.load(storage, "first")
    for mine, theirs in zip(record.trials(), read.trials(), strict=True):
        assert repr(mine) == repr(theirs)  # (NaN is not equal to itself)
    one, two = read.trials()
    assert (one.role, one.label, one.state) == ("search", "focal lr=0.3", TrialState.COMPLETE)
    assert (one.config, one.params, one.repeats) == (CONFIG, params, None)
    assert TrialConfig(**one.config).lr == 0.1 + 0.2  # to the last bit
    assert [r.epoch for r in one.results] == [1, 2]
    assert one.last.iou[0] == 0.8
    assert math.isnan(one.last.iou[1])
    assert one.last.class_weights == (0.25, 0.75)
    assert one.values == pytest.approx((0.7, 0.6))  # the absent class does not count
    assert (one.ended, two.ended) == (Ended(2, 12.5, None), Ended(2, 20.25, "its workers died 3 times"))
    assert (two.state, two.reason, two.repeats, two.values) == (TrialState.FAIL, "its workers died 3 times", 0, None)
    frozen = read.study.get_trials()[0]
    assert frozen.distributions == distributions
    assert frozen.system_attrs["sampler:note"] == 7


def test_another_process_sees_each_event_at_once(storage):
    record = Record.create(storage, PLAN)

    def read():
        return Record.load(storage, "first")[0]

    record.begin("baseline", "mcce", CONFIG)
    assert (read().state, read().results) == (TrialState.RUNNING, ())
    record.add_epoch(0, result(1), 1.0)
    assert read().last.epoch == 1
    record.add_epoch(0, result(2), 1.0)
    assert not read().complete
    record.end(0, TrialState.COMPLETE, None, 1.0)
    assert read().complete


def test_a_stopped_trial_is_pruned_and_keeps_its_results_but_has_no_values(storage):
    record = Record.create(storage, PLAN)
    record.begin("search", "lr=0.2", CONFIG)
    record.add_epoch(0, result(1), 1.0)
    record.end(0, TrialState.PRUNED, "not among the best 50% at epoch 1", 3.5)
    for view in (record, Record.load(storage, "first")):
        trial = view[0]
        assert (trial.state, trial.values, trial.stopped, trial.complete) == (TrialState.PRUNED, None, True, False)
        assert (trial.epoch, trial.ended) == (1, Ended(1, 3.5, "not among the best 50% at epoch 1"))
    frozen = optuna.load_study(study_name="first", storage=storage).get_trials()[0]
    assert (frozen.state, frozen.values) == (TrialState.PRUNED, None)


def test_a_write_that_is_repeated_is_recorded_once(storage):
    """Every write runs twice, as after a failure that came too late. The record holds each event once."""
    record = Record.create(storage, PLAN)
    call = record.store.call
    record.store.call = lambda action: (call(action), call(action))[1]
    for number in range(2):
        record.begin("search", f"lr={number}", CONFIG)
        record.add_epoch(number, result(1), 1.0)
        record.end(number, TrialState.PRUNED, "why", 3.5)
    record.stop_search("enough")
    record.finish()
    read = Record.load(storage, "first")
    assert [repr(trial) for trial in read.trials()] == [repr(trial) for trial in record.trials()]
    assert [trial.stopped for trial in read.trials()] == [True, True]
    assert (read.epochs, read.search_stopped, read.finished) == (2, "enough", True)


def test_epochs_are_counted_over_all_trials_and_running_trials_are_known(storage):
    record = Record.create(storage, PLAN)
    for number, (role, epochs) in enumerate([("baseline", 2), ("search", 1), ("search", 0), ("confirm", 2)]):
        record.begin(role, role, CONFIG)
        for epoch in range(1, epochs + 1):
            record.add_epoch(number, result(epoch), 1.0)
    record.end(0, TrialState.COMPLETE, None, 1.0)
    record.end(1, TrialState.FAIL, "why", 2.0)
    for view in (record, Record.load(storage, "first")):
        assert (view.epochs, view.running) == (5, {2, 3})
        assert [len(view.trials(role)) for role in ("baseline", "search", "confirm")] == [1, 2, 1]
    assert record[1].ended.epochs == 5


def test_a_sweep_is_finished_only_after_finish(storage):
    record = Record.create(storage, PLAN)
    assert not record.finished
    record.finish()
    assert record.finished
    assert Record.load(storage, "first").finished


def test_an_epoch_that_is_recorded_twice_counts_once_at_its_first_time(storage):
    """Both trials record epoch 2 twice, as after a restart. The second time adds no epoch and changes no seconds."""
    record = Record.create(storage, PLAN)
    for label in ("mcce", "focal"):
        record.begin("baseline", label, CONFIG)
    for seconds, (number, epoch) in enumerate([(0, 1), (1, 1), (0, 2), (1, 2), (0, 2), (1, 2), (1, 3)]):
        record.add_epoch(number, result(epoch), float(seconds))
    for view in (record, Record.load(storage, "first")):
        assert [r.epoch for r in view[0].results] == [1, 2]
        assert view[0].spent == (Spent(1, 0.0), Spent(3, 2.0))
        assert view[1].spent == (Spent(2, 1.0), Spent(4, 3.0), Spent(5, 6.0))
        assert view.epochs == 5


def test_many_epochs_stay_in_order(storage):
    record = Record.create(storage, PLAN)
    record.begin("baseline", "mcce", CONFIG)
    for epoch in range(1, 13):
        record.add_epoch(0, result(epoch), 1.0)
    assert [r.epoch for r in Record.load(storage, "first")[0].results] == list(range(1, 13))


def test_trials_are_found_by_role(storage):
    record = Record.create(storage, PLAN)
    for role in ("baseline", "search", "confirm", "search"):
        record.begin(role, role, CONFIG)
    assert [t.number for t in record.trials("search")] == [1, 3]
    assert [t.number for t in record.trials("baseline", "confirm")] == [0, 2]
    assert [t.number for t in record.trials()] == [0, 1, 2, 3]


def test_an_existing_name_is_refused_and_left_alone(storage):
    record = Record.create(storage, PLAN)
    record.begin("baseline", "mcce", CONFIG)
    with pytest.raises(UserError, match=r"'first' already exists in sqlite.*--resume.*--name"):
        Record.create(storage, replace(PLAN, seed=99))
    read = Record.load(storage, "first")
    assert (read.plan.seed, len(read.trials())) == (3, 1)


def test_an_unknown_name_lists_those_that_exist(storage):
    for name in ("first", "second"):
        Record.create(storage, replace(PLAN, name=name))
    with pytest.raises(UserError, match=r"no sweep 'third' in sqlite.*it holds first, second"):
        Record.load(storage, "third")
    assert Record.names(storage) == ["first", "second"]


def test_looking_for_sweeps_creates_no_file(tmp_path):
    storage = f"sqlite:///{tmp_path}/sweeps.db"
    assert Record.names(storage) == []
    with pytest.raises(UserError, match="it holds none"):
        Record.load(storage, "first")
    assert list(tmp_path.iterdir()) == []


def test_two_sweeps_in_one_storage_stay_apart(storage):
    one, two = (Record.create(storage, replace(PLAN, name=name)) for name in ("first", "second"))
    one.begin("baseline", "of the first", CONFIG)
    two.begin("search", "of the second", CONFIG)
    two.add_epoch(0, result(1), 1.0)
    one.begin("search", "again the first", CONFIG)
    assert [t.label for t in Record.load(storage, "first").trials()] == ["of the first", "again the first"]
    assert [t.label for t in Record.load(storage, "second").trials()] == ["of the second"]
    assert Record.load(storage, "first")[0].results == ()


def test_a_process_that_another_one_has_overtaken_on_the_study_is_refused(storage):
    """Two processes on different machines share a store, but not the folder with the lock of the sweep.

    A process whose view of the study is out of date must not write into the other one's trials.
    """
    one = Record.create(storage, PLAN)
    other = Record.load(storage, "first")
    other.begin("baseline", "mcce", CONFIG)
    with pytest.raises(UserError, match="another process runs sweep 'first'"):
        one.begin("baseline", "focal", CONFIG)
    assert [trial.label for trial in Record.load(storage, "first").trials()] == ["mcce", "focal"]
    one, other = (Record.load(storage, "first") for _ in range(2))
    other.end(0, TrialState.FAIL, "why", 1.0)
    for write in (lambda: one.add_epoch(0, result(1), 1.0), lambda: one.end(0, TrialState.FAIL, "why not", 2.0)):
        with pytest.raises(UserError, match="another process runs sweep 'first'"):
            write()
    assert (Record.load(storage, "first")[0].reason, Record.load(storage, "first")[0].epoch) == ("why", 0)


def test_a_foreign_study_is_refused(storage):
    optuna.create_study(storage=storage, study_name="theirs").add_trial(optuna.trial.create_trial(value=1.0))
    with pytest.raises(UserError, match=r"study 'theirs' in sqlite.* is not a sweep of this program") as caught:
        Record.load(storage, "theirs")
    assert not isinstance(caught.value, NotBegun)
    for name, directions in (("one", ["maximize"]), ("mixed", ["maximize", "minimize"])):
        optuna.create_study(storage=storage, study_name=name, directions=directions)
    for name in ("theirs", "one", "mixed"):
        with pytest.raises(UserError, match=f"'{name}' already exists"):
            Record.create(storage, replace(PLAN, name=name))


def test_a_sweep_that_was_killed_at_its_start_can_be_begun_again(storage):
    """The study exists, but has no plan yet. Loading it raises `NotBegun`, and `create` completes it."""
    directions = [StudyDirection.MAXIMIZE] * 2
    optuna.create_study(storage=storage, study_name="first", directions=directions).set_metric_names(["miou", "x"])
    with pytest.raises(NotBegun, match="'first'"):
        Record.load(storage, "first")
    record = Record.create(storage, PLAN)
    assert record.study.metric_names == ["miou", "worst_iou"]
    assert Record.load(storage, "first").plan == PLAN


@pytest.mark.parametrize("uri", ["sqlite:////no/such/folder/sweeps.db", "nonsense://x", "plain text", "mysql://h/d"])
def test_a_storage_that_cannot_be_opened_is_named(uri):
    for use in (Record.names, lambda uri: Record.create(uri, PLAN)):
        with pytest.raises(UserError) as caught:
            use(uri)
        assert uri in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_file_that_is_no_database_is_named(tmp_path):
    (tmp_path / "notes.db").write_text("these are notes " * 100)
    with pytest.raises(UserError, match=r"--storage sqlite.*notes\.db: file is not a database$"):
        Record.names(f"sqlite:///{tmp_path}/notes.db")
    (tmp_path / "empty.db").touch()
    assert Record.names(f"sqlite:///{tmp_path}/empty.db") == []


def test_a_folder_in_place_of_the_file_is_named(tmp_path, impatient):
    with pytest.raises(UserError, match=rf"--storage sqlite:///{tmp_path}: unable to open database file, for 1 s"):
        Record.names(f"sqlite:///{tmp_path}")


def test_tables_of_another_version_of_optuna_are_named(storage, tmp_path):
    with sqlite3.connect(tmp_path / "sweeps.db") as database:
        database.execute("update alembic_version set version_num = 'v99.0.0.a'")
    with pytest.raises(UserError, match=r"--storage sqlite.*compatible with the table schema") as caught:
        Record.names(storage)
    assert "\n" not in str(caught.value)


def test_a_storage_in_memory_or_with_settings_can_be_used(storage):
    assert Record.create("sqlite:///:memory:", PLAN).plan == PLAN
    Record.create(storage + "?timeout=5", PLAN)
    assert Record.load(storage, "first").plan == PLAN


def test_the_record_is_plain_optuna(storage, tmp_path):
    """Optuna or SQLite alone can read the record, without this program."""
    record = Record.create(storage, PLAN)
    record.begin("search", "lr=0.2", CONFIG, {"lr": 0.2}, {"lr": FloatDistribution(0.1, 0.5)})
    record.add_epoch(0, result(1), 1.0)
    record.end(0, TrialState.COMPLETE, None, 1.0)
    study = optuna.load_study(study_name="first", storage=storage)
    assert [t.params for t in study.best_trials] == [{"lr": 0.2}]
    with sqlite3.connect(tmp_path / "sweeps.db") as database:
        assert database.execute("select study_name from studies").fetchall() == [("first",)]


def test_a_record_of_another_version_is_refused_and_not_misread(storage):
    """The names of what is stored changed: an old record would load without its confirmation runs."""
    record = Record.create(storage, PLAN)
    for version in (1, 2, 3, 5):
        record.study.set_user_attr("format", version)
        with pytest.raises(
            UserError, match=rf"recorded by another version of this program \(format {version}, not 4\)"
        ):
            Record.load(storage, "first")
