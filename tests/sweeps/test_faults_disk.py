"""Full disks, stores that are locked or gone, and harmful files: all of them are real, nothing is mocked."""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sweeps import run, train
from sweeps.storage.plan import Plan
from sweeps.storage.record import Record
from tce_core.checkpoint import read_checkpoint
from tce_core.config import TrialConfig
from tce_core.errors import UserError
from tests.sweeps.driver import SCRIPTS, faulty, harmful_checkpoints

pytestmark = faulty
TWO = {"space": {"t": {"choices": [0.5, 2]}}, "trial": {"steps_per_epoch": 8}}
HOLD = """
import sqlite3, sys, time
store = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
store.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"""


class SmallDisk:
    """A small tmpfs in its own mount namespace. Commands with `prefix` enter the namespace; `close` ends it."""

    def __init__(self, folder, megabytes):
        folder.mkdir()
        mount = f"mount -t tmpfs -o size={megabytes}m tmpfs '{folder}' && echo ready && exec cat"
        self.holder = subprocess.Popen(
            ["unshare", "-rm", "sh", "-c", mount], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        if self.holder.stdout.readline() != "ready\n":
            self.close()
            pytest.skip("neither root nor `unshare -rm` may mount a tmpfs here")
        enter = f"nsenter -t {self.holder.pid} -U -m --preserve-credentials env -C {folder.parent}"
        self.prefix = enter.split()
        self.seen = f"/proc/{self.holder.pid}/root{folder}"
        """The path of the folder from outside of the namespace."""

    def fill(self):
        with contextlib.suppress(OSError), open(f"{self.seen}/ballast", "wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass

    def free(self):
        os.unlink(f"{self.seen}/ballast")

    def close(self):
        self.holder.communicate()


@pytest.fixture
def disk(place):
    """Make a small disk: `disk(name, megabytes)` mounts it on a folder of `place`."""
    opened = []

    def make(name, megabytes):
        opened.append(SmallDisk(place.folder / name, megabytes))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


@contextlib.contextmanager
def locked(path):
    """Let another process lock the store."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "locked\n"
    yield
    holder.communicate()


@pytest.mark.soak
def test_a_full_disk_for_checkpoints_ends_the_sweep_and_nothing_is_lost(place, disk):
    """The sweep ends with exit code 75 and one message, and its last checkpoint is whole. With space, it is resumed."""
    runs = disk("runs", 64)
    sweep = place.sweep(TWO, "--epochs", 6, "--confirm", 0, "--no-halving", prefix=runs.prefix)
    sweep.until(lambda: place.epochs() >= 2)
    runs.fill()
    text = sweep.ended(code=75)
    assert "error: " in text.splitlines()[-1]
    assert "trial-0000" in text.splitlines()[-1]
    assert "the checkpoint cannot be written: No space left on device" in text.splitlines()[-1]
    assert len(text.splitlines()) < 6, "one clear message"

    trial = place.record().trials()[-1]
    assert not trial.state.is_finished()
    saved = read_checkpoint(f"{runs.seen}/a/checkpoints/trial-{trial.number:05d}.pt") if trial.epoch else None
    assert saved is None or saved["epoch"] == trial.epoch  # the last checkpoint is whole
    assert not [name for name in os.listdir(f"{runs.seen}/a/checkpoints") if name.endswith(".partial")]

    runs.free()
    before = place.record().trials()
    place.resume(prefix=runs.prefix).ended()
    place.nothing_lost(before, planned=2)


@pytest.mark.soak
def test_a_full_disk_for_the_study_ends_the_sweep_and_nothing_is_lost(place, disk):
    """The sweep ends with exit code 75 and names the storage. With space, it is resumed."""
    study = disk("study", 1)
    flags = ("--epochs", 12, "--confirm", 0, "--no-halving", "--storage", "sqlite:///study/sweeps.db")
    sweep = place.sweep(TWO, *flags, prefix=study.prefix)

    def look():
        """Copy the file here, because SQLite cannot open it in another namespace. Return the recorded epochs."""
        with contextlib.suppress(FileNotFoundError):
            shutil.copy(f"{study.seen}/sweeps.db", place.folder)
        return place.epochs()

    sweep.until(lambda: look() >= 2)
    study.fill()
    last = sweep.ended(code=75).splitlines()[-1]
    assert last.startswith("error: --storage sqlite:///study/sweeps.db: database or disk is full; what was recorded")

    study.free()
    assert look() >= 2
    before = place.record().trials()
    assert not before[-1].state.is_finished()
    again = ("--resume", "a", "--concurrent", 1, "--storage", "sqlite:///study/sweeps.db")
    place.start(SCRIPTS / "run.py", *again, prefix=study.prefix).ended()
    look()
    place.nothing_lost(before, planned=2)


@pytest.mark.soak
def test_a_full_disk_for_mlflow_does_not_end_the_sweep(place, disk):
    """The sweep completes with one warning. With space, `tracking.py` writes the missing part to MLflow."""
    shown = disk("shown", 24)
    flags = ("--epochs", 3, "--confirm", 0, "--no-halving", "--tracking-uri", "sqlite:///shown/mlflow.db")
    sweep = place.sweep(TWO, *flags, prefix=shown.prefix)
    sweep.until(lambda: place.epochs() >= 1)
    shown.fill()
    text = sweep.ended()
    assert text.count("MLflow lags behind, the record does not") == 1
    record = place.completely_recorded(planned=2)

    shown.free()
    catch_up = ("-m", "sweeps", "track", "a", "--tracking-uri", "sqlite:///shown/mlflow.db")
    place.start(*catch_up, prefix=shown.prefix).ended()
    shutil.copy(f"{shown.seen}/mlflow.db", place.folder / "mlflow.db")  # `completely_shown` reads this copy
    place.completely_shown(record)


@pytest.mark.soak
def test_a_sweep_waits_for_a_store_that_is_locked_or_gone_and_then_ends(place):
    """A short lock has no effect. A long lock or a missing file ends the sweep, which is resumed without losses."""
    store = place.folder / "sweeps.db"
    space, patience = {**TWO, "trial": {"steps_per_epoch": 8}}, {"TILTED_SWEEPS_STORE_WAIT": "6"}
    sweep = place.sweep(space, "--epochs", 20, "--confirm", 0, "--no-halving", env=patience)
    sweep.until(lambda: place.epochs() >= 1)
    with locked(store):
        time.sleep(2)  # shorter than the wait, so it has no effect
    known = place.epochs()
    sweep.until(lambda: place.epochs() >= known + 2)
    with locked(store):
        began = time.monotonic()
        last = sweep.ended(code=75).splitlines()[-1]
        assert time.monotonic() - began > 6
    assert last == "error: --storage sqlite:///sweeps.db: database is locked, for 6 s"
    before = place.record().trials()
    assert not any(trial.state.is_finished() for trial in before[-1:])

    sweep = place.resume(env=patience)
    known = place.epochs()
    sweep.until(lambda: place.epochs() > known)
    store.rename(place.folder / "elsewhere.db")
    last = sweep.ended(code=75).splitlines()[-1]
    assert last == ("error: --storage sqlite:///sweeps.db: sweeps.db is gone, or another file is in its place, for 6 s")
    assert not store.exists()
    (place.folder / "elsewhere.db").rename(store)

    place.resume(env=patience).ended()
    place.nothing_lost(before, planned=2)


def begun(place, name="a"):
    """Create the record of a sweep without training anything."""
    space = {"space": TWO["space"], "trial": {"epochs": 2}}
    plan = Plan(
        name, "worst_iou", 0.01, "grid", 0, 2, 0, str(place.data.path), place.data.fingerprint, space, "x", 1, 1, 0.0
    )
    return Record.create(place.storage, plan)


def test_resuming_a_sweep_in_a_locked_store_names_the_store(place):
    begun(place)
    with locked(place.folder / "sweeps.db"):
        text = place.resume(env={"TILTED_SWEEPS_STORE_WAIT": "1"}).ended(code=75)
    assert text == "error: --storage sqlite:///sweeps.db: database is locked, for 1 s\n"


def test_a_checkpoint_that_would_run_code_is_refused_by_train(place):
    """A resumed sweep reads checkpoints with the same function; see test_faults_workers."""
    for file in harmful_checkpoints(place, place.folder / "weights", "trial-00000.pt", "other.pt"):
        file.rename(file.with_name("trial-00000.pt"))
        with pytest.raises(UserError, match="not a checkpoint that can be read safely"):
            train._epochs_done(place.folder / "weights", TrialConfig())
    assert not (place.folder / "harm").exists()


@pytest.mark.parametrize(
    ("main", "arguments"),
    [
        (run.main, ("--dataset", "tiny", "--space", "harm.yaml")),
        (run.main, ("--dataset", "tiny", "--warm-start", "harm.yaml")),
        (run.main, ("--dataset", "tiny", "--set", "trial.lr=!!python/object/apply:os.mkdir [harm]")),
        (train.main, ("harm.yaml",)),
    ],
    ids=["space", "warm start", "override", "exported file"],
)
def test_yaml_that_would_run_code_is_refused(place, monkeypatch, main, arguments):
    monkeypatch.chdir(place.folder)
    Path("harm.yaml").write_text("format: !!python/object/apply:os.mkdir [harm]\n")
    with pytest.raises(UserError, match=r"not YAML|not a YAML value"):
        main(arguments)
    assert not Path("harm").exists()


@pytest.mark.parametrize(
    ("table", "key", "value"),
    [
        ("study_user_attributes", "plan", '"a string"'),
        ("study_user_attributes", "plan", "[1, 2]"),
        ("study_user_attributes", "plan", '{"name": "a"}'),
        ("trial_user_attributes", "config", '"a string"'),
        ("trial_user_attributes", "role", "null"),
        ("trial_user_attributes", "epoch:0001", "[1]"),
        ("trial_user_attributes", "ended", "5"),
    ],
)
def test_a_study_with_attributes_of_wrong_types_is_refused(place, table, key, value):
    record = begun(place)
    record.begin("search", "t=0.5", record.plan.space["trial"], {})
    with contextlib.closing(sqlite3.connect(place.folder / "sweeps.db")) as store, store:
        owner = "study_id" if table.startswith("study") else "trial_id"
        store.execute(f"DELETE FROM {table} WHERE key = ?", (key,))
        store.execute(f"INSERT INTO {table} ({owner}, key, value_json) VALUES (1, ?, ?)", (key, value))
    with pytest.raises(UserError, match=r"study 'a'|sweep 'a'"):
        place.record()
