"""Shared by the tests of faults: a folder in which real sweeps are started, disturbed and examined."""

import contextlib
import os
import pickle
import re
import signal
import sqlite3
import subprocess
import sys
import time

import pytest
import torch
import yaml
from mlflow import MlflowClient

from sweeps.reporting.tracking import EXPERIMENT
from sweeps.storage.record import Record
from sweeps.strategy.outcome import Outcome
from sweeps.strategy.search import Search
from tce_core.data.streets.dataset import make_streets
from tests.sweeps.commands import SCRIPTS, SPACE, Command

faulty = [  # the marks of every test of faults
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="sessions, SIGKILL and /proc"),
]
LEFT_OVER = 60  # seconds after which no process may be left; usually they need far fewer


class Process(Command):
    """A command in its own session, as a terminal would start it."""

    def __init__(self, folder, *arguments, env=None, prefix=()):
        self.output = folder / f"output-{len(list(folder.glob('output-*')))}.txt"
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                [*map(str, prefix), sys.executable, *map(str, arguments)],
                cwd=folder,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **(env or {})},
                # A shell's background job ignores Ctrl-C, and so would every process that it starts.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )

    def ended(self, code=0):
        """Wait for the end and return the output. Check the exit code, and that no traceback and no process is left."""
        assert self.process.wait() == code, self.text()
        text = self.text()
        assert "Traceback" not in text
        self.gone()
        return text

    def gone(self):
        """Wait until all processes that it started have ended by themselves."""
        deadline = time.monotonic() + LEFT_OVER
        while self.members() and time.monotonic() < deadline:
            time.sleep(0.2)
        assert self.members() == []

    def interrupt(self):
        """Send Ctrl-C as a terminal does: to every process of the group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def kill_driver(self):
        """Kill only the command, not what it started."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Place:
    """A folder with a tiny data set in which sweeps run."""

    def __init__(self, folder):
        self.folder = folder
        self.data = make_streets(folder / "tiny", 0, 16, 8, 8, (48, 64))
        self.started = []

    def start(self, script, *arguments, **how):
        self.started.append(Process(self.folder, script, *arguments, **how))
        return self.started[-1]

    def sweep(self, space, *flags, name="a", script=SCRIPTS / "run.py", **how):
        """Begin a sweep. `space` changes the usual search space `SPACE`."""
        merged = {**yaml.safe_load(SPACE), **space}
        merged["trial"] = {**yaml.safe_load(SPACE)["trial"], **space.get("trial", {})}
        (self.folder / f"{name}.yaml").write_text(yaml.safe_dump(merged, sort_keys=False))
        flags = ("--dataset", "tiny", "--space", f"{name}.yaml", "--name", name, "--concurrent", 1, *flags)
        return self.start(script, *flags, **how)

    def resume(self, name="a", **how):
        return self.start(SCRIPTS / "run.py", "--resume", name, "--concurrent", 1, **how)

    def catch_up(self, name="a"):
        """Write the sweep into MLflow from the record, with `tracking.py`."""
        self.start("-m", "sweeps", "track", name).ended()

    @property
    def storage(self):
        return f"sqlite:///{self.folder}/sweeps.db"

    def record(self, name="a"):
        return Record.load(self.storage, name)

    def epochs(self):
        """The number of recorded epochs of all sweeps together. It does not wait for a lock."""
        with contextlib.suppress(sqlite3.Error), contextlib.closing(self._look()) as store:
            query = "SELECT count(*) FROM trial_user_attributes WHERE key LIKE 'epoch:%'"
            return store.execute(query).fetchone()[0]
        return 0

    def _look(self):
        return sqlite3.connect(f"file:{self.folder}/sweeps.db?mode=ro", uri=True, timeout=0.1)

    def planned(self, searched, name="a"):
        """The trials of a sweep with one baseline and `--confirm 1`; a baseline that wins is not confirmed twice."""
        record = self.record(name)
        return searched + (2 if Outcome(record, record.plan.objectives).choose().is_baseline else 3)

    def completely_recorded(self, planned, name="a"):
        """Check and return the record: exactly `planned` trials have ended, with every epoch once and in order."""
        record = self.record(name)
        trials = record.trials()
        assert [trial.number for trial in trials] == list(range(planned))
        assert all(trial.state.is_finished() for trial in trials), [trial.state for trial in trials]
        assert record.finished
        for trial in trials:
            assert [result.epoch for result in trial.results] == list(range(trial.start + 1, trial.epoch + 1))
            assert trial.ended is not None
        return record

    def nothing_lost(self, before, planned):
        """Check that record and MLflow are complete, and that the epochs in `before` are unchanged."""
        record = self.completely_recorded(planned)
        for trial in before:
            assert record[trial.number].results[: trial.epoch] == trial.results
        self.completely_shown(record)

    def completely_shown(self, record):
        """Check MLflow: one run for the sweep, one nested run for each trial, every epoch, and no step twice."""
        parent, nested = self.mlflow(record.plan.name)
        assert parent.info.status == "FINISHED"
        assert sorted(nested) == [trial.number for trial in record.trials()]
        client = MlflowClient(f"sqlite:///{self.folder}/mlflow.db")
        for run in (parent, *nested.values()):
            for metric in run.data.metrics:
                steps = [one.step for one in client.get_metric_history(run.info.run_id, metric)]
                assert len(steps) == len(set(steps)), (run.info.run_name, metric, steps)
        for trial in record.trials():
            run = nested[trial.number]
            assert run.data.tags["state"] == trial.state.name
            assert run.info.status == ("FAILED" if trial.state.name == "FAIL" else "FINISHED")
            if trial.results:
                history = client.get_metric_history(run.info.run_id, "miou")
                assert sorted(one.step for one in history) == [result.epoch for result in trial.results]

    def mlflow(self, name):
        """The one run of a sweep, and its nested runs by trial number."""
        client = MlflowClient(f"sqlite:///{self.folder}/mlflow.db")
        experiment = client.get_experiment_by_name(EXPERIMENT)
        runs = client.search_runs([experiment.experiment_id], f"tags.sweep = '{name}'")
        (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
        nested = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
        assert len(nested) == len(runs) - 1
        by_number = {int(run.data.tags["trial"]): run for run in nested}
        assert len(by_number) == len(nested)
        return parent, by_number


def replayed(record):
    """The configurations that an uninterrupted sweep with one slot proposes, given the results of these trials."""
    search = Search(record)
    seen = search.observations.all()
    return [search.proposer.next(seen[:place]).params for place in range(len(seen))]


def measured(record):
    """The settings and results of each trial, without times."""
    return [
        (t.role, t.label, t.config, t.params, t.state, t.values, t.reason, [(r.train_loss, r.iou) for r in t.results])
        for t in record.trials()
    ]


def listening(pids):
    """The addresses outside of loopback at which these processes accept connections."""
    inodes = set()
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for entry in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    inodes |= set(re.findall(r"^socket:\[(\d+)\]$", os.readlink(f"/proc/{pid}/fd/{entry}")))
    found = []
    for table, loopback in (("tcp", "0100007F"), ("tcp6", "0" * 24 + "01000000")):
        with open(f"/proc/net/{table}", encoding="ascii") as lines:
            rows = [line.split() for line in lines][1:]
        mapped = "0000000000000000FFFF0000" + "0100007F"  # 127.0.0.1 as an IPv6 address
        mine = [row[1] for row in rows if row[3] == "0A" and row[9] in inodes]
        found += [address.partition(":")[0] not in (loopback, mapped) and address for address in mine]
    assert found, "nothing listens at all: not looked for in the right place"
    return [address for address in found if address]


class Harmful:
    """An object that creates a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def harmful_checkpoints(place, folder, bare, zipped):
    """Two files that create the folder `harm` when they are unpickled: a bare pickle, and one in torch's format."""
    folder.mkdir(parents=True, exist_ok=True)
    harm = Harmful(place.folder / "harm")
    (folder / bare).write_bytes(pickle.dumps(harm))
    torch.save({"config": "{}", "epoch": 1, "model": harm}, folder / zipped)
    return folder / bare, folder / zipped
