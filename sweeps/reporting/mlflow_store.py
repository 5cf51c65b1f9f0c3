"""One sweep in one MLflow store: compares what the store holds with a `SweepView` and writes the difference."""

import getpass
import json
import platform
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from sweeps.reporting.front import front_table, save_front, save_front_page
from sweeps.reporting.mlflow_connection import artifact_location, connect
from sweeps.reporting.mlflow_pages import run_page, shared_view, trials_page
from sweeps.reporting.mlflow_view import RunView, SweepView

SWEEP = -1  # key of the sweep's own run in `Mirror.runs`; the other keys are trial numbers
BATCH = 900  # metrics per call; MLflow accepts at most 1000 metrics, parameters and tags in one call
ENDED = ("FINISHED", "FAILED", "KILLED")
KIND = {"mlflow.experimentKind": "custom_model_development"}  # the UI then opens the training view, not the prompt view
SOURCE = {"mlflow.source.name": "sweeps/run.py", "mlflow.source.type": "LOCAL"}


@dataclass
class Shown:
    """The content of one MLflow run, as far as this process has read or written it."""

    run_id: str
    status: str
    tags: dict[str, str]
    params: set[str]
    marks: set[tuple[str, int]]
    """The marks of the steps that MLflow holds, see `Step.mark`."""


class Mirror:
    """Reads the runs of one sweep from MLflow once, then remembers every write.

    All methods raise whatever MLflow raises. After an exception, discard the object.
    """

    def __init__(self, view: SweepView, uri: str, experiment: str) -> None:
        self.client, self.uri = connect(uri), uri
        found = self.client.get_experiment_by_name(experiment)
        self.experiment_id = (
            self.client.create_experiment(experiment, artifact_location(uri), KIND)
            if found is None
            else found.experiment_id
        )
        self.experiment_tags = {} if found is None else dict(found.tags)
        self.next_drawing = 0.0  # on the monotonic clock; a drawing takes about 1 s, all at most 10% of the time
        self.marked: set[int] = set()
        """The trials that MLflow shows on the front or as recommended."""
        self.runs: dict[int, Shown] = {}
        for run in self._find(view.identity):
            trial = run.data.tags.get("trial")
            if trial is None or trial.isdecimal():  # skips a tag that somebody edited in the UI
                shown = Shown(run.info.run_id, run.info.status, run.data.tags, set(run.data.params), self._marks(run))
                self.runs.setdefault(SWEEP if trial is None else int(trial), shown)

    def show(self, view: SweepView, status: str | None, best_path: Path | None, ended: int | None = None) -> None:
        """Write everything that differs: all runs, their status and the files.

        Args:
            view: the state to show.
            status: of the sweep's run. None: as in the record, but an interrupted sweep keeps its status in MLflow.
            best_path: the exported configuration; uploaded if the file exists.
            ended: the only trial that has ended since the last call. Then only its run and those of the trials that
                are or were on the front can differ, and the others are not compared. None: any run may differ.
        """
        sweep = view.sweep()
        self._write(SWEEP, sweep)
        self._share(view)
        marked = view.front | ({view.choice.trial.number} if view.choice is not None else set())
        for number in range(len(view.trials)) if ended is None else sorted(marked | self.marked | {ended}):
            self.show_trial(view, number)
        self.marked = marked
        before = self.runs[SWEEP].status
        interrupted = sweep.status not in ENDED and before in ENDED
        self._set_status(SWEEP, status or (before if interrupted else sweep.status), sweep.ended)
        self._upload(view, best_path)

    def show_trial(self, view: SweepView, number: int) -> None:
        """Write everything that differs in the run of one trial."""
        trial = view.trial(number)
        self._write(number, trial)
        self._set_status(number, trial.status, trial.ended)

    def _share(self, view: SweepView) -> None:
        """Store the view of the sweep's trials that `pages` points to."""
        key, value = shared_view(self.runs[SWEEP].run_id, view.identity, view.lead, view.lead_key)
        if self.experiment_tags.get(key) != value:
            self.client.set_experiment_tag(self.experiment_id, key, value)
            self.experiment_tags[key] = value

    def pages(self) -> dict[str, str]:
        """The addresses in MLflow's UI of the sweep's `run` and of the table of its `trials`."""
        place = self.uri, self.experiment_id, self.runs[SWEEP].run_id
        return {"run": run_page(*place), "trials": trials_page(*place)}

    def _find(self, identity: dict[str, str]) -> list[Any]:
        """Return all runs of the sweep, the oldest first."""
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
        """Create the run if it is missing, then write what differs in one call (several for over `BATCH` metrics)."""
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
        """Upload those files of the sweep's run whose source has changed."""
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
        if best_path is not None and view.record.finished:
            for name in ("comparison", "counts"):
                self._upload_folder(best_path.parent / name)
            report = best_path.with_name("report.html")
            if report.is_file():
                self._upload_files("report", _state([report]), lambda folder: shutil.copy(report, folder))

    def _write_setup(self, plan: dict[str, Any], folder: Path) -> None:
        """Write the environment and the search space into `folder`, and log the data set as an MLflow input."""
        from mlflow.entities import Dataset, DatasetInput

        about = {"python": platform.python_version(), "platform": platform.platform(), "packages": plan["versions"]}
        (folder / "environment.json").write_text(json.dumps(about, indent=2), encoding="utf-8")
        (folder / "space.yaml").write_text(yaml.safe_dump(plan["space"], sort_keys=False, allow_unicode=True), "utf-8")
        path, digest = plan["dataset"], plan["fingerprint"][:12]
        dataset = Dataset(Path(path).name, digest, source_type="local", source=json.dumps({"uri": path}))
        self.client.log_inputs(self.runs[SWEEP].run_id, [DatasetInput(dataset)])

    def _upload_files(self, what: str, source: str, write: Callable[[Path], object]) -> None:
        """Upload the files that `write` creates, unless a tag shows that files from the same `source` are there."""
        run, tag, digest = self.runs[SWEEP], f"digest.{what}", sha256(source.encode()).hexdigest()[:16]
        if run.tags.get(tag) == digest:
            return
        with TemporaryDirectory() as folder:
            write(Path(folder))
            self.client.log_artifacts(run.run_id, folder)
        self.client.set_tag(run.run_id, tag, digest)
        run.tags[tag] = digest

    def _upload_folder(self, folder: Path) -> None:
        """Upload the files of a folder into one of the same name, if there are any."""
        files = sorted(path for path in folder.glob("*.*") if path.is_file())
        if files:
            self._upload_files(folder.name, _state(files), lambda copy: shutil.copytree(folder, copy / folder.name))


def _state(files: Sequence[Path]) -> str:
    """What changes when one of these files is written again."""
    return json.dumps([(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files])


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "unknown"  # a container may run under a user id that has no name


def _write_front(view: SweepView, table: str, folder: Path) -> None:
    save_front(view.outcome, view.class_names, folder)
    save_front_page(view.outcome, view.class_names, folder)  # while the sweep runs there is no report
    (folder / "front.json").write_text(table, encoding="utf-8")
