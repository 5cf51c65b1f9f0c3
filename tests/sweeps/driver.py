"""What the tests of faults share: a folder in which real sweeps are started, disturbed and looked at."""

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
from sweeps.strategy.search import Search
from tce_core.data.streets.dataset import make_streets
from tests.sweeps.commands import SCRIPTS, SPACE, Command

faulty = [  # marks of every such test
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="sessions, SIGKILL and /proc"),
]
LEFT_OVER = 60  # seconds after which no process may be left; they need far fewer


class Process(Command):
    """A command in a session of its own, as a terminal would start it."""

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
                # A shell's background job ignores Ctrl-C, and what it starts would too.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )

    def ended(self, code=0):
        """What it printed, once it has ended with this exit code, no traceback, and no process left over."""
        assert self.process.wait() == code, self.text()
        text = self.text()
        assert "Traceback" not in text
        self.gone()
        return text

    def gone(self):
        """Whatever it started ends by itself."""
        deadline = time.monotonic() + LEFT_OVER
        while self.members() and time.monotonic() < deadline:
            time.sleep(0.2)
        assert self.members() == []

    def interrupt(self):
        """Ctrl-C, as a terminal sends it: to every process of the group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def kill_driver(self):
        """SIGKILL for the command alone."""
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
        """Begin a sweep; `space` is a search space, or what is to be changed in the usual one."""
        merged = {**yaml.safe_load(SPACE), **space}
        merged["trial"] = {**yaml.safe_load(SPACE)["trial"], **space.get("trial", {})}
        (self.folder / f"{name}.yaml").write_text(yaml.safe_dump(merged, sort_keys=False))
        flags = ("--dataset", "tiny", "--space", f"{name}.yaml", "--name", name, "--concurrent", 1, *flags)
        return self.start(script, *flags, **how)

    def resume(self, name="a", **how):
        return self.start(SCRIPTS / "run.py", "--resume", name, "--concurrent", 1, **how)

    def catch_up(self, name="a"):
        """Write the sweep into MLflow from the record alone."""
        self.start(SCRIPTS / "tracking.py", name).ended()

    @property
    def storage(self):
        return f"sqlite:///{self.folder}/sweeps.db"

    def record(self, name="a"):
        return Record.load(self.storage, name)

    def epochs(self):
        """How many are recorded, of all sweeps together; without waiting for anybody's lock."""
        with contextlib.suppress(sqlite3.Error), contextlib.closing(self._look()) as store:
            query = "SELECT count(*) FROM trial_user_attributes WHERE key LIKE 'epoch:%'"
            return store.execute(query).fetchone()[0]
        return 0

    def _look(self):
        return sqlite3.connect(f"file:{self.folder}/sweeps.db?mode=ro", uri=True, timeout=0.1)

    def completely_recorded(self, planned, name="a"):
        """The record, in which exactly the `planned` trials have ended, with every epoch once and in order."""
        record = self.record(name)
        trials = record.trials()
        assert [trial.number for trial in trials] == list(range(planned))
        assert all(trial.state.is_finished() for trial in trials), [trial.state for trial in trials]
        assert record.finished
        for trial in trials:
            assert [result.epoch for result in trial.results] == list(range(1, trial.epoch + 1))
            assert trial.ended is not None
        return record

    def nothing_lost(self, before, planned):
        """The record and MLflow are complete, and every epoch that `before` held is what it was."""
        record = self.completely_recorded(planned)
        for trial in before:
            assert record[trial.number].results[: trial.epoch] == trial.results
        self.completely_shown(record)

    def completely_shown(self, record):
        """MLflow: one run for the sweep, one nested in it for each trial, no step twice, everything there."""
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
        """The one run of a sweep, and those nested in it by the numbers of their trials."""
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
    """The configurations that an unbroken sweep with one slot proposes, given what the trials came to."""
    search = Search(record)
    seen = search.observations.all()
    return [search.proposer.next(seen[:place]).params for place in range(len(seen))]


def measured(record):
    """What each trial was and came to, times aside."""
    return [
        (t.role, t.label, t.config, t.params, t.state, t.values, t.reason, [(r.train_loss, r.iou) for r in t.results])
        for t in record.trials()
    ]


def listening(pids):
    """The addresses, not on loopback, at which these processes accept connections."""
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
        mapped = "0000000000000000FFFF0000" + "0100007F"  # 127.0.0.1 in IPv6's clothes
        mine = [row[1] for row in rows if row[3] == "0A" and row[9] in inodes]
        found += [address.partition(":")[0] not in (loopback, mapped) and address for address in mine]
    assert found, "nothing listens at all: not looked for in the right place"
    return [address for address in found if address]


class Harmful:
    """Leaves a folder behind if it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def harmful_checkpoints(place, folder, bare, zipped):
    """Two files that would make the folder `harm`: a bare pickle, and one in torch's own format."""
    folder.mkdir(parents=True, exist_ok=True)
    harm = Harmful(place.folder / "harm")
    (folder / bare).write_bytes(pickle.dumps(harm))
    torch.save({"config": "{}", "epoch": 1, "model": harm}, folder / zipped)
    return folder / bare, folder / zipped
