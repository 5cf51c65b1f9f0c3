"""One sweep in one MLflow store: what is there is compared with what should be, and the difference is written."""

import contextlib
import getpass
import json
import logging
import os
import platform
import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from sweeps.reporting.front import front_table, save_front
from sweeps.reporting.mlflow_view import RunView, SweepView
from sweeps.storage.optuna_store import sqlite_file

SWEEP = -1  # where the others have the number of a trial
BATCH = 900  # MLflow takes at most 1000 metrics, parameters and tags at a time
ENDED = ("FINISHED", "FAILED", "KILLED")
KIND = {"mlflow.experimentKind": "custom_model_development"}  # the UI opens as one for training, not for prompts
SOURCE = {"mlflow.source.name": "sweeps/run.py", "mlflow.source.type": "LOCAL"}


@dataclass
class Shown:
    """What a run in MLflow is known to hold."""

    run_id: str
    status: str
    tags: dict[str, str]
    params: set[str]
    marks: set[tuple[str, int]]
    """The steps that were written; see `Step.mark`."""


class Mirror:
    """Reads the store once, then remembers what it wrote. Raises whatever MLflow raises, and is then of no more use."""

    def __init__(self, view: SweepView, uri: str, experiment: str) -> None:
        self.client = connect(uri)
        found = self.client.get_experiment_by_name(experiment)
        self.experiment_id = (
            self.client.create_experiment(experiment, artifact_location(uri), KIND)
            if found is None
            else found.experiment_id
        )
        self.next_drawing = 0.0  # a picture takes a second: at once at first, then for a tenth of the time at most
        self.runs: dict[int, Shown] = {}
        for run in self._find(view.identity):
            trial = run.data.tags.get("trial")
            if trial is None or trial.isdecimal():  # tags can be edited in the UI
                shown = Shown(run.info.run_id, run.info.status, run.data.tags, set(run.data.params), self._marks(run))
                self.runs.setdefault(SWEEP if trial is None else int(trial), shown)

    def show(self, view: SweepView, status: str | None, best_path: Path | None) -> None:
        """Bring all up to date. `status`: of the sweep's run; None: as the record tells, or how it was interrupted."""
        sweep = view.sweep()
        self._write(SWEEP, sweep)
        for number in range(len(view.trials)):
            self.show_trial(view, number)
        before = self.runs[SWEEP].status
        interrupted = sweep.status not in ENDED and before in ENDED
        self._set_status(SWEEP, status or (before if interrupted else sweep.status), sweep.ended)
        self._upload(view, best_path)

    def show_trial(self, view: SweepView, number: int) -> None:
        trial = view.trial(number)
        self._write(number, trial)
        self._set_status(number, trial.status, trial.ended)

    def _find(self, identity: dict[str, str]) -> list[Any]:
        """All runs of the sweep, from the oldest."""
        runs, token = [], None
        while token != "":
            query = f"tags.begun = '{identity['begun']}'"
            page = self.client.search_runs([self.experiment_id], query, order_by=["start_time"], page_token=token)
            runs += [run for run in page if run.data.tags.get("sweep") == identity["sweep"]]
            token = page.token or ""
        return runs

    def _marks(self, run: Any) -> set[tuple[str, int]]:
        names = {"seconds", "hypervolume", "best_miou"} & run.data.metrics.keys()
        history = [metric for name in names for metric in self.client.get_metric_history(run.info.run_id, name)]
        return {(metric.key, metric.step) for metric in history}

    def _write(self, number: int, view: RunView) -> None:
        """Create the run if need be; then tags, parameters and metrics in one call, unless there are very many."""
        from mlflow.entities import Metric, Param, RunTag

        run = self.runs.get(number) or self._create(number, view)
        tags = [RunTag(key, value) for key, value in view.tags.items() if run.tags.get(key) != value]
        params = [Param(key, value) for key, value in view.params.items() if key not in run.params]
        steps = [step for step in view.steps if step.mark not in run.marks]
        batches: list[list[Metric]] = [[]]
        for step in steps:
            if len(batches[-1]) + len(step.values) > BATCH:
                batches.append([])
            batches[-1] += [Metric(key, value, step.time, step.number) for key, value in step.values.items()]
        for metrics in batches[:-1]:
            self.client.log_batch(run.run_id, metrics)
        if batches[-1] or params or tags:
            self.client.log_batch(run.run_id, batches[-1], params, tags)
        run.marks |= {step.mark for step in steps}
        run.params |= view.params.keys()
        run.tags |= view.tags

    def _create(self, number: int, view: RunView) -> Shown:
        tags = {**view.tags, **SOURCE, "mlflow.user": _user()}
        if number != SWEEP:
            tags["mlflow.parentRunId"] = self.runs[SWEEP].run_id
        run = self.client.create_run(self.experiment_id, view.started, tags, view.name)
        self.runs[number] = Shown(run.info.run_id, run.info.status, tags, set(), set())
        return self.runs[number]

    def _set_status(self, number: int, status: str, ended: int | None) -> None:
        run = self.runs[number]
        if run.status == status:
            return
        if status in ENDED:
            self.client.set_terminated(run.run_id, status, ended)
        else:
            self.client.update_run(run.run_id, status)
        run.status = status

    def _upload(self, view: SweepView, best_path: Path | None) -> None:
        """The files of the sweep's run, as far as their source has changed."""
        plan = asdict(view.plan)
        self._upload_files("setup", json.dumps(plan), lambda folder: self._write_setup(plan, folder))
        began = time.monotonic()
        if view.candidates and began >= self.next_drawing:
            table = json.dumps(front_table(view.outcome, view.class_names))
            self._upload_files("front", table, lambda folder: _write_front(view, table, folder))
            self.next_drawing = time.monotonic() + 10 * (time.monotonic() - began)
        if best_path is not None and best_path.is_file():
            best = best_path.read_bytes()
            self._upload_files("best", best.hex(), lambda folder: (folder / best_path.name).write_bytes(best))

    def _write_setup(self, plan: dict[str, Any], folder: Path) -> None:
        """What the sweep started from; the data set is also named the way that MLflow lists data sets."""
        from mlflow.entities import Dataset, DatasetInput

        about = {"python": platform.python_version(), "platform": platform.platform(), "packages": plan["versions"]}
        (folder / "environment.json").write_text(json.dumps(about, indent=2), encoding="utf-8")
        (folder / "space.yaml").write_text(yaml.safe_dump(plan["space"], sort_keys=False, allow_unicode=True), "utf-8")
        path, digest = plan["dataset"], plan["fingerprint"][:12]
        dataset = Dataset(Path(path).name, digest, source_type="local", source=json.dumps({"uri": path}))
        self.client.log_inputs(self.runs[SWEEP].run_id, [DatasetInput(dataset)])

    def _upload_files(self, what: str, source: str, write: Callable[[Path], object]) -> None:
        """Upload what is written into a folder, unless a tag says that this was done before, from the same source."""
        run, tag, digest = self.runs[SWEEP], f"digest.{what}", sha256(source.encode()).hexdigest()[:16]
        if run.tags.get(tag) == digest:
            return
        with TemporaryDirectory() as folder:
            write(Path(folder))
            self.client.log_artifacts(run.run_id, folder)
        self.client.set_tag(run.run_id, tag, digest)
        run.tags[tag] = digest


