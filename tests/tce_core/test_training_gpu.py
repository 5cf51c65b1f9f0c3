"""Training on a GPU: it computes what the CPU computes, in bf16 nearly so; it resumes, repeats, and never waits.

A GPU adds in an order that changes from run to run. So weights are compared by their distance, in units of the
distance that training moved them.
"""

import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from tce_core.colours import normalise
from tce_core.confusion import confusion_matrix
from tce_core.devices import default_device, use_bf16
from tce_core.evaluation import evaluate, predict
from tce_core.model import build_model
from tce_core.run import Run
from tce_core.training import train
from tests.tce_core.states import parameters

pytestmark = pytest.mark.gpu
CPU, GPU = torch.device("cpu"), torch.device("cuda")
TILTED = [
    {"loss": "image_tilt", "t": 1.5},
    {"loss": "class_tilt", "t": 1.5},
    {"loss": "class_tilt", "over": "data", "t": 1.5},
    {"loss": "stochastic_tilt", "t": 1.5},
]
EVERY_KIND = [{"loss": "mcce"}, {"loss": "weighted_ce"}, {"loss": "focal"}, *TILTED]


@pytest.fixture(autouse=True)
def _without_tf32():
    """Compute convolutions in full float32. By default cuDNN rounds their inputs to TF32's ten bits."""
    usual = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = usual


def weights_after(config, data, device, steps):
    """Return the weights before and after some steps of the first epoch, on the CPU."""
    run = Run(config, data, device)
    before = parameters(run.model).cpu()
    run.model.train()
    for step in range(steps):
        run.step(step)
    run.close()
    return before, parameters(run.model).cpu()


def apart(one, other, start):
    """The distance of two weight vectors, in units of the distance from their common start."""
    return float((one - other).norm() / (other - start).norm())


def final_weights(config, data, checkpoint):
    results = list(train(config, data, checkpoint=checkpoint, device=GPU))
    return results, torch.load(checkpoint, map_location="cpu", weights_only=True)["model"]


def vector(state):
    """The weights and statistics of a state dict as one vector; counters are left out."""
    return torch.cat([value.flatten() for value in state.values() if value.is_floating_point()])


# The same arithmetic


def test_training_uses_the_gpu_and_its_bf16(fast_config):
    assert default_device().type == "cuda"
    native = torch.cuda.get_device_capability() >= (8, 0)
    assert use_bf16(fast_config(precision="auto"), GPU) is native


@pytest.mark.parametrize("settings", EVERY_KIND, ids=lambda settings: settings["loss"])
def test_steps_move_the_weights_as_on_the_cpu(fast_config, streets, settings):
    config = fast_config(dropout=0.0, lr=0.01, jitter=0.3, clip_grad_norm=1.0, **settings)
    start, expected = weights_after(config, streets, CPU, 2)
    _, ours = weights_after(config, streets, GPU, 2)
    assert apart(ours, expected, start) < 0.01


def test_bf16_has_nearly_the_loss_and_gradient_of_fp32(fast_config, streets):
    found = {}
    for precision in ("fp32", "bf16"):
        run = Run(fast_config(precision=precision, dropout=0.0, lr=0.01, momentum=0.0), streets, GPU)
        before = parameters(run.model)
        run.model.train()
        loss = float(run.step(0))
        run.close()
        found[precision] = loss, parameters(run.model) - before  # plain SGD moves along the gradient
    (exact_loss, exact), (loss, moved) = found["fp32"], found["bf16"]
    assert loss != exact_loss
    assert loss == pytest.approx(exact_loss, rel=0.02)
    # Through the 60 layers of an untrained model, 8 bits leave the direction of the gradient (0.86 on a CPU), and its
    # length roughly: the part that is lost to rounding is missing.
    assert torch.cosine_similarity(moved, exact, dim=0) > 0.7
    assert 0.5 < float(moved.norm()) / float(exact.norm()) < 2


def test_bf16_learns_as_fp32_does(fast_config, streets):
    settings = {"epochs": 5, "steps_per_epoch": 4, "lr": 0.05, "scale": (1.0, 1.0), "jitter": 0.0, "flip": False}
    for precision in ("fp32", "bf16"):
        config = fast_config(precision=precision, **settings)
        losses = [result.train_loss for result in train(config, streets, device=GPU)]
        assert losses[-1] < 0.8 * losses[0], precision


