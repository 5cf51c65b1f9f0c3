"""`sweeps.reporting.mlflow_pages`: the printed addresses, as text and in a real browser with a fresh profile."""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import replace

import pytest

from sweeps.reporting.mlflow_pages import LOCAL_UI, ui_address
from tests.sweeps import shown
from tests.sweeps.browser import BROWSER, seen
from tests.sweeps.shown import Sweep


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("sqlite:///mlflow.db", LOCAL_UI),
        ("postgresql://user:secret@host/db", LOCAL_UI),
        ("http://host:5000/", "http://host:5000"),
        ("https://user:secret@host/mlflow", "https://host/mlflow"),
    ],
)
def test_the_ui_of_a_store_without_its_password(uri, address):
    assert ui_address(uri) == address


def test_the_addresses_name_the_sweeps_own_run(uri, storage):
    sweep = Sweep(storage).run()
    tracking = sweep.tracking(uri)
    assert tracking.pages == {}
    tracking.sync()
    run = tracking.mirror.runs[-1].run_id
    assert tracking.pages == {
        "run": f"{LOCAL_UI}/#/experiments/1/runs/{run}?workflowType=machine_learning",
        "trials": f"{LOCAL_UI}/#/experiments/1/runs?viewStateShareKey={run}&workflowType=machine_learning",
    }


@pytest.mark.parametrize(
    ("lead", "metric", "ascending"),
    [
        ("worst_iou", "worst_iou", False),
        ("std_iou", "std_iou", True),
        ("iou:traffic/light", "iou/traffic_light_2", False),
        ("iou:rider", "iou/rider", False),
    ],
)
def test_the_table_of_trials_is_ordered_by_the_leading_measure(uri, storage, monkeypatch, lead, metric, ascending):
    given = replace(shown.plan(), objective=lead, classes=shown.NAMES)
    monkeypatch.setattr(shown, "plan", lambda: given)
    sweep = Sweep(storage).run()
    assert sweep.tracking(uri).sync()
    tags = shown.connect(uri).get_experiment_by_name(shown.EXPERIMENT).tags
    (view,) = (json.loads(text) for key, text in tags.items() if key.startswith("mlflow.sharedViewState."))
    assert (view["orderByKey"], view["orderByAsc"]) == (f"metrics.`{metric}`", ascending)
    (baseline,) = shown.runs(uri, "tags.role = 'baseline'")
    assert metric in baseline.data.metrics


@pytest.fixture
def server(uri, tmp_path):
    """The address of a real MLflow server over the test's store."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri, "--port", str(port), "--workers", "1"]
    with open(tmp_path / "server.txt", "w") as output:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=output, stderr=output, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
                break
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, 15)
        process.wait(timeout=30)


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs Chromium, such as Debian's package")
def test_a_browser_lands_on_the_sweep_and_on_its_trials_with_their_measures(uri, storage, server, tmp_path):
    sweep = Sweep(storage).run()
    other = Sweep(f"sqlite:///{tmp_path}/elsewhere.db", name="streets-2")
    other.train(other.begin("baseline", "stranger"), 0.3, 0.1)
    assert other.tracking(uri).sync()
    tracking = sweep.tracking(uri)
    assert tracking.sync()
    run = seen(tracking.pages["run"].replace(LOCAL_UI, server), tmp_path / "one")
    assert "streets-1" in run
    assert "Recommended:" in run
    trials = seen(tracking.pages["trials"].replace(LOCAL_UI, server), tmp_path / "two")
    for text in ("000 mcce", "002 t=1", "006 t=1 seed=1", "worst_iou", "miou", "bottom25_iou"):
        assert text in trials, text
    assert "stranger" not in trials  # another sweep's
    numbers = re.findall(r"^(\d{3}) ", trials, flags=re.M)
    assert numbers.index("002") < numbers.index("000")  # by the leading measure, 0.30 before 0.10
