"""A sign of life: a program whose output goes to a file says again what it does when it was silent for a while."""

import threading
import time
from collections.abc import Callable

QUIET = 30.0
"""Seconds of silence after which it speaks."""


class Heartbeat:
    """Calls `speak` in a thread after every `quiet` seconds in which nobody called `heard`."""

    def __init__(self, speak: Callable[[], None], quiet: float = QUIET) -> None:
        self.speak, self.quiet = speak, quiet
        self.latest = time.monotonic()
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def start(self) -> None:
        self.heard()
        self.thread.start()

    def heard(self) -> None:
        """Something else was said."""
        self.latest = time.monotonic()

    def stop(self) -> None:
        self.stopping.set()
        if self.thread.is_alive():
            self.thread.join()

    def _beat(self) -> None:
        while not self.stopping.wait(max(0.0, self.latest + self.quiet - time.monotonic())):
            if time.monotonic() >= self.latest + self.quiet:
                self.speak()
                self.heard()
