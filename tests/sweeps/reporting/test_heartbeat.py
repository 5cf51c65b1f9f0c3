"""The sign of life of a program whose output goes to a file."""

import threading
import time

from sweeps.reporting.heartbeat import Heartbeat


def test_it_speaks_while_nothing_else_is_said_and_not_after_its_end():
    spoken = threading.Semaphore(0)
    beat = Heartbeat(spoken.release, quiet=0.02)
    beat.start()
    for _ in range(3):
        assert spoken.acquire(timeout=60)
    beat.stop()
    assert not beat.thread.is_alive()
    while spoken.acquire(blocking=False):
        pass
    time.sleep(0.1)
    assert not spoken.acquire(blocking=False)


def test_it_stays_silent_while_something_else_is_said():
    spoken = []
    beat = Heartbeat(lambda: spoken.append(time.monotonic()), quiet=5.0)
    beat.start()
    for _ in range(20):
        beat.heard()
        time.sleep(0.01)
    beat.stop()
    assert spoken == []


def test_it_can_be_stopped_before_it_starts():
    Heartbeat(lambda: None).stop()
