"""Two real processes compared with one: losses, gradients, draws, weights and evaluation.

The processes are started once for all tests. This file runs as a script that imports torch once and then forks.
Each process writes its findings to a file.
"""

import os
import subprocess
import sys
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from tce_core import VOID, distributed
from tce_core.config import TrialConfig
from tce_core.data.dataset import open_dataset
from tce_core.divergence import NonFiniteLossError
from tce_core.evaluation import evaluate
from tce_core.losses import Stateful
from tce_core.run import Run
from tests.tce_core.losses.every_loss import VARIANTS, make_loss

ROOT = Path(__file__).parents[2]
WORLD = 2
K = 4
CPU = torch.device("cpu")
STEPS = 4
VOIDS = ("none", "uneven", "all of one rank", "all")
RUNS = {
    "mcce": {"loss": "mcce"},
    "focused": {"loss": "mcce", "focus_share": 0.5, "focus_temperature": 0.1},
    "uniform classes": {"loss": "stochastic_tilt", "t": 0.0},
    "stochastic_tilt": {"loss": "stochastic_tilt", "t": 2.0},
    "class_tilt over data": {"loss": "class_tilt", "over": "data", "t": 2.0, "tilt_warmup": 0.6},
}


def batch(void):
    """Make a global batch of four images (B, 3, H, W) float64 and labels (B, H, W)."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(4, 3, 8, 10, generator=generator, dtype=torch.float64)
    labels = torch.randint(K, (4, 8, 10), generator=generator)
    if void == "uneven":
        labels[0, 1:] = VOID  # rank 0 keeps one row and two more pixels, rank 1 everything
        labels[1] = VOID
        labels[1, 3, 4:6] = 1
    if void == "all of one rank":
        labels[2:] = VOID
    if void == "all":
        labels[:] = VOID
    return images, labels


def small_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, K, 1)).double()


def value_and_gradient(name, void, rank=0, world=1):
    """Return the loss of the global batch and its gradient, computed from one rank's share of the images."""
    images, labels = (part.chunk(world)[rank] for part in batch(void))
    model = small_model()
    predict = DistributedDataParallel(model) if world > 1 else model
    # Channels last, as in training: the order in memory differs from the order of the axes.
    logits = predict(images).contiguous(memory_format=torch.channels_last)
    loss = make_loss(name, K)
    torch.manual_seed(0)
    torch.randn(rank * logits.numel(), dtype=logits.dtype)  # the noise of the images of the ranks before
    value = loss(logits, labels)
    value.backward()
    return value.detach(), torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


def some_training(config, data):
    """Train one epoch and return its draws, states and result."""
    run = Run(config, data, CPU)
    draws, draw = [], run.sampler.draw

    def recorded_draw(step):
        draws.append(draw(step))
        return draws[-1]

    run.sampler.draw = recorded_draw
    result = run.next_epoch()
    run.close()
    return {
        "draws": [[(one.image, one.focus) for one in batch] for batch in draws],
        "state": dict(run.model.state_dict()),
        "sampler": run.sampler.state_dict(),
        "memory": run.loss.state_dict() if isinstance(run.loss, Stateful) else {},
        "loss": result.train_loss,
        "iou": result.iou,
        "curve": [scores.as_dict() for scores in result.curve],
    }


def diverges(config, data):
    """Return the message of the `NonFiniteLossError` of one epoch, or None."""
    run = Run(config, data, CPU)
    try:
        run.next_epoch()
    except NonFiniteLossError as error:
        return str(error)
    finally:
        run.close()
    return None


def worker(rank, folder, dataset, config):
    """The work of one of the two processes."""
    torch.set_num_threads(1)
    timeout = timedelta(minutes=4)  # if the other process dies, this one ends, too
    meeting = f"file://{folder}/meeting"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=WORLD, timeout=timeout)
    data, config = open_dataset(dataset), TrialConfig.model_validate_json(config)
    found = {
        "losses": {(name, void): value_and_gradient(name, void, rank, WORLD) for name in VARIANTS for void in VOIDS},
        "gathered": distributed.gather_batch(torch.arange(3) + 10 * rank),
        "summed": distributed.global_sum(torch.tensor([1, 2]) * (rank + 1)),
        "runs": {key: some_training(config.model_copy(update=settings), data) for key, settings in RUNS.items()},
        "diverged": diverges(config.model_copy(update={"lr": 1e12}), data),
        "frozen": some_training(config.model_copy(update={"train": "head"}), data)["state"],
        "untrained": some_training(config.model_copy(update={"train": "nothing"}), data)["loss"],
    }
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def config(fast_config):
    return fast_config(epochs=1, steps_per_epoch=STEPS)


@pytest.fixture(scope="module")
def ranks(streets, config, tmp_path_factory):
    """The findings of each of two processes, which communicate over the loopback interface only."""
    folder = tmp_path_factory.mktemp("ranks")
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
        "GLOO_SOCKET_IFNAME": "lo" if sys.platform == "linux" else "lo0",
    }
    arguments = [str(folder), str(streets.path), config.model_dump_json()]
    command = [sys.executable, __file__, *arguments]
    done = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(WORLD)]


@pytest.fixture(scope="module")
def alone(streets, config):
    return {key: some_training(config.model_copy(update=settings), streets) for key, settings in RUNS.items()}


# Losses


