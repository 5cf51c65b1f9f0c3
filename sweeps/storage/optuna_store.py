"""The store of studies: an Optuna storage that waits through short failures and names long ones."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import optuna
from sqlalchemy.exc import IntegrityError, OperationalError, SQLAlchemyError

from tce_core.errors import TemporaryError, UserError

WAIT = 60.0
"""Seconds to wait for a store that is locked or gone. `TILTED_SWEEPS_STORE_WAIT` overrides it."""
PAUSE = 0.5  # seconds between attempts
T = TypeVar("T")


class Store:
    """An SQLite file or a database server that holds the studies of many sweeps."""

    def __init__(self, url: str) -> None:
        """Open the store, and make an SQLite file that does not exist yet.

        Args:
            url: an SQLAlchemy URL, or `memory` for a store that ends with the process.

        Raises:
            UserError: the store cannot be opened.
            TemporaryError: it is still locked or gone after the wait.
        """
        self.url = url
        self.wait = seconds_to_wait()
        self.file = sqlite_file(url)
        self.backend = self._patiently(self._open)
        self.inode = None if self.file is None else self.file.stat().st_ino

    def call(self, action: Callable[[], T]) -> T:
        """Run `action`, which reads or writes whole transactions. Repeat it while the store is locked or gone.

        Raises:
            TemporaryError: the store still fails after the wait, or its disk is full. What was recorded is kept.
        """
        return self._patiently(lambda: self._checked(action))

    def names(self) -> list[str]:
        """The names of all studies, oldest first."""
        return [str(name) for name in self.call(lambda: optuna.get_all_study_names(self.backend))]

    def _checked(self, action: Callable[[], T]) -> T:
        """Run `action` on the file that was opened: SQLite would go on writing to a deleted file."""
        if self.file is not None and (not self.file.exists() or self.file.stat().st_ino != self.inode):
            raise FileNotFoundError(f"{self.file} is gone, or another file is in its place")
        return action()

    def _patiently(self, action: Callable[[], T]) -> T:
        give_up = time.monotonic() + self.wait
        while True:
            try:
                return action()
            except (SQLAlchemyError, optuna.exceptions.StorageInternalError, OSError) as error:
                cause = error.__cause__ if isinstance(error, optuna.exceptions.StorageInternalError) else error
                full = _is_full(cause)
                # An IntegrityError means that another process made the same table or row at the same moment.
                passing = isinstance(cause, OperationalError | IntegrityError | OSError) and not full
                if not passing or time.monotonic() + PAUSE > give_up:
                    waited = f", for {self.wait:g} s" if passing else ""
                    kind = TemporaryError if passing or full else UserError
                    raise kind(f"--storage {self.url}: {_reason(cause)}{waited}") from None
                time.sleep(PAUSE)

    def _open(self) -> optuna.storages.BaseStorage:
        if self.url == "memory":
            return optuna.storages.InMemoryStorage()
        if self.file is not None and not self.file.parent.is_dir():
            raise UserError(f"--storage {self.url}: there is no folder {self.file.parent}")
        # SQLite's own wait for a lock is short, so that `wait` is the one that counts.
        settings = {"connect_args": {"timeout": 1}} if self.file is not None else {"pool_pre_ping": True}
        try:
            return optuna.storages.get_storage(optuna.storages.RDBStorage(self.url, engine_kwargs=settings))
        except (ImportError, ValueError, RuntimeError) as error:  # RuntimeError: tables of another version of Optuna
            raise UserError(f"--storage {self.url}: cannot be opened: {str(error).splitlines()[0]}") from None


def existing_store(url: str) -> Store | None:
    """The store, or None if it is an SQLite file that does not exist yet."""
    file = sqlite_file(url)
    return None if file is not None and file.parent.is_dir() and not file.exists() else Store(url)


def seconds_to_wait() -> float:
    """The wait in seconds, from the environment or the default.

    Raises:
        UserError: the environment's value is not a number.
    """
    text = os.environ.get("TILTED_SWEEPS_STORE_WAIT", str(WAIT))
    try:
        return float(text)
    except ValueError:
        raise UserError(f"TILTED_SWEEPS_STORE_WAIT={text}: not a number of seconds") from None


def sqlite_file(url: str) -> Path | None:
    """The file of an SQLite URL; None for a server and for a database in memory."""
    name = url.removeprefix("sqlite:///").partition("?")[0]
    return Path(name) if url.startswith("sqlite:///") and name not in ("", ":memory:") else None


def _is_full(error: BaseException | None) -> bool:
    """Whether the disk is full. Only the database's own words count: a path in the message may hold any word."""
    return "full" in str(getattr(error, "orig", ""))


def _reason(error: BaseException | None) -> str:
    text = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
    remedy = "; what was recorded is kept, continue with --resume when there is space"
    return text + remedy if _is_full(error) else text
