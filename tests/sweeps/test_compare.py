"""A comparison as a user runs it: killed, continued, and its tables: real Ray, Optuna and MLflow."""

import csv
from pathlib import Path

import numpy as np
from mlflow import MlflowClient

from sweeps.reporting.compared import Compared
from sweeps.reporting.comparison import FILES
from sweeps.reporting.tracking import EXPERIMENT
from sweeps.storage.folder import SweepFolder
from tce_core.iou import iou_from_counts
from tests.sweeps.driver import faulty
from tests.sweeps.searching import TINY

pytestmark = faulty
METHODS = "mcce,class_tilt@t=1,mcce+adjusted"
ARGUMENTS = ("-m", "sweeps", "compare", "--dataset", "tiny", "--methods", METHODS, "--seeds", 2, "--epochs", 2)


def test_a_comparison_that_is_killed_ends_with_its_tables(place):
    arguments = (*ARGUMENTS, "--name", "a", "--concurrent", 1, "--set", *TINY, "trial.steps_per_epoch=2")
    first = place.start(*arguments)
    first.until(lambda: place.epochs() >= 3)
    first.kill_driver()
    text = place.start(*arguments).ended()
    assert "Comparison 'a': 3 methods with 2 seeds each" in text
    assert "Gain over mcce" in text
    record = place.record()
    assert [(t.label, t.trained, t.complete) for t in record.trials()] == [
        (label, 2, True) for label in ("mcce", "class_tilt@t=1", "mcce seed=1", "class_tilt@t=1 seed=1")
    ]
    compared = Compared.of(record, SweepFolder("a", place.folder / "runs"))
    assert compared.split == "test"
    for results in compared.results:
        for model in results.models:
            assert model.counts is not None
            np.testing.assert_allclose(iou_from_counts(model.counts.sum(0)), model.scores.iou)
    folder = place.folder / "runs" / "a" / "comparison"
    rows = list(csv.DictReader((folder / "scores.csv").open()))
    assert [row["method"] for row in rows] == [
        "mcce",
        "mcce",
        "class_tilt@t=1",
        "class_tilt@t=1",
        "mcce+adjusted",
        "mcce+adjusted",
    ]
    assert not (place.folder / "runs" / "a" / "best.yaml").exists()
    client = MlflowClient(f"sqlite:///{place.folder}/mlflow.db")
    (shown,) = client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id], "tags.role = 'sweep'")
    assert shown.info.status == "FINISHED"
    for name, files in {"comparison": set(FILES), "counts": {f"trial-0000{n}.parquet" for n in range(4)}}.items():
        assert {Path(file.path).name for file in client.list_artifacts(shown.info.run_id, name)} == files
    again = place.start(*arguments).ended()
    assert "Gain over mcce" in again
    assert place.epochs() == 8
