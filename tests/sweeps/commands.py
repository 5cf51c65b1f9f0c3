"""Real commands that run in their own process, and the small search space that they use."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from sweeps import run

SCRIPTS = Path(run.__file__).parent
SPACE = """
trial: {loss: class_tilt, encoder: tu-mobilenetv3_small_050, decoder_channels: 16, crop: [32, 48], steps_per_epoch: 2,
        precision: fp32}
search: {sampler: grid}
"""


class Command:
    """A running command in its own POSIX session. All Ray processes that it starts belong to this session."""

    def __init__(self, folder, *arguments):
        self.output = folder / "output.txt"
        with self.output.open("a") as output:
            self.process = subprocess.Popen(
                [sys.executable, *map(str, arguments)],
                cwd=folder,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def members(self, title=""):
        """The ids of the session's living processes whose command line begins with `title`."""
        listed = subprocess.run(["ps", "-eo", "pid=,stat=,args="], capture_output=True, text=True, check=True).stdout
        rows = (line.split(None, 2) for line in listed.splitlines())
        found = [int(row[0]) for row in rows if row[1][0] != "Z" and len(row) == 3 and row[2].startswith(title)]
        return [pid for pid in found if self._session(pid) == self.process.pid]

    def workers(self):
        return self.members("ray::RayTrainWorker")

    def until(self, condition):
        """Wait until `condition()` is true and return its value. Fail if the command ends before."""
        while not (value := condition()):
            assert self.process.poll() is None, self.text()
            time.sleep(0.1)
        return value

    def finish(self):
        """Wait for exit code 0, check that no process is left, and return the output."""
        assert self.process.wait() == 0, self.text()
        deadline = time.monotonic() + 60
        while self.members() and time.monotonic() < deadline:
            time.sleep(0.2)
        assert self.members() == []
        return self.text()

    def kill(self):
        """Kill the command first, then everything that it started."""
        while members := [self.process.pid, *self.members()] if self.process.poll() is None else self.members():
            for pid in members:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)

    def text(self):
        return self.output.read_text(encoding="utf-8")

    @staticmethod
    def _session(pid):
        try:
            return os.getsid(pid)
        except ProcessLookupError:
            return None
