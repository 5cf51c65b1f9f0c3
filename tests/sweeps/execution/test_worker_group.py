"""Groups of real Ray Train workers: a plan that they refuse, and a slot that is lost in the middle of an epoch."""

import pytest

from sweeps.storage.record import Record
from tests.sweeps.driver import faulty

pytestmark = [pytest.mark.slow, *faulty]
LOSE = """
import sys, threading, time
from sweeps.execution.mailbox import Order
from sweeps.execution.ray_cluster import start_ray
from sweeps.execution.worker_group import GroupSettings, WorkerGroups, answer_to
from tce_core.config import TrialConfig

data, folder = sys.argv[1:]
small = dict(encoder="tu-mobilenetv3_small_050", decoder_channels=16, crop=(32, 32), batch_size=4, epochs=1)
short, endless = (TrialConfig(**small, steps_per_epoch=steps).model_dump(mode="json") for steps in (1, 10**7))
cores = int(start_ray(None)["CPU"])
groups = WorkerGroups(GroupSettings(data, folder, folder + "/ray", 1, cores, 0.0))  # there is room for one group
groups.begin(1)
group = groups.take(Order(0, 0, short, 1))
assert answer_to(group.mailbox, Order(0, 0, short, 1)).result is not None
groups.give_back(0, lost=False)
group = groups.take(Order(0, 1, endless, 1))
time.sleep(2)
groups.give_back(1, lost=True)
other = groups.take(Order(0, 2, short, 1))
assert other is not group
assert answer_to(other.mailbox, Order(0, 2, short, 1)).result is not None
groups.give_back(2, lost=False)
groups.take(Order(0, 3, endless, 1))
time.sleep(2)
groups.leave()
assert not [thread for thread in threading.enumerate() if thread.name == "trainer"]
print("another group trained")
import ray
ray.shutdown()
"""


def test_a_group_whose_slot_is_lost_makes_room_for_another(place):
    script = place.folder / "lose.py"
    script.write_text(LOSE)
    text = place.start(script, place.data.path, place.folder / "checkpoints").ended()
    assert "another group trained" in text


def test_a_plan_that_the_workers_refuse_leaves_nothing_behind(place):
    text = place.sweep({"space": {"t": {"choices": [1.0, 2.0]}}}, "--set", "trial.encoder=resnet999").ended(code=2)
    assert "error: unknown encoder 'resnet999'; did you mean" in text.splitlines()[-1]
    assert not (place.folder / "runs").exists()
    assert "a" not in Record.names(place.storage)
