"""Where studies are kept: an Optuna storage whose short troubles are waited out and whose long ones are named."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import optuna
from sqlalchemy.exc import IntegrityError, OperationalError, SQLAlchemyError

from tce_core.errors import UserError

WAIT = 60.0
"""Seconds for which a store may be locked or gone before a sweep gives up; `TILTED_SWEEPS_STORE_WAIT` changes them."""
PAUSE = 0.5  # seconds between attempts
T = TypeVar("T")


class Store:
    """An SQLite file or a database server that holds studies, the sweep's among them."""

    def __init__(self, url: str) -> None:
        """Open it; makes an SQLite file that is not there. `memory` is a store that ends with the process.

        Raises:
            UserError: it cannot be opened, or is still locked after the wait.
        """
        self.url = url
        self.wait = seconds_to_wait()
        self.file = sqlite_file(url)
        self.backend = self._patiently(self._open)
        self.inode = None if self.file is None else self.file.stat().st_ino

    def call(self, action: Callable[[], T]) -> T:
        """Do `action`, which reads or writes whole transactions; again while the store is locked or gone.

        Raises:
            UserError: it still is after the wait, or its disk is full. What was written before is as it was.
        """
        return self._patiently(lambda: self._checked(action))

    def _checked(self, action: Callable[[], T]) -> T:
        """SQLite goes on writing to a file that was deleted, and nobody would ever read it."""
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
                # An IntegrityError: another process was as quick to make the tables, or the same row.
                passing = isinstance(cause, OperationalError | IntegrityError | OSError) and not _is_full(cause)
                if not passing or time.monotonic() + PAUSE > give_up:
                    waited = f", for {self.wait:g} s" if passing else ""
                    raise UserError(f"--storage {self.url}: {_reason(cause)}{waited}") from None
                time.sleep(PAUSE)

    def _open(self) -> optuna.storages.BaseStorage:
        if self.url == "memory":
            return optuna.storages.InMemoryStorage()
        if self.file is not None and not self.file.parent.is_dir():
            raise UserError(f"--storage {self.url}: there is no folder {self.file.parent}")
        # SQLite's own wait for a lock is kept short, so that ours is the one that counts.
        settings = {"connect_args": {"timeout": 1}} if self.file is not None else {"pool_pre_ping": True}
        try:
            return optuna.storages.get_storage(optuna.storages.RDBStorage(self.url, engine_kwargs=settings))
        except (ImportError, ValueError, RuntimeError) as error:  # the last: tables of another version of Optuna
            raise UserError(f"--storage {self.url}: cannot be opened: {str(error).splitlines()[0]}") from None


def seconds_to_wait() -> float:
    text = os.environ.get("TILTED_SWEEPS_STORE_WAIT", str(WAIT))
    try:
        return float(text)
    except ValueError:
        raise UserError(f"TILTED_SWEEPS_STORE_WAIT={text}: not a number of seconds") from None


def sqlite_file(url: str) -> Path | None:
    """The file of an SQLite storage; None for a server, and for one in memory."""
    name = url.removeprefix("sqlite:///").partition("?")[0]
    return Path(name) if url.startswith("sqlite:///") and name not in ("", ":memory:") else None


def _is_full(error: BaseException | None) -> bool:
    """Only what the database itself says: a path may hold any word."""
    return "full" in str(getattr(error, "orig", ""))


def _reason(error: BaseException | None) -> str:
    text = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
    return f"{text}; what was recorded is kept, go on with --resume when there is space" if _is_full(error) else text
