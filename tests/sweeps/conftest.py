import itertools
import shutil
from dataclasses import replace

import optuna
import pytest


@pytest.fixture(scope="session")
def tables(tmp_path_factory):
    """An SQLite file with Optuna's tables and nothing in them: making them takes seconds."""
    path = tmp_path_factory.mktemp("optuna") / "empty.db"
    optuna.storages.RDBStorage(f"sqlite:///{path}")
    return path


@pytest.fixture
def begin(tables, tmp_path):
    """Begins a search, each in a file of its own: `search = begin(trials=4)` changes the plan of `searching`."""
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
    """A store that is locked or gone is waited for a second, not a minute."""
    monkeypatch.setenv("TILTED_SWEEPS_STORE_WAIT", "1")


@pytest.fixture
def place(tmp_path):
    """A folder for sweeps that are to be disturbed; whatever a failed test leaves running in it is killed."""
    from tests.sweeps.driver import Place  # it brings what few tests need

    here = Place(tmp_path)
    yield here
    for process in here.started:
        process.kill()


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    """An SQLite file with MLflow's tables and nothing in them: making them takes seconds."""
    from sweeps.reporting.mlflow_connection import connect

    path = tmp_path_factory.mktemp("mlflow") / "empty.db"
    connect(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def uri(empty_store, tmp_path):
    """Of an MLflow store of its own."""
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path}/mlflow.db"


@pytest.fixture
def storage(tables, tmp_path):
    """The URL of a file for studies of its own."""
    return f"sqlite:///{shutil.copy(tables, tmp_path / 'sweeps.db')}"
