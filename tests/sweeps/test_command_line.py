"""Commands with bad input: one line on stderr names the mistake, and no files are left. Also flags and exit codes."""

import contextlib
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import optuna
import pytest
import yaml

from sweeps import __main__ as entry
from sweeps import run, sweep, train
from sweeps.cli import run_command
from sweeps.commands import compare, diagnose, export, listing, predict, tracking
from sweeps.reporting.export_file import FORMAT, DatasetSection, read_export, write_export
from sweeps.storage.folder import SweepFolder
from sweeps.storage.lock import sweep_lock
from sweeps.storage.record import Record
from sweeps.strategy.options import SweepOptions
from sweeps.strategy.planning import plan_of
from tce_core.checkpoint import CannotSave
from tce_core.config import TrialConfig
from tce_core.data.schema import ClassInfo
from tce_core.data.streets.dataset import make_streets
from tce_core.data.writer import SplitWriter
from tce_core.errors import TemporaryError, UserError
from tests.sweeps.searching import TINY

ROOT = Path(run.__file__).parents[1]
COMMANDS = ["run", "train", "compare", "adjust", "diagnose", "predict", "export", "list", "track", "convert"]


@pytest.fixture(scope="module")
def streets(tmp_path_factory):
    return make_streets(tmp_path_factory.mktemp("data") / "tiny", 0, 16, 8, 8, (48, 64))


@pytest.fixture(scope="module")
def storage(tmp_path_factory, streets):
    """An SQLite file with a sweep named `taken`, which has no trials, and a study `foreign` of another program."""
    path = tmp_path_factory.mktemp("optuna") / "sweeps.db"
    options = SweepOptions(name="taken", dataset=streets.path)
    Record.create(f"sqlite:///{path}", plan_of(options, streets))
    optuna.create_study(storage=f"sqlite:///{path}", study_name="foreign")
    return path


