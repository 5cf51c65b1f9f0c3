"""Opening an MLflow store: it gives up soon, and a new SQLite store appears whole."""

import contextlib
import logging
import os
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sweeps.storage.optuna_store import sqlite_file


def connect(uri: str) -> Any:
    """Return an `MlflowClient` with short timeouts, without log output and without telemetry.

    Environment variables that the user has set take precedence. MLflow is imported only inside functions: the import
    takes seconds, and `--help` must not wait for it.

    Raises:
        OSError, SQLAlchemyError: the database of `uri` cannot be opened.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # MLflow's default 7 takes minutes
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")  # seconds; MLflow's default: 120
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic", "urllib3.connectionpool"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # errors are also raised as exceptions
    _open_database(uri)
    return MlflowClient(uri)


def artifact_location(uri: str) -> str | None:
    """Return where a new experiment keeps its files: `mlartifacts` next to an SQLite store; None: MLflow decides."""
    file = sqlite_file(uri)
    return None if file is None else (file.absolute().parent / "mlartifacts").as_uri()


def _make_database(file: Path) -> None:
    """Create an SQLite store elsewhere, then link it into place: two sweeps that create one file would corrupt it."""
    from mlflow import MlflowClient

    with TemporaryDirectory(prefix=".mlflow-", dir=file.parent) as folder:
        made = Path(folder, file.name)
        MlflowClient(f"sqlite:///{made}").search_experiments()
        with contextlib.suppress(OSError):  # another sweep was faster; or without hard links, MLflow creates the file
            os.link(made, file)


def _open_database(uri: str) -> None:
    """Create an SQLite store if it is missing, and raise at once if a database cannot be opened.

    MLflow would retry for two minutes. A `uri` that is not a database is ignored.
    """
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
