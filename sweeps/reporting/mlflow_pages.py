"""Addresses in MLflow's UI that open on a sweep's runs.

MLflow 3 opens in the mode for prompts, where training runs are hidden, and shows no measure as a column. A parameter of
the address selects the mode. A *shared view*, a tag of the experiment, selects the runs, the columns and the order.
"""

import json
import re
from collections.abc import Mapping

from sweeps.storage.measures import Measure

LOCAL_UI = "http://127.0.0.1:5000"
"""Where `mlflow ui` listens by default."""
TRAINING = "workflowType=machine_learning"
COLUMNS = (
    *(f"metrics.`{name}`" for name in ("miou", "worst_iou", "bottom25_iou", "std_iou")),
    *(f"tags.`{name}`" for name in ("worst_class", "role", "state", "epochs", "pareto", "recommended")),
    *(f"params.`{name}`" for name in ("loss", "t", "gamma", "lr")),
)


def ui_address(uri: str) -> str:
    """The UI of an MLflow store, without a password: the server itself, or a local `mlflow ui`."""
    return re.sub(r"//[^/@\s]*@", "//", uri.rstrip("/")) if uri.startswith("http") else LOCAL_UI


def run_page(uri: str, experiment_id: str, run_id: str) -> str:
    """The page of one run."""
    return f"{ui_address(uri)}/#/experiments/{experiment_id}/runs/{run_id}?{TRAINING}"


def trials_page(uri: str, experiment_id: str, run_id: str) -> str:
    """The table of a sweep's trials; `run_id` is the sweep's own run. It needs the tag of `shared_view`."""
    return f"{ui_address(uri)}/#/experiments/{experiment_id}/runs?viewStateShareKey={run_id}&{TRAINING}"


def shared_view(run_id: str, identity: Mapping[str, str], lead: Measure, metric: str) -> tuple[str, str]:
    """A tag of the experiment, key and value: the sweep's trials, the measures first, ordered by the leading measure.

    Args:
        run_id: the sweep's own run.
        identity: the tags that all runs of the sweep have.
        lead: the leading measure of the sweep.
        metric: its name in MLflow.
    """
    same = " and ".join(f"tags.{key} = '{value}'" for key, value in identity.items())
    view = {
        "searchFilter": f"{same} and tags.role != 'sweep'",
        "orderByKey": f"metrics.`{metric}`",
        "orderByAsc": not lead.maximize,
        "selectedColumns": COLUMNS,
    }
    return f"mlflow.sharedViewState.{run_id}", json.dumps(view)
