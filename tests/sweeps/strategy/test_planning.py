"""`sweeps.strategy.planning` on real studies: the plan of a command line, and the sweep that the command continues."""

import contextlib
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest

from sweeps import run, sweep
from sweeps.execution.preflight import preflight
from sweeps.execution.ray_cluster import Room
from sweeps.reporting.tracking import Tracking
from sweeps.storage.folder import folder_of
from sweeps.storage.record import Record
from sweeps.strategy.options import Runtime
from sweeps.strategy.planning import check_name, latest, plan_of, resolve_name
from tce_core.data.streets.dataset import make_streets
from tce_core.errors import UserError
from tests.sweeps.searching import TINY


class NoGroups:
    """In place of the worker groups of a sweep: it starts nothing."""

    def __init__(self, settings):
        pass

    def begin(self, number):
        pass

    def check(self, plan, meanwhile):
        pass

    def leave(self):
        pass


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_streets(tmp_path_factory.mktemp("data") / "tiny", 0, 16, 8, 8, (48, 64))


@pytest.fixture
def storage(tables, tmp_path, monkeypatch):
    """The default storage, in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(tables, "sweeps.db")
    return "sqlite:///sweeps.db"


@pytest.fixture
def plan(data):
    """Make the plan of a command line: `plan("--seed", "3")`."""

    def make(*arguments):
        return plan_of(options(data, *arguments), data)

    return make


@pytest.fixture(scope="module")
def mine(data, tables, tmp_path_factory):
    """An SQLite file with a sweep named `mine`, which has the default plan."""
    file = shutil.copy(tables, tmp_path_factory.mktemp("optuna") / "mine.db")
    begun(f"sqlite:///{file}", plan_of(options(data), data), "mine")
    return file


def options(data, *arguments):
    """The options of a command line, without `--dry-run`, which does not change the plan."""
    given = vars(run.parser().parse_args(["--dataset", str(data.path), *arguments]))
    given.pop("dry_run", None)
    return run.options_of(given)


def begun(storage, plan, name):
    return Record.create(storage, replace(plan, name=name))


def refusal(plan, *arguments):
    with pytest.raises(UserError) as caught:
        plan(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# The plan


def test_missing_flags_take_their_values_from_the_space(plan):
    """The space gives the defaults, `--set` changes the space, and a flag overrides both."""
    default = plan()
    assert (default.sampler, default.trials, default.confirm, default.keep) == ("gp", 40, 4, 0.25)
    assert (default.patience, default.max_epochs, default.max_hours, default.warm_start) == (None, None, None, ())
    changed = plan("--set", "search.keep=0.4", "search.sampler=tpe", "search.trials=5", "search.confirm=0")
    assert (changed.sampler, changed.trials, changed.confirm, changed.keep) == ("tpe", 5, 0, 0.4)
    assert plan("--keep", "1", "--set", "search.keep=0.4").keep == 1


def test_the_objectives_are_looked_up_in_the_data_set(plan, data):
    made = plan("--objective", "iou:pole", "--floor", "wall=0.3", "others=-0.02")
    assert (made.objectives.lead.name, made.classes) == ("iou:pole", data.class_names)
    assert list(map(str, made.floors)) == ["wall=0.3", "others=-0.02"]
    assert plan().floors == ()


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["--epochs", "52"], (9, 26)),
        (["--epochs", "12"], (2, 6)),
        (["--epochs", "1"], ()),
        (["--epochs", "12", "--no-halving"], ()),
        (["--epochs", "12", "--rungs", "1", "11"], (1, 11)),
        (["--epochs", "12", "--set", "search.rungs=[3, 5]"], (3, 5)),
        (["--epochs", "12", "--set", "search.rungs=[]"], ()),
        (["--epochs", "12", "--set", "search.rungs=[3, 5]", "--rungs", "4"], (4,)),
        (["--epochs", "12", "--set", "search.rungs=[3, 5]", "--no-halving"], ()),
    ],
)
def test_rungs_are_given_or_follow_from_the_epochs(plan, arguments, wanted):
    assert plan(*arguments).rungs == wanted


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--rungs", "6", "2"], "rungs 6 2: give rising numbers of epochs below a trial's 12, such as 2 6"),
        (["--rungs", "2", "2"], "rungs 2 2: "),
        (["--rungs", "2", "12"], "below a trial's 12"),
        (
            ["--epochs", "2", "--rungs", "2"],
            "rungs 2: give rising numbers of epochs below a trial's 2, or --no-halving",
        ),
        (["--epochs", "5", "--set", "search.rungs=[3, 9]"], "rungs 3 9: "),
        (["--set", "search.rungs=[0]"], "search.rungs"),
        (["--set", "search.rungs=few"], "search.rungs"),
        (["--set", "search.keep=0"], "search.keep = 0"),
        (["--set", "search.keep=1.5"], "search.keep = 1.5"),
        (
            ["--max-epochs", "107"],
            "--max-epochs 107: 4 baselines, 4 confirmation runs and one searched configuration of 12 epochs need 108",
        ),
        (["--max-epochs", "71", "--epochs", "8"], "need 72"),
        (["--max-epochs", "59", "--confirm", "0"], "4 baselines, 0 confirmation runs and one searched"),
    ],
)
def test_rungs_shares_and_limits_that_are_impossible_are_refused(plan, arguments, named):
    assert named in refusal(plan, *arguments)


def test_the_smallest_possible_limit_of_epochs_is_accepted(plan, tmp_path):
    assert plan("--max-epochs", "108").max_epochs == 108
    (tmp_path / "own.yaml").write_text("trial: {loss: class_tilt}\nspace: {t: {low: 1, high: 2}}")
    own = "--space", str(tmp_path / "own.yaml"), "--epochs", "3", "--confirm", "0"
    assert plan(*own, "--max-epochs", "3").max_epochs == 3
    assert "0 baselines, 0 confirmation runs and one searched configuration of 3 epochs need 3" in refusal(
        plan, *own, "--max-epochs", "2"
    )


@pytest.mark.parametrize(
    ("arguments", "cpus"),
    [
        (("--gpus-per-worker", "0"), 1),
        (("--gpus-per-worker", "0", "--cpus-per-worker", "3"), 3),
        (("--gpus-per-worker", "0.5"), None),  # their share of the cluster, which is not known yet
        (("--gpus-per-worker", "0.5", "--cpus-per-worker", "3"), 3),
    ],
)
def test_a_gpu_worker_shares_out_the_cores_unless_a_number_is_given(plan, arguments, cpus):
    assert plan(*arguments).cpus_per_worker == cpus


def test_a_grid_has_no_more_trials_than_points(plan):
    assert plan("--space", "cityscapes_paper", "--trials", "9").trials == 2
    assert plan("--space", "cityscapes_paper", "--trials", "1").trials == 1


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--set", "trial.encoder=resnet51"], "unknown encoder 'resnet51'; did you mean resnet"),
        (["--set", *TINY, "space.encoder={choices: [resnet18, resmet18]}"], "unknown encoder 'resmet18'"),
        (["--set", *TINY, "baselines.mcce.batch_size=6", "--workers-per-trial", "4"], "batch_size 6 cannot"),
        (["--set", *TINY, "space.batch_size={choices: [8, 6]}", "--workers-per-trial", "4"], "batch_size 6 cannot"),
        (["--set", *TINY, "--workers-per-trial", "3"], "batch_size 8 cannot be shared evenly by 3 workers"),
        (["--set", *TINY, "--workers-per-trial", "8"], "batch_size 8 over 8 workers leaves 1 image each"),
    ],
)
def test_bad_encoders_and_batch_sizes_are_refused_before_the_first_trial(plan, data, arguments, named):
    """`preflight` finds errors that only the model libraries can name, also in values of the search space."""
    with pytest.raises(UserError) as caught:
        preflight(plan(*arguments), data)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


# Which sweep is meant


def test_the_same_command_continues_an_unfinished_sweep_or_begins_a_new_one(plan, storage):
    assert resolve_name(plan(), Runtime(storage=storage), "tiny") == ("tiny-1", None)
    record = begun(storage, plan(), "tiny-1")
    name, found = resolve_name(plan(), Runtime(storage=storage), "tiny")
    assert (name, found.plan) == ("tiny-1", record.plan)
    record.finish()
    assert resolve_name(plan(), Runtime(storage=storage), "tiny") == ("tiny-2", None)
    begun(storage, plan(), "tiny-2")
    assert resolve_name(plan(), Runtime(storage=storage), "tiny")[0] == "tiny-2"
    assert resolve_name(plan(), Runtime(storage=storage), "other") == ("other-1", None)


DIFFERENT = [
    (["--seed", "1"], "seed 0, not 1"),
    (["--trials", "3"], "trials 40, not 3"),
    (["--objective", "miou"], "objective worst_iou, not miou"),
    (["--miou-allowance", "0.05"], "allowance 0.01, not 0.05"),
    (["--floor", "wall=0.3", "--floor", "miou=-0.02"], "floors (), not (wall=0.3, miou=-0.02)"),
    (["--sampler", "tpe"], "sampler gp, not tpe"),
    (["--confirm", "0"], "confirm 4, not 0"),
    (["--keep", "0.3"], "keep 0.25, not 0.3"),
    (["--no-halving"], "rungs (2, 6), not ()"),
    (["--patience", "9"], "patience None, not 9"),
    (["--max-epochs", "999"], "max_epochs None, not 999"),
    (["--max-hours", "2"], "max_hours None, not 2.0"),
    (["--epochs", "7"], "another space"),
    (["--set", "trial.encoder=resnet18"], "another space"),
    (["--workers-per-trial", "2"], "workers 1, not 2"),
    (["--seed", "1", "--trials", "3"], "seed 0, not 1, trials 40, not 3"),
]


@pytest.mark.parametrize(("arguments", "differs"), DIFFERENT)
def test_a_taken_name_with_other_settings_is_refused_and_the_differences_are_named(
    plan, storage, mine, arguments, differs
):
    shutil.copy(mine, "sweeps.db")
    with pytest.raises(UserError) as caught:
        resolve_name(plan("--name", "mine", *arguments), Runtime(storage=storage), "tiny")
    message = str(caught.value)
    assert message.startswith(f"sweep 'mine' in {storage} was begun with other settings: ")
    assert differs in message
    assert message.endswith("; continue it with `run --resume mine`, or choose another --name")


def test_a_command_with_another_plan_begins_another_sweep(plan, storage):
    """A command continues the unfinished sweep with its own plan, even if it is not the latest one."""
    begun(storage, plan(), "tiny-1")
    for arguments, _ in DIFFERENT[:3]:
        assert resolve_name(plan(*arguments), Runtime(storage=storage), "tiny") == ("tiny-2", None)
    begun(storage, plan("--seed", "1"), "tiny-2")
    name, record = resolve_name(plan(), Runtime(storage=storage), "tiny")
    assert (name, record.plan.seed) == ("tiny-1", 0)
    record.finish()
    assert resolve_name(plan(), Runtime(storage=storage), "tiny") == ("tiny-3", None)


def test_checkpoints_of_a_sweep_in_another_storage_are_kept(plan, storage, command):
    """Two folders hold checkpoints, but this storage does not know their sweeps.

    An automatic name avoids the folder, an explicit name is refused, and the checkpoints stay.
    """
    for name in ("tiny-1", "mine"):
        Path("runs", name, "checkpoints").mkdir(parents=True)
        Path("runs", name, "checkpoints", "trial-00000.pt").touch()
    assert resolve_name(plan(), Runtime(storage=storage), "tiny") == ("tiny-2", None)
    with pytest.raises(UserError, match=r"runs/mine holds checkpoints of a sweep that is not in sqlite:///sweeps\.db"):
        command("--name", "mine")
    assert Path("runs", "mine", "checkpoints", "trial-00000.pt").exists()
    assert command() == (130, "ran", "tiny-2", 0)


@pytest.mark.parametrize("arguments", [["--concurrent", "2"], ["--tracking-uri", "sqlite:///x.db"], ["--dry-run"]])
def test_flags_about_where_a_sweep_runs_are_no_part_of_its_plan(plan, storage, mine, arguments):
    shutil.copy(mine, "sweeps.db")
    assert resolve_name(plan("--name", "mine", *arguments), Runtime(storage=storage), "tiny")[1] is not None


def test_the_data_set_is_part_of_the_plan_and_package_versions_are_not(plan, storage):
    begun(storage, replace(plan(), versions={"torch": "1.0"}), "tiny-1")
    assert resolve_name(plan(), Runtime(storage=storage), "tiny")[1] is not None
    assert resolve_name(replace(plan(), fingerprint="another"), Runtime(storage=storage), "tiny") == ("tiny-2", None)


def test_a_given_name_begins_a_sweep_or_finds_the_one_with_the_same_plan(plan, storage):
    """A finished sweep is found as well."""
    assert resolve_name(plan("--name", "mine"), Runtime(storage=storage), "tiny") == ("mine", None)
    record = begun(storage, plan(), "mine")
    for _ in range(2):
        name, found = resolve_name(plan("--name", "mine"), Runtime(storage=storage), "tiny")
        assert (name, found.plan) == ("mine", record.plan)
        record.finish()


def test_a_sweep_that_was_killed_at_its_start_begins_again_under_its_name(plan, storage):
    """The study exists, but has no plan yet."""
    optuna.create_study(storage=storage, study_name="tiny-1", directions=["maximize"] * 2)
    assert resolve_name(plan(), Runtime(storage=storage), "tiny") == ("tiny-1", None)
    assert resolve_name(plan("--name", "tiny-1"), Runtime(storage=storage), "tiny") == ("tiny-1", None)
    assert begun(storage, plan(), "tiny-1").trials() == []


def test_a_study_of_another_program_is_refused(plan, storage):
    optuna.create_study(storage=storage, study_name="tiny-1").set_user_attr("theirs", True)
    with pytest.raises(UserError, match=r"'tiny-1' in .* is not a sweep of this program"):
        resolve_name(plan("--name", "tiny-1"), Runtime(storage=storage), "tiny")


def test_the_latest_sweep_is_the_one_that_was_begun_last(plan, storage):
    with pytest.raises(UserError, match="holds no sweep yet"):
        latest(storage)
    for name in ("b", "c", "a"):
        begun(storage, plan(), name)
    assert latest(storage) == "a"


@pytest.mark.parametrize("key", ["trial.fold=1/2", "baselines.mcce.fold=1/2", "space.fold={choices: [1/2, 2/2]}"])
def test_a_sweep_has_no_folds(plan, key):
    with pytest.raises(UserError, match=r"fold: a sweep has the splits of its data set; use `compare --folds K`"):
        plan("--set", key)


@pytest.mark.parametrize(("epochs", "trunk", "least"), [(1, 0.3, "0.5"), (12, 0.04, "0.05"), (4, 0.12, "0.13")])
def test_a_trunk_without_an_epoch_is_refused(plan, epochs, trunk, least):
    with pytest.raises(UserError, match=f"trunk {trunk:g}: that is no epoch of {epochs}; give at least {least}, or 0"):
        plan("--epochs", f"{epochs}", "--trunk", f"{trunk}")
    if epochs > 1:
        plan("--epochs", f"{epochs}", "--trunk", least)


# Names


@pytest.mark.parametrize(
    "name", ["../x", "/abs", "a/b", "..", ".", "-a", "_a", "a b", "a\n", "a\\b", "ä", "", "x" * 65]
)
def test_a_name_that_is_no_plain_file_name_is_refused(name):
    with pytest.raises(UserError, match="--name"):
        check_name(name, "--name")


@pytest.mark.parametrize("stem", ["my data", "../x", "/abs", "...", "ä", "-a-", "x" * 200])
def test_an_automatic_name_is_valid_for_resume(plan, storage, stem):
    """The name is made from the name of the data set, which may hold any characters."""
    first, _ = resolve_name(plan(), Runtime(storage=storage), stem)
    begun(storage, replace(plan(), seed=1), first)
    second, _ = resolve_name(plan(), Runtime(storage=storage), stem)
    assert first != second
    for name in (first, second):
        check_name(name, "--resume")


def test_a_sweep_continues_in_the_folder_where_it_began_or_where_that_was_moved(plan, storage, tmp_path, monkeypatch):
    """Also when it is resumed from another working directory: its checkpoints and its lock are there."""
    begun_here = plan("--name", "mine")
    first = folder_of(begun_here)
    assert first.path == tmp_path / "runs" / "mine"
    first.path.mkdir(parents=True)
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert folder_of(begun_here).path == first.path
    shutil.move(tmp_path / "runs", "runs")
    assert folder_of(begun_here).path == tmp_path / "elsewhere" / "runs" / "mine"


# The command


@pytest.fixture
def command(data, storage, monkeypatch):
    """Run the command without Ray and trials.

    It returns the exit code, `ran` or `reported`, the name of the sweep and its number of trials.
    """
    done = []

    def ran(record, *_):
        done.append(("ran", record.plan.name, len(record.trials())))
        return SimpleNamespace(finished=False)

    def reported(tracking, *_):
        record = tracking.outcome.record
        done.append(("reported", record.plan.name, len(record.trials())))
        return SimpleNamespace(finished=True)

    monkeypatch.setattr(sweep, "ray_for", lambda *_: contextlib.nullcontext(Room(1, 1)))
    monkeypatch.setattr(sweep, "WorkerGroups", NoGroups)
    monkeypatch.setattr(sweep, "_run", ran)
    monkeypatch.setattr(sweep, "_report", reported)
    monkeypatch.setattr(Tracking, "sync", lambda self: True)

    def issue(*arguments):
        dataset = [] if "--resume" in arguments else ["--dataset", str(data.path)]
        code = run.main([*dataset, *arguments])
        return code, *done.pop()

    return issue


def test_a_command_begins_continues_or_reports_a_sweep(command, storage):
    assert command() == (130, "ran", "tiny-1", 0)
    Record.load(storage, "tiny-1").begin("baseline", "mcce", {"epochs": 12})
    assert command() == (130, "ran", "tiny-1", 1)
    assert command("--seed", "1") == (130, "ran", "tiny-2", 0)
    assert command("--resume") == (130, "ran", "tiny-2", 0)
    for given in (["tiny-1"], ["tiny-1", "--concurrent", "7"], ["--name", "tiny-1"]):
        assert command("--resume", *given) == (130, "ran", "tiny-1", 1)
    Record.load(storage, "tiny-1").finish()
    assert command("--resume", "tiny-1") == (0, "reported", "tiny-1", 1)
    assert command("--name", "tiny-1") == (0, "reported", "tiny-1", 1)


def test_a_relative_floor_needs_a_baseline(plan, tmp_path):
    space = tmp_path / "alone.yaml"
    space.write_text("space: {t: {low: 1, high: 2}}\ntrial: {loss: class_tilt}\n")
    alone = "--space", str(space), "--floor"
    assert "--floor miou=-0.01: relative to the first baseline" in refusal(plan, *alone, "miou=-0.01")
    assert [floor.value for floor in plan(*alone, "miou=0.3").floors] == [0.3]
