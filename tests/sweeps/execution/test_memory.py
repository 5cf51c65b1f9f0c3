"""A slot and its workers take a thousand trials, and their memory does not grow: real Ray, tiny trainings."""

import json

import pytest

from tests.sweeps.driver import faulty

pytestmark = faulty
TRIALS = 1000
LONG = """
import json, os, sys
from pathlib import Path
from sweeps.execution.checkpoints import checkpoint_path
from sweeps.execution.ray_cluster import start_ray
from sweeps.execution.worker_group import GroupSettings, WorkerGroup
from tce_core.config import TrialConfig

def resident():
    # Megabytes of this process, which stands for the slot, and of the largest Ray actor of each kind.
    found = {}
    for process in Path("/proc").iterdir():
        try:
            title = (process / "cmdline").read_text().split("\\0")[0]
            status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
        except (OSError, ValueError):
            continue
        name = "slot" if process.name == str(os.getpid()) else title.partition(".")[0]
        if (name == "slot" or name.startswith("ray::")) and "VmRSS" in status:
            found[name] = max(found.get(name, 0), int(status["VmRSS"].split()[0]) / 1024)
    return found

data, folder, trials = sys.argv[1], sys.argv[2], int(sys.argv[3])
losses = "mcce", "class_tilt", "stochastic_tilt", "image_tilt", "focal"
small = dict(encoder="tu-mobilenetv3_small_050", decoder_channels=16, crop=(32, 32), batch_size=4, epochs=1,
             steps_per_epoch=1, precision="fp32")
start_ray(None)
group = WorkerGroup(GroupSettings(data, folder, folder + "/ray", 1, 1, 0.0))
for trial in range(trials):
    config = TrialConfig(**small, loss=losses[trial % len(losses)], lr=0.01 + 0.0001 * (trial % 50))
    answer = group.advance(trial, config.model_dump(mode="json"), 1)
    assert answer.result is not None, answer
    checkpoint_path(folder, trial).unlink()
    if (trial + 1) % 50 == 0:
        print(json.dumps({"trials": trial + 1, **resident()}), flush=True)
group.close()
import ray
ray.shutdown()
"""


@pytest.mark.soak
def test_a_thousand_trials_through_one_slot_leak_nothing(place):
    """From trial 100 on, the memory of the slot, of its mailbox and of its worker stays within 2%."""
    script = place.folder / "long.py"
    script.write_text(LONG)
    text = place.start(script, place.data.path, place.folder / "checkpoints", TRIALS).ended()
    seen = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    print(*seen, sep="\n")
    assert seen[-1]["trials"] == TRIALS
    early, late = seen[1], seen[-1]
    kept = [name for name in early if name in late and name != "trials" and "IDLE" not in name]
    assert "slot" in kept
    assert any("Mailbox" in name for name in kept)
    assert any("Worker" in name for name in kept)
    for name in kept:
        assert late[name] <= 1.02 * early[name], name