@pytest.fixture
def folder(tmp_path, monkeypatch, streets):
    """A working directory with a small data set and the files that some of the inputs name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delattr(sweep, "ray_for")  # a command that is refused must not start Ray
    (tmp_path / "tiny").symlink_to(streets.path)
    (tmp_path / "misspelt.yaml").write_text("space: {}\nsearch: {trails: 3}\n")
    (tmp_path / "reversed.yaml").write_text("space: {t: {low: 3, high: 2}}\n")
    (tmp_path / "text.txt").write_text("no data")
    return tmp_path


@pytest.fixture
def two_classes(folder):
    """A data set with other classes than `streets`."""
    classes = [ClassInfo(0, "cat", (0, 0, 0)), ClassInfo(1, "dog", (9, 9, 9))]
    (folder / "pets").mkdir()
    for split in ("train", "val"):
        with SplitWriter(folder / "pets" / f"{split}.arrow", classes, "drawn", split) as writer:
            writer.add("one", np.zeros((32, 32, 3), np.uint8), np.arange(2, dtype=np.uint8).repeat(512).reshape(32, 32))
    return folder / "pets"


def exported(streets, **changes):
    """The parts of an exported file that `train.py` needs. `changes` replace sections."""
    return {
        "format": FORMAT,
        "dataset": {"fingerprint": streets.fingerprint, "classes": list(streets.class_names)},
        "workers": {"number": 1, "cpus_each": 1, "gpus_each": 0.0},
        "trial": TrialConfig(encoder="tu-mobilenetv3_small_050", crop=(32, 48)).model_dump(mode="json"),
        "measured": {"iou": {}, "epochs": 1, "miou": 0.1, "worst_iou": 0.0, "worst_class": "wall"},
        **changes,
    }


def refusal(main, arguments, capsys):
    """The one line on stderr with which a command refuses. The working directory must not change."""
    before = sorted(Path().rglob("*"))
    try:
        code = run_command(main, arguments)
    except SystemExit as exit:  # from argparse
        code = exit.code
    printed = capsys.readouterr()
    assert code == 2
    assert printed.out == ""
    assert sorted(Path().rglob("*")) == before
    return one_line(printed.err)


def one_line(stderr):
    assert stderr.startswith("error: ")
    assert stderr.count("\n") == 1
    assert stderr.endswith("\n")
    return stderr


# run.py


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--speed", "9"], "--speed"),
        (["--obj", "miou"], "--obj"),  # an abbreviation could change its meaning when flags are added
        (["--objective", "accuracy"], "'accuracy'"),
        (["--sampler", "annealing"], "'annealing'"),
        (
            ["--objective", "iou:poles", "--dataset", "tiny"],
            "no class 'poles'; nearest: pole;",
        ),
        (
            ["--floor", "poles=0.3", "--dataset", "tiny"],
            "no class or measure 'poles'; nearest: pole;",
        ),
        (["--floor", "pole=0.1", "miou=-2", "--dataset", "tiny"], "--floor miou=-2: -2 is outside -1 to 1"),
        (["--floor", "miou=-0.1", "--miou-allowance", "0.1", "--dataset", "tiny"], "--floor miou set the same floor"),
        (["--miou-allowance", "1.5"], "'1.5' is not a fraction"),
        (["--miou-allowance", "-0.1"], "'-0.1' is not a fraction"),
        (["--miou-allowance", "some"], "'some' is not a fraction"),
        (["--miou-allowance", "nan"], "'nan' is not a fraction"),
        (["--trials", "0"], "'0' is not a whole number above 0"),
        (["--trials", "2.5"], "'2.5' is not a whole number"),
        (["--epochs", "-1"], "'-1' is not a whole number"),
        (["--epochs", "²"], "'²' is not a whole number"),
        (["--confirm", "-1"], "'-1' is not a whole number"),
        (["--seed", "x"], "'x' is not a whole number"),
        (["--workers-per-trial", "0"], "'0' is not a whole number"),
        (["--gpus-per-worker", "-1"], "'-1' is not a number of 0 or more"),
        (["--gpus-per-worker", "nan"], "'nan' is not a number of 0 or more"),
        (["--rungs"], "--rungs"),
        (["--rungs", "0", "3"], "'0' is not a whole number above 0"),
        (["--rungs", "3", "2"], "rungs 3 2: give rising numbers of epochs below a trial's 12, such as 2 6"),
        (["--rungs", "2", "12"], "below a trial's 12"),
        (["--rungs", "2", "--no-halving"], "--no-halving: not allowed with argument --rungs"),
        (["--keep", "0"], "'0' is not a share above 0"),
        (["--keep", "1.1"], "'1.1' is not a fraction between 0 and 1"),
        (["--patience", "0"], "'0' is not a whole number above 0"),
        (["--max-epochs", "0"], "'0' is not a whole number above 0"),
        (["--max-epochs", "107"], "one searched configuration of 12 epochs need 108"),
        (["--max-hours", "0"], "'0' is not a number above 0"),
        (["--max-hours", "-1"], "'-1' is not a number of 0 or more"),
        (["--max-hours", "inf"], "'inf' is not a number of 0 or more"),
        (["--warm-start", "gone"], "no sweep 'gone' in sqlite:///sweeps.db; it holds none"),
        (["--warm-start", "gone.yaml"], "--warm-start gone.yaml: No such file"),
        (["--warm-start", "misspelt.yaml"], "misspelt.yaml: neither an exported configuration nor a list"),
        (["--set", "trial.loss=x"], "loss = 'x'"),
        (["--set", "trial.lr=-1"], "lr = -1"),
        (["--set", "trial.leraning_rate=1"], "'leraning_rate'"),
        (["--set", "space.t.high=0.01"], "high 0.01"),
        (["--set", "loss=focal"], "loss=focal"),
        (["--space", "misspelt.yaml"], "misspelt.yaml: unknown key 'search.trails'"),
        (["--space", "reversed.yaml"], "reversed.yaml: space.t: low 3 is not below high 2"),
        (["--space", "nowhere"], "nowhere"),
        (["--dataset", "nowhere"], "nowhere"),
        (["--dataset", "text.txt"], "text.txt"),
        (["--dataset", "."], ".: train.arrow and val.arrow missing"),
        (["--name", "../x"], "--name ../x"),
        (["--name", "a/b"], "--name a/b"),
        (["--name", ".."], "--name .."),
        (["--name", ""], "--name"),
        (["--name", "x" * 65], "x" * 65),
        (["--resume"], "sqlite:///sweeps.db holds no sweep yet"),
        (["--resume", "gone"], "no sweep 'gone' in sqlite:///sweeps.db"),
        (["--resume", "gone", "--confirm", "2"], "--confirm: a resumed sweep continues as its record says"),
        (["--resume", "gone", "--seed", "1", "--no-halving"], "--seed, --rungs/--no-halving: "),
        (["--resume", "one", "--name", "other"], "--name: "),
        (["--keep", "0.5", "--no-halving"], "keep is the share that continues at a rung"),
        (["--resume", "gone", "--max-hours", "2", "--trials", "9", "--retry-failed"], "no sweep 'gone'"),
        (["--retry-failed"], "--retry-failed: give --resume NAME, too"),
        (["--resume", "../x"], "--resume ../x"),
        (["--resume", "/abs"], "--resume /abs"),
        (["--resume", "--name", "gone"], "no sweep 'gone' in sqlite:///sweeps.db"),
        (["--storage", "nonsense"], "--storage nonsense"),
        (["--storage", "sqlite:////no/such/folder/a.db"], "/no/such/folder/a.db"),
    ],
)
def test_a_sweep_refuses_bad_input(folder, capsys, arguments, named):
    dataset = [] if {"--dataset", "--resume"} & set(arguments) else ["--dataset", "tiny"]
    assert named in refusal(run.main, [*dataset, *arguments], capsys)


def test_a_store_wait_that_is_no_number_is_refused(folder, storage, capsys, monkeypatch):
    shutil.copy(storage, folder / "sweeps.db")
    monkeypatch.setenv("TILTED_SWEEPS_STORE_WAIT", "60s")
    message = refusal(run.main, ["--dataset", "tiny"], capsys)
    assert "TILTED_SWEEPS_STORE_WAIT=60s: not a number of seconds" in message


def test_a_sweep_folder_that_cannot_be_made_is_named(folder, capsys):
    Path("runs").touch()
    assert "runs/tiny-1: the sweep's folder cannot be made: Not a directory" in refusal(
        run.main, ["--dataset", "tiny"], capsys
    )
    Path("runs").unlink()


def test_a_name_that_is_taken_by_another_sweep_is_refused(folder, storage, capsys):
    shutil.copy(storage, folder / "sweeps.db")
    message = refusal(run.main, ["--dataset", "tiny", "--name", "taken", "--seed", "1"], capsys)
    assert "sweep 'taken' in sqlite:///sweeps.db was begun with other settings: " in message
    assert "seed 0, not 1" in message
    assert "--resume taken" in message
    assert "'foreign'" in refusal(run.main, ["--dataset", "tiny", "--name", "foreign"], capsys)
    for name in (["foreign"], ["--name", "foreign"], []):  # the latest
        assert "study 'foreign' in" in refusal(run.main, ["--resume", *name], capsys)
    assert "it holds foreign, taken" in refusal(run.main, ["--resume", "token"], capsys)


def test_a_sweep_is_not_resumed_on_other_data(folder, storage, capsys):
    shutil.copy(storage, folder / "sweeps.db")
    record = Record.load("sqlite:///sweeps.db", "taken")
    record.study.set_user_attr("plan", {**record.study.user_attrs["plan"], "fingerprint": "another"})
    assert "the data set has changed" in refusal(run.main, ["--resume", "taken"], capsys)


# train.py


@pytest.mark.parametrize(
    ("changes", "arguments", "named"),
    [
        ({"format": "tilted-sweeps/9"}, [], "not a file exported by this program"),
        ({"trial": None}, [], "'trial' is missing"),
        ({"workers": {"number": 1}}, [], "'workers.cpus_each' is missing"),
        ({"measured": {}}, [], "'measured.epochs' is missing"),
        ({"trial": {"learning_rate": 1}}, [], "unknown key 'learning_rate'"),
        ({"trial": {"lr": 0}}, [], "lr = 0"),
        ({}, ["--epochs", "0"], "'0' is not a whole number above 0"),
        ({}, ["--seed", "-1"], "'-1' is not a whole number"),
        ({}, ["--workers", "0"], "'0' is not a whole number above 0"),
        ({}, ["--workers", "3"], "batch_size 8 cannot be shared evenly by 3 workers"),
        ({}, ["--cpus-per-worker", "0"], "'0' is not a whole number above 0"),
        ({}, ["--gpus-per-worker", "nan"], "'nan' is not a number of 0 or more"),
        ({}, ["--speed", "9"], "--speed"),
        ({}, ["--dataset", "nowhere"], "nowhere"),
        (
            {"trial": {"start": "text.txt", "train": "nothing", "epochs": 1}},
            ["--epochs", "9"],
            "--epochs 9: best.yaml evaluates a model as it is; leave this out",
        ),
    ],
)
def test_training_refuses_bad_input(folder, streets, capsys, changes, arguments, named):
    Path("best.yaml").write_text(yaml.safe_dump(exported(streets, **changes)))
    dataset = [] if "--dataset" in arguments else ["--dataset", "tiny"]
    assert named in refusal(train.main, ["best.yaml", *dataset, *arguments], capsys)


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("missing.yaml", "missing.yaml: No such file"),
        (".", ".: Is a directory"),
        ("misspelt.yaml", "misspelt.yaml: not a file exported by this program"),
        ("text.txt", "text.txt: not a file exported by this program"),
        ("code.yaml", "code.yaml: not YAML"),
    ],
)
def test_training_refuses_a_file_that_is_no_export(folder, capsys, name, named):
    Path("code.yaml").write_text("format: !!python/object/apply:os.system ['touch witness']")
    assert named in refusal(train.main, [name, "--dataset", "tiny"], capsys)


def test_training_takes_the_data_set_of_the_sweep_or_asks_for_one(folder, streets, capsys):
    """It never falls back to other data. The training itself is tested with whole sweeps."""
    Path("best.yaml").write_text(yaml.safe_dump(exported(streets)))
    message = refusal(train.main, ["best.yaml"], capsys)
    assert "best.yaml: its data set has no path and is not here; give --dataset" in message
    data = {"fingerprint": streets.fingerprint, "classes": list(streets.class_names)}
    Path("best.yaml").write_text(yaml.safe_dump(exported(streets, dataset={**data, "path": "/gone"})))
    assert "best.yaml: its data set /gone is not here; give --dataset" in refusal(train.main, ["best.yaml"], capsys)
    export = read_export(Path("best.yaml")).model_copy(
        update={"dataset": DatasetSection(path=str(streets.path), fingerprint="another", classes=streets.class_names)}
    )
    opened = train._open_data(train.TrainOptions(config=Path("best.yaml")), export)
    assert opened.fingerprint == streets.fingerprint
    assert "its fingerprint differs): the metrics will differ" in capsys.readouterr().out


def test_training_refuses_a_data_set_with_other_classes(folder, streets, two_classes, capsys):
    Path("best.yaml").write_text(yaml.safe_dump(exported(streets)))
    message = refusal(train.main, ["best.yaml", "--dataset", "pets"], capsys)
    assert "best.yaml is for 10 classes (road, sidewalk" in message
    assert "pets has 2 (cat, dog)" in message


# export.py and tracking.py


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "name"),
        (["gone"], "no sweep 'gone' in sqlite:///sweeps.db; it holds foreign, taken"),
        (["foreign"], "study 'foreign'"),
        (["taken", "--objective", "accuracy"], "'accuracy'"),
        (["taken", "--objective", "iou:tram"], "no class 'tram'"),
        (["taken", "--floor", "tram=0.3"], "--floor tram=0.3: no class or measure 'tram'"),
        (["taken"], "sweep 'taken': no trial was trained to its end"),
        (["taken", "--storage", "sqlite:///other.db"], "no sweep 'taken' in sqlite:///other.db"),
    ],
)
def test_exporting_refuses_bad_input(folder, storage, capsys, arguments, named):
    shutil.copy(storage, folder / "sweeps.db")
    assert named in refusal(export.main, arguments, capsys)


def test_an_export_path_that_cannot_be_written_is_named_and_no_partial_file_stays(folder, streets):
    Path("best.yaml").write_text(yaml.safe_dump(exported(streets)))
    content = read_export(Path("best.yaml"))
    Path("file").touch()
    before = sorted(Path().rglob("*"))
    for path in (".", "tiny", "file/best.yaml"):
        with pytest.raises(UserError, match=f"^{re.escape(path)}: "):
            write_export(Path(path), content)
    assert sorted(Path().rglob("*")) == before


def test_tracking_refuses_an_unknown_sweep(folder, capsys):
    assert "no sweep 'gone'" in refusal(tracking.main, ["gone"], capsys)


# All commands

FLAGS = {
    run.main: """--help --objective --miou-allowance --floor --dataset --space --set --sampler --warm-start --trials
        --epochs --from --trunk
        --confirm --seed --rungs --no-halving --keep --patience --max-epochs --max-hours --workers-per-trial
        --gpus-per-worker --cpus-per-worker --concurrent --address --name --resume --retry-failed --storage
        --tracking-uri --dry-run""",
    train.main: """--help --dataset --epochs --seed --workers --cpus-per-worker --gpus-per-worker --address --out
        --licence""",
    compare.main: """--help --methods --dataset --seeds --seed --folds --group-by --epochs --trunk --space --set
        --objective --miou-allowance --workers-per-trial --gpus-per-worker --cpus-per-worker --concurrent --address
        --name --storage --tracking-uri""",
    diagnose.main: "--help --dataset --weights --split --out --encoder --output-stride --atrous-rates",
    predict.main: """--help --out --overlay --probabilities --tile --skip-bad --onnx --device --dataset --classes
        --encoder --output-stride --atrous-rates""",
    export.main: "--help --objective --floor --out --all --storage",
    tracking.main: "--help --storage --tracking-uri",
    listing.main: "--help --storage",
}


@pytest.mark.parametrize("main", FLAGS, ids=lambda main: main.__module__)
def test_the_flags_are_these(main, capsys):
    """`--help` lists exactly these flags. Scripts depend on them, so change `FLAGS` only on purpose."""
    with pytest.raises(SystemExit) as exit:
        main(["--help"])
    assert exit.value.code == 0
    shown = re.findall(r"^  (?:-h, )?(--[a-z-]+)", capsys.readouterr().out, flags=re.MULTILINE)
    assert sorted(shown) == sorted(FLAGS[main].split())


RUN = [ROOT / "sweeps" / "run.py"]


def command(script, *arguments):
    return subprocess.run(
        [sys.executable, *script, *arguments],
        capture_output=True,
        text=True,
        timeout=500,
        env={**os.environ, "COLUMNS": "200"},
    )


@pytest.mark.parametrize(
    ("script", "arguments", "named"),
    [
        (RUN, ["--objective", "accuracy"], "'accuracy'"),
        (RUN, ["--dataset", "tiny", "--set", "trial.loss=x"], "loss = 'x'"),
        ([ROOT / "sweeps" / "train.py"], ["missing.yaml"], "missing.yaml"),
        (["-m", "sweeps", "export"], ["gone"], "'gone'"),
    ],
)
def test_a_command_exits_with_2_and_one_line(folder, script, arguments, named):
    before = sorted(folder.rglob("*"))
    ended = command(script, *arguments)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert named in one_line(ended.stderr)
    assert sorted(folder.rglob("*")) == before


def test_more_workers_than_the_machine_holds_are_refused(folder):
    before = sorted(folder.rglob("*"))
    space = [*TINY, "trial.batch_size=2048"]
    ended = command(RUN, "--dataset", "tiny", "--workers-per-trial", "1024", "--set", *space)
    assert ended.returncode == 2
    assert "one trial needs 1024 CPUs" in one_line(ended.stderr)
    assert sorted(folder.rglob("*")) == before


def test_a_dry_run_prints_the_plan_and_records_nothing(folder):
    before = sorted(folder.rglob("*"))
    ended = command(RUN, "--dry-run", "--dataset", "tiny", "--trials", "5", "--epochs", "3", "--set", *TINY)
    assert (ended.returncode, ended.stderr) == (0, "")
    for part in ("tiny-1", "worst_iou", "16 train, 8 val images, 10 classes", "5 searched", "one step", '"epochs":3'):
        assert part in ended.stdout
    assert "after epochs 2 the best 25% continue" in ended.stdout
    assert sorted(folder.rglob("*")) == before


# Exit codes


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UserError("no such file"), 2),
        (TemporaryError("the store is gone"), 75),
        (CannotSave("no space"), 75),
        (PermissionError(13, "Permission denied", "a"), 2),
        (OSError(28, "No space left on device", "a"), 75),
        (OSError(122, "Disk quota exceeded", "a"), 75),
        (KeyboardInterrupt(), 130),
    ],
)
def test_an_error_has_its_exit_code(error, code, capsys):
    def main(_):
        raise error

    assert run_command(main) == code
    assert capsys.readouterr().err.count("\n") == (code != 130)


def test_a_store_that_stays_locked_gives_exit_code_75(folder, storage, capsys, monkeypatch):
    shutil.copy(storage, folder / "sweeps.db")
    monkeypatch.setenv("TILTED_SWEEPS_STORE_WAIT", "1")
    with contextlib.closing(sqlite3.connect(folder / "sweeps.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert run_command(run.main, ["--resume", "taken"]) == 75
    assert "--storage sqlite:///sweeps.db: database is locked, for 1 s" in one_line(capsys.readouterr().err)


def test_a_sweep_that_another_process_runs_gives_exit_code_75(folder, storage, capsys):
    shutil.copy(storage, folder / "sweeps.db")
    with sweep_lock("taken", SweepFolder("taken").path):
        assert run_command(run.main, ["--resume", "taken"]) == 75
    assert "sweep 'taken' is being run by process " in one_line(capsys.readouterr().err)


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="there is no device /dev/full here")
def test_an_export_to_a_full_disk_raises_a_temporary_error(folder, streets):
    """The temporary file beside the target is a link to `/dev/full`, where every write fails."""
    Path("best.yaml").write_text(yaml.safe_dump(exported(streets)))
    content = read_export(Path("best.yaml"))
    Path(f".full.yaml.{os.getpid()}.partial").symlink_to("/dev/full")
    with pytest.raises(TemporaryError, match=r"full\.yaml: cannot be written: No space left on device"):
        write_export(Path("full.yaml"), content)
    assert not Path("full.yaml").exists()


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="there is no device /dev/full here")
def test_a_full_disk_gives_exit_code_75_and_a_bug_keeps_its_traceback(capsys):
    assert run_command(lambda _: Path("/dev/full").write_text("x")) == 75
    assert capsys.readouterr().err == "error: a file: No space left on device\n"
    with pytest.raises(FileNotFoundError):
        run_command(lambda _: len(Path("/nowhere").read_text()))


# tilted-sweeps


def test_the_entry_point_lists_its_commands_and_passes_their_arguments_on(folder, capsys):
    for arguments in (["--help"], ["-h"], []):
        assert entry.main(arguments) == 0
        shown = re.findall(r"^  ([a-z]+) ", capsys.readouterr().out, flags=re.MULTILINE)
        assert shown == list(entry.COMMANDS) == COMMANDS
    assert entry.main(["sing"]) == 2
    assert "unknown command 'sing'; the commands are run, train" in one_line(capsys.readouterr().err)
    assert entry.main(["export", "gone"]) == 2
    assert "no sweep 'gone'" in one_line(capsys.readouterr().err)
    assert entry.main(["list"]) == 0
    assert capsys.readouterr().out == "sqlite:///sweeps.db holds no sweep yet.\n"
    assert entry.main(["convert", "streets", "tiny"]) == 2
    assert "exists already" in one_line(capsys.readouterr().err)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_subcommand_shows_its_full_name(command, capsys):
    with pytest.raises(SystemExit) as exit:
        entry.main([command, "--help"])
    assert exit.value.code == 0
    assert f"usage: tilted-sweeps {command} " in capsys.readouterr().out


def test_help_needs_neither_torch_nor_ray_nor_mlflow():
    """Their import takes many seconds."""
    code = (
        "import sys; from sweeps.__main__ import main\n"
        "try: main(['run', '--help'])\n"
        "except SystemExit: pass\n"
        "print({'torch', 'ray', 'mlflow', 'matplotlib'} & set(sys.modules))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "set()"
