"""`sweeps.execution.ray_cluster`: how many trials run at the same time, and the error when they do not fit."""

import pytest

from sweeps.execution.ray_cluster import fair_cpus, slots_that_fit, start_ray
from tce_core.errors import UserError


def test_as_many_trials_run_at_the_same_time_as_fit():
    machine = {"CPU": 8.0, "GPU": 2.0, "memory": 1e9}
    assert slots_that_fit(machine, 1, 1, 0, None) == 8
    assert slots_that_fit(machine, 2, 2, 0, None) == 2
    assert slots_that_fit(machine, 1, 1, 0.5, None) == 4
    assert slots_that_fit(machine, 1, 1, 1, None) == 2
    assert slots_that_fit({"CPU": 99, "GPU": 1.0}, 1, 1, 0.1, None) == 10  # 1.0 // 0.1 is 9
    assert slots_that_fit(machine, 1, 1, 0, 3) == 3


@pytest.mark.parametrize(
    ("nodes", "gpus_per_worker", "cpus"),
    [
        ([{"CPU": 16.0}], 0, 1),
        ([{"CPU": 16.0, "GPU": 1.0}], 1, 16),
        ([{"CPU": 16.0, "GPU": 1.0}], 0.5, 8),
        ([{"CPU": 96.0, "GPU": 8.0}], 1, 12),
        ([{"CPU": 99.0, "GPU": 1.0}], 0.1, 9),
        ([{"CPU": 2.0, "GPU": 4.0}], 1, 1),
        ([{"CPU": 8.0}, {"CPU": 16.0, "GPU": 2.0}, {"CPU": 16.0, "GPU": 2.0}], 1, 8),  # a head without a GPU
        ([{"CPU": 64.0, "GPU": 2.0}, {"CPU": 8.0, "GPU": 1.0}], 1, 8),
        ([{"CPU": 3.0}], 1, 1),  # no GPU: what `slots_that_fit` refuses
    ],
)
def test_a_gpu_worker_has_its_share_of_the_cores_of_a_machine(nodes, gpus_per_worker, cpus):
    assert fair_cpus(nodes, gpus_per_worker) == cpus


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ((9, 1, 0, None), "9 CPUs"),
        ((1, 9, 0, None), "9 CPUs"),
        ((1, 1, 3, None), "3 GPUs"),
        ((1, 1, 0, 9), "9 trials at a time"),
        ((2, 1, 1, 2), "2 trials at a time"),
    ],
)
def test_more_than_the_machine_holds_is_refused(settings, named):
    with pytest.raises(UserError, match=r"but there are .*; lower --workers-per-trial") as caught:
        slots_that_fit({"CPU": 8.0, "GPU": 2.0}, *settings)
    assert named in str(caught.value)


def test_an_address_of_ray_client_is_refused():
    with pytest.raises(UserError, match=r"^--address ray://127\.0\.0\.1:10001: a sweep cannot run through Ray Client"):
        start_ray("ray://127.0.0.1:10001")
