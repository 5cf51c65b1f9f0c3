import optuna
import pytest


@pytest.fixture(scope="session")
def tables(tmp_path_factory):
    """An SQLite file with Optuna's tables and nothing in them: making them takes seconds."""
    path = tmp_path_factory.mktemp("optuna") / "empty.db"
    optuna.storages.RDBStorage(f"sqlite:///{path}")
    return path
