"""Fixtures that the tests of sweeps share."""

import itertools
import shutil
from dataclasses import replace

import optuna
import pytest


@pytest.fixture(scope="session")
def tables(tmp_path_factory):
    """An SQLite file with Optuna's empty tables. It is copied, because creating it takes seconds."""
    path = tmp_path_factory.mktemp("optuna") / "empty.db"
    optuna.storages.RDBStorage(f"sqlite:///{path}")
    return path


@pytest.fixture
def begin(tables, tmp_path):
    """Begin a search in a file of its own: `search = begin(trials=4)`. The arguments change `searching.PLAN`."""
    from sweeps.storage.record import Record
    from sweeps.strategy.search import Search
    from tests.sweeps.searching import PLAN

    numbers = itertools.count()

    def make(**changes):
        file = shutil.copy(tables, tmp_path / f"sweeps-{next(numbers)}.db")
        return Search(Record.create(f"sqlite:///{file}", replace(PLAN, **changes)))

    return make


@pytest.fixture
def impatient(monkeypatch):
    """Wait only one second, not a minute, for a store that is locked or gone."""
    monkeypatch.setenv("TILTED_SWEEPS_STORE_WAIT", "1")


@pytest.fixture
def place(tmp_path):
    """A folder for sweeps that the test disturbs. Processes that a failed test leaves there are killed."""
    from tests.sweeps.driver import Place  # only a few tests need its imports

    here = Place(tmp_path)
    yield here
    for process in here.started:
        process.kill()


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    """An SQLite file with MLflow's empty tables. It is copied, because creating it takes seconds."""
    from sweeps.reporting.mlflow_connection import connect

    path = tmp_path_factory.mktemp("mlflow") / "empty.db"
    connect(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def uri(empty_store, tmp_path):
    """The URI of an MLflow store that only this test uses."""
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path}/mlflow.db"


@pytest.fixture
def storage(tables, tmp_path):
    """The URL of a file for studies that only this test uses."""
    return f"sqlite:///{shutil.copy(tables, tmp_path / 'sweeps.db')}"
