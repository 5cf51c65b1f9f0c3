"""A comparison as a user runs it: killed, continued, and its tables: real Ray, Optuna and MLflow."""

import csv
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from sweeps.reporting.compared import Compared
from sweeps.reporting.comparison import FILES
from sweeps.reporting.tracking import EXPERIMENT
from sweeps.storage.folder import SweepFolder, counts_path
from sweeps.strategy.cross_fit import choose_tau
from tce_core.image_counts import read_counts
from tce_core.iou import iou_from_counts
from tests.sweeps.driver import faulty
from tests.sweeps.searching import TINY

pytestmark = faulty
METHODS = "mcce,class_tilt@t=1,mcce+adjusted"
ARGUMENTS = ("-m", "sweeps", "compare", "--dataset", "tiny", "--methods", METHODS, "--seeds", 2, "--epochs", 2)


def test_a_comparison_over_folds_counts_each_image_once(place):
    """Each model's counts are of images that it has not seen; an adjustment is chosen on the other fold."""
    (place.folder / "tiny" / "test.arrow").unlink()
    flags = ("--methods", "mcce,mcce+adjusted", "--seeds", 1, "--epochs", 2, "--folds", 2, "--miou-allowance", 1)
    settings = ("--name", "a", "--set", *TINY, "trial.steps_per_epoch=8", "trial.lr=0.05")
    text = place.start(*ARGUMENTS[:5], *flags, *settings).ended()
    assert "Each image of train and val was held out once, in 2 folds" in " ".join(text.split())
    assert "Comparison 'a': 2 methods with 1 seeds in 2 folds each" in text
    assert "was chosen on the other folds" in " ".join(text.split())
    record, folder = place.record(), SweepFolder("a", place.folder / "runs")
    assert [trial.config["fold"] for trial in record.trials()] == ["1/2", "2/2"]
    folds = [read_counts(counts_path(folder.counts, trial.number))["val"] for trial in record.trials()]
    assert sorted(name for fold in folds for name in fold.images) == sorted(
        f"{part}_{i:05d}" for part, count in (("train", 16), ("val", 8)) for i in range(count)
    )
    plain, adjusted = (results.models[0] for results in Compared.of(record, folder).results)
    np.testing.assert_allclose(plain.scores.iou, iou_from_counts(sum(fold.pixels[0].sum(0) for fold in folds)))
    chosen = [choose_tau(trial.last.curve, record.plan.objectives) for trial in record.trials()]
    held_out = [fold.pixels[tau].sum(0) for fold, tau in zip(folds, reversed(chosen), strict=True)]
    np.testing.assert_allclose(adjusted.scores.iou, iou_from_counts(sum(held_out)))


@pytest.mark.slow
def test_a_comparison_that_is_killed_ends_with_its_tables(place):
    arguments = (*ARGUMENTS, "--name", "a", "--concurrent", 1, "--set", *TINY, "trial.steps_per_epoch=2")
    first = place.start(*arguments)
    first.until(lambda: place.epochs() >= 3)
    first.kill_driver()
    second = place.start(*arguments)
    second.until(lambda: place.epochs() >= 4)
    second.interrupt()
    assert "Tables so far  runs/a/comparison/comparison.md" in second.ended(130)
    page = (place.folder / "runs" / "a" / "comparison" / "comparison.md").read_text()
    assert "Not finished: each method is to have 2 seeds." in page
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