@pytest.mark.parametrize("void", VOIDS)
@pytest.mark.parametrize("name", VARIANTS)
def test_value_and_gradient_are_those_of_one_process_with_the_whole_batch(ranks, name, void):
    value, gradient = value_and_gradient(name, void)
    for found in ranks:
        its_value, its_gradient = found["losses"][name, void]
        assert its_value == pytest.approx(value.item(), rel=1e-6)
        assert (its_gradient - gradient).norm() <= 1e-6 * gradient.norm()
    assert ranks[0]["losses"][name, void][0] == ranks[1]["losses"][name, void][0]  # to the last bit
    assert bool(gradient.any()) is (void != "all")


def test_averaging_each_rank_s_own_mean_would_be_wrong():
    # The batch of the tests shows the difference: DistributedDataParallel alone is far from the global gradient.
    images, labels = batch("uneven")
    model = small_model()
    means = [
        F.cross_entropy(model(images[part]), labels[part], ignore_index=VOID) for part in (slice(0, 2), slice(2, 4))
    ]
    naive = torch.cat(
        [gradient.flatten() for gradient in torch.autograd.grad(sum(means) / 2, list(model.parameters()))]
    )
    _, gradient = value_and_gradient("mcce", "uneven")
    assert (naive - gradient).norm() > 0.1 * gradient.norm()


def test_gathering_is_in_rank_order_and_sums_are_over_ranks(ranks):
    for found in ranks:
        assert found["gathered"].tolist() == [0, 1, 2, 10, 11, 12]
        assert found["summed"].tolist() == [3, 6]


# Training


@pytest.mark.parametrize("key", RUNS)
def test_both_ranks_end_with_the_same_weights_and_results(ranks, key):
    one, other = (found["runs"][key] for found in ranks)
    assert one["state"].keys() == other["state"].keys()
    assert [name for name in one["state"] if not torch.equal(one["state"][name], other["state"][name])] == []
    for what in ("draws", "sampler", "memory", "loss", "iou", "curve"):
        assert repr(one[what]) == repr(other[what])  # repr, because NaN is not equal to itself


@pytest.mark.parametrize("key", ["mcce", "focused", "uniform classes"])
def test_two_processes_draw_the_batches_of_one(ranks, alone, key):
    # With t != 0 later draws depend on the losses. They differ a little, as each process has BatchNorm statistics.
    assert ranks[0]["runs"][key]["draws"] == alone[key]["draws"]
    assert len({image for step in alone[key]["draws"] for image, _ in step}) > 4


def test_two_processes_begin_algorithm_1_as_one(ranks, alone):
    # Until every class was visited, draws depend on the visits only.
    assert ranks[0]["runs"]["stochastic_tilt"]["draws"][:2] == alone["stochastic_tilt"]["draws"][:2]
    visits = ranks[0]["runs"]["stochastic_tilt"]["sampler"]["visits"]
    assert sum(visits) == 4 * STEPS  # the global batch, not the share of a rank


def test_two_processes_train_about_as_one(ranks, alone):
    assert ranks[0]["runs"]["mcce"]["loss"] == pytest.approx(alone["mcce"]["loss"], rel=0.1)


def test_the_evaluation_is_that_of_one_process(ranks, config, streets):
    run = Run(config, streets, CPU)
    run.model.load_state_dict(ranks[0]["runs"]["mcce"]["state"])
    (confusion,), _ = evaluate(run.model, streets.val, CPU)
    run.close()
    iou = confusion.diagonal() / (confusion.sum(0) + confusion.sum(1) - confusion.diagonal())
    # Logits round differently in batches of other sizes, so the class of a few pixels may change.
    assert ranks[0]["runs"]["mcce"]["iou"] == pytest.approx(iou.tolist(), abs=1e-3, nan_ok=True)


def test_both_ranks_train_the_same_head_and_leave_the_frozen_parts(ranks, config, streets):
    run = Run(config, streets, CPU)  # the seed gives it the weights from which the ranks began
    run.close()
    begun = run.model.state_dict()
    one, other = (found["frozen"] for found in ranks)
    assert [name for name in one if not torch.equal(one[name], other[name])] == []
    changed = {name for name in one if not torch.equal(one[name], begun[name])}
    assert changed == {"segmentation_head.0.weight", "segmentation_head.0.bias"}
    assert [found["untrained"] for found in ranks] == [None, None]


def test_divergence_is_raised_on_every_rank(ranks):
    assert ranks[0]["diverged"] is not None
    assert ranks[0]["diverged"] == ranks[1]["diverged"]


def test_alone_everything_is_the_identity():
    values = torch.tensor([1.0, 2.0], requires_grad=True)
    assert (distributed.rank(), distributed.world_size()) == (0, 1)
    assert distributed.gather_batch(values) is values
    assert distributed.global_sum(values).tolist() == [1, 2]
    mean = distributed.global_mean(values.sum(), torch.tensor(4))
    distributed.share_gradient(mean).backward()
    assert mean.item() == 0.75
    assert values.grad.tolist() == [0.25, 0.25]
    assert distributed.global_mean(values.sum() * 0, torch.tensor(0)).item() == 0


def fork(arguments):
    processes = [get_context("fork").Process(target=worker, args=(rank, *arguments)) for rank in range(WORLD)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return max(abs(process.exitcode) for process in processes)


if __name__ == "__main__":
    sys.exit(fork(sys.argv[1:]))
