"""Addresses in MLflow's UI. MLflow opens its start page in the mode for prompts, where training runs are hidden."""

import re

LOCAL_UI = "http://127.0.0.1:5000"
"""Where `mlflow ui` listens unless it is told otherwise."""
TRAINING = "workflowType=machine_learning"
"""What makes MLflow 3 show training runs."""


def ui_address(uri: str) -> str:
    """The UI of an MLflow store, without a password: the server itself, or a local `mlflow ui`."""
    return re.sub(r"//[^/@\s]*@", "//", uri.rstrip("/")) if uri.startswith("http") else LOCAL_UI


def run_page(uri: str, experiment_id: str, run_id: str) -> str:
    """The page of one run."""
    return f"{ui_address(uri)}/#/experiments/{experiment_id}/runs/{run_id}?{TRAINING}"


def experiment_page(uri: str, experiment_id: str) -> str:
    """The table of all runs of an experiment."""
    return f"{ui_address(uri)}/#/experiments/{experiment_id}/runs?{TRAINING}"