def test_predictions_differ_from_the_cpu_s_only_where_two_classes_tie(fast_config, streets):
    torch.manual_seed(0)
    model = build_model(fast_config(), streets.num_classes).to(memory_format=torch.channels_last).eval()
    split = streets.val
    images = torch.stack([torch.tensor(split.image(i)).permute(2, 0, 1) for i in range(len(split))])
    labels = torch.stack([torch.tensor(split.mask(i)) for i in range(len(split))]).long()
    expected, ((expected_confusion,), (expected_counts,)) = predict(model, images), evaluate(model, split, CPU)
    with torch.inference_mode():
        first, second = model(normalise(images)).topk(2, dim=1).values.unbind(1)
    model.to(GPU)
    ours, ((confusion,), (counts,)) = predict(model, images.to(GPU)).cpu(), evaluate(model, split, GPU)
    ties = first - second <= 1e-3 * first.std()
    assert ties.float().mean() < 0.01
    assert not ((ours != expected) & ~ties).any()
    # A pixel that differs moves one count from one column to another.
    assert (confusion - expected_confusion).abs().sum() <= 2 * ties.sum()
    assert (confusion - confusion_matrix(ours, labels, split.num_classes)).abs().sum() <= 2 * ties.sum()
    assert (counts - expected_counts).abs().sum() <= 4 * ties.sum()
    assert torch.equal(counts[:, 0].sum(0), confusion.diagonal())


# Repeating and resuming


@pytest.mark.parametrize("settings", [{"loss": "class_tilt"}, {"loss": "stochastic_tilt"}], ids=lambda s: s["loss"])
def test_the_same_seed_ends_with_nearly_the_same_weights(fast_config, streets, settings):
    config = fast_config(lr=0.01, **settings)
    start, one = weights_after(config, streets, GPU, 2)
    _, same = weights_after(config, streets, GPU, 2)
    _, other = weights_after(config.model_copy(update={"seed": 1}), streets, GPU, 2)
    assert apart(same, one, start) < 0.01
    assert apart(other, one, start) > 1


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("settings", [{"loss": "mcce"}, {"loss": "stochastic_tilt"}], ids=lambda s: s["loss"])
def test_a_run_stopped_after_each_epoch_ends_near_an_unbroken_one(fast_config, streets, tmp_path, settings, precision):
    """Not bitwise: see the head of this file. On a CPU it is."""
    config = fast_config(epochs=3, lr=0.01, precision=precision, **settings)
    results, unbroken = final_weights(config, streets, tmp_path / "unbroken.pt")
    last = []
    for epoch in (1, 2, 3):
        run = train(config, streets, checkpoint=tmp_path / "broken.pt", device=GPU)
        if epoch > 1:
            assert repr(next(run)) == repr(last[-1])  # first, the result in the file
        last.append(next(run))
        run.close()
    broken = torch.load(tmp_path / "broken.pt", map_location="cpu", weights_only=True)["model"]
    assert [result.epoch for result in last] == [1, 2, 3]
    start = vector({name: value.cpu() for name, value in Run(config, streets, GPU).model.state_dict().items()})
    # In bf16 the order of additions changes losses more, and the losses decide the draws of Algorithm 1.
    assert apart(vector(broken), vector(unbroken), start) < (0.05 if precision == "fp32" else 0.3)
    losses = [[result.train_loss for result in run] for run in (last, results)]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


def test_a_checkpoint_of_the_gpu_continues_on_the_cpu(fast_config, streets, tmp_path):
    config = fast_config(epochs=2)
    run = train(config, streets, checkpoint=tmp_path / "a.pt", device=GPU)
    first = next(run)
    run.close()
    results = list(train(config, streets, checkpoint=tmp_path / "a.pt", device=CPU))
    assert repr(results[0]) == repr(first)
    assert [result.epoch for result in results] == [1, 2]


# Waiting


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("settings", EVERY_KIND, ids=lambda settings: settings["loss"])
def test_a_step_never_waits_for_the_gpu(fast_config, streets, settings, precision):
    """From the data to the optimiser: CUDA refuses every operation that waits. The draws of Algorithm 1 may wait for
    losses of earlier steps, which are copied aside; that is no such operation."""
    config = fast_config(
        epochs=1, steps_per_epoch=6, tilt_warmup=1.0, clip_grad_norm=1.0, precision=precision, **settings
    )
    run = Run(config, streets, GPU)
    run.model.train()
    losses = [run.step(0), run.step(1)]  # the first steps choose algorithms and allocate
    torch.cuda.set_sync_debug_mode("error")
    try:
        losses += [run.step(step) for step in range(2, 6)]
        with pytest.raises(RuntimeError, match="synchronizing"):
            losses[0].item()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    run.close()
    assert torch.stack(losses).isfinite().all()


# NCCL


@pytest.fixture
def nccl(tmp_path):
    """A process group of one rank."""
    torch.cuda.set_device(0)
    dist.init_process_group("nccl", init_method=f"file://{tmp_path / 'ranks'}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_nccl_with_one_worker_trains_as_without(fast_config, streets, nccl):
    value = torch.arange(3.0, device=GPU)
    dist.all_reduce(value)
    parts = [torch.empty_like(value)]
    dist.all_gather(parts, value)
    assert parts[0].tolist() == [0, 1, 2]
    config = fast_config(dropout=0.0, lr=0.01, loss="class_tilt", t=1.5)
    start, expected = weights_after(config, streets, CPU, 2)
    run = Run(config, streets, GPU)
    run.model.train()
    run.parallel = DistributedDataParallel(run.model, device_ids=[0])  # gradients now go through NCCL
    for step in range(2):
        run.step(step)
    run.close()
    assert apart(parameters(run.model).cpu(), expected, start) < 0.01