def connect(uri: str) -> Any:
    """An `MlflowClient` that gives up soon, says little and keeps what it learns to itself.

    MLflow is imported only here: that takes seconds, which `--help` need not wait for. What the user's environment
    says about it stands.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # MLflow's own: 7, which takes minutes
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")  # seconds; MLflow's own: 120
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic", "urllib3.connectionpool"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # errors are raised as well, and that is enough
    _open_database(uri)
    return MlflowClient(uri)


def artifact_location(uri: str) -> str | None:
    """Where a new experiment keeps its files: `mlartifacts` beside an SQLite store; a server decides for itself."""
    file = sqlite_file(uri)
    return None if file is None else (file.absolute().parent / "mlartifacts").as_uri()


def _make_database(file: Path) -> None:
    """Make an SQLite store elsewhere and put it in its place whole: two sweeps that made it at once would spoil it."""
    from mlflow import MlflowClient

    with TemporaryDirectory(prefix=".mlflow-", dir=file.parent) as folder:
        made = Path(folder, file.name)
        MlflowClient(f"sqlite:///{made}").search_experiments()
        with contextlib.suppress(OSError):  # another was quicker; or there are no links, and MLflow makes it
            os.link(made, file)


def _open_database(uri: str) -> None:
    """Raise at once if `uri` is of a database that cannot be opened; MLflow would try for two minutes."""
    from mlflow.store.db.db_types import DATABASE_ENGINES
    from sqlalchemy import create_engine

    if re.split("[:+]", uri)[0] not in DATABASE_ENGINES:
        return
    file = sqlite_file(uri)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)  # as MLflow does
        if not file.exists():
            _make_database(file)
    engine = create_engine(uri)
    try:
        engine.connect().close()
    finally:
        engine.dispose()


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "unknown"  # a container may run as a number without a name


def _write_front(view: SweepView, table: str, folder: Path) -> None:
    save_front(view.outcome, view.class_names, folder)
    (folder / "front.json").write_text(table, encoding="utf-8")
