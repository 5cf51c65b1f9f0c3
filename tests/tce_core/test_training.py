"""Whole training runs on a tiny data set: stopping and resuming, schedules, divergence, checkpoints, results."""

import io
import json
import math
import pickle
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import safetensors
import torch
from torch import nn

from tce_core import distributed
from tce_core.checkpoint import export_weights, read_checkpoint, save_checkpoint
from tce_core.data.streets.dataset import make_streets
from tce_core.errors import UserError
from tce_core.loss_table import LOSSES
from tce_core.results import EpochResult
from tce_core.training import NonFiniteLossError, Run, share_of_batch, train, use_bf16

CPU = torch.device("cpu")


def run_to_end(config, data, checkpoint):
    """The results and the state that the run left behind."""
    results = list(train(config, data, checkpoint=checkpoint, device=CPU))
    return results, read_checkpoint(checkpoint)


def flat(state, prefix=""):
    """A nested state as {path: leaf}."""
    items = state.items() if isinstance(state, dict) else enumerate(state)
    leaves = {}
    for key, value in items:
        nested = isinstance(value, dict | list | tuple)
        leaves |= flat(value, f"{prefix}/{key}") if nested else {f"{prefix}/{key}": value}
    return leaves


def different(one, other):
    """The paths at which two states are not bitwise equal."""
    one, other = flat(one), flat(other)
    assert one.keys() == other.keys()
    same = {
        key: torch.equal(one[key], other[key]) if torch.is_tensor(one[key]) else one[key] == other[key] for key in one
    }
    return [key for key in one if not same[key]]


def untimed(result):
    return repr(replace(result, train_seconds=0, evaluation_seconds=0))  # repr, because NaN is not equal to itself


def parameters(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


# Stopping, resuming, repeating


@pytest.mark.parametrize(
    "settings",
    [
        {"loss": "mcce"},
        {"loss": "class_tilt", "t": 2.0, "tilt_warmup": 0.8},
        {"loss": "stochastic_tilt", "tilt_warmup": 0.8, "t": 1.5},
    ],
    ids=lambda settings: settings["loss"],
)
def test_a_run_stopped_after_each_epoch_ends_as_an_unbroken_one(fast_config, streets, tmp_path, settings):
    config = fast_config(epochs=3, **settings)
    results, unbroken = run_to_end(config, streets, tmp_path / "unbroken.pt")
    pieces = []
    for epoch in (1, 2, 3):
        run = train(config, streets, checkpoint=tmp_path / "broken.pt", device=CPU)
        if epoch > 1:
            assert untimed(next(run)) == untimed(pieces[-1])  # first, what the file holds
        pieces.append(next(run))
        run.close()
    assert [result.epoch for result in pieces] == [1, 2, 3]
    assert list(map(untimed, pieces)) == list(map(untimed, results))
    assert different({**unbroken, "result": ""}, {**read_checkpoint(tmp_path / "broken.pt"), "result": ""}) == []
    assert list(train(config, streets, checkpoint=tmp_path / "broken.pt", device=CPU)) == pieces[-1:]  # nothing to do


@pytest.mark.parametrize("loss", ["mcce", "stochastic_tilt"])
def test_the_seed_decides_everything(fast_config, streets, tmp_path, loss):
    runs = [
        run_to_end(fast_config(loss=loss, epochs=1, seed=seed), streets, tmp_path / f"{i}.pt")
        for i, seed in enumerate((0, 0, 1))
    ]
    states = [state["model"] for _, state in runs]
    assert different(states[0], states[1]) == []
    assert untimed(runs[0][0][0]) == untimed(runs[1][0][0])
    assert set(different(states[0], states[2])) > {key for key in flat(states[0]) if key.endswith("conv.weight")}


def test_two_runs_in_turn_do_not_disturb_each_other(fast_config, streets, tmp_path):
    configs = [fast_config(seed=seed) for seed in (0, 1)]
    alone = [run_to_end(config, streets, tmp_path / f"alone{i}.pt")[0] for i, config in enumerate(configs)]
    runs = [train(config, streets, device=CPU) for config in configs]
    in_turn = list(zip(*runs, strict=True))
    assert [[untimed(result) for result in results] for results in zip(*in_turn, strict=True)] == [
        list(map(untimed, results)) for results in alone
    ]


# Learning


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_moves_the_weights(fast_config, streets, loss):
    run = Run(fast_config(loss=loss, epochs=1, steps_per_epoch=1), streets, CPU)
    before = parameters(run.model)
    result = run.next_epoch()
    run.close()
    assert math.isfinite(result.train_loss)
    after = parameters(run.model)
    assert after.isfinite().all()
    assert (after != before).any()
    drawn = loss == "stochastic_tilt"
    assert (result.class_weights is not None) is drawn
    assert not drawn or sum(result.class_weights) == pytest.approx(1)


def test_the_loss_decreases(fast_config, streets):
    config = fast_config(epochs=5, steps_per_epoch=4, lr=0.05, scale=(1.0, 1.0), jitter=0.0, flip=False)
    losses = [result.train_loss for result in train(config, streets, device=CPU)]
    assert losses[-1] < 0.8 * losses[0]


def test_bf16_computes_nearly_the_same_loss(fast_config, streets):
    losses = [
        next(train(fast_config(precision=precision, steps_per_epoch=1), streets, device=CPU)).train_loss
        for precision in ("fp32", "bf16")
    ]
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def test_precision_can_be_chosen(fast_config):
    assert use_bf16(fast_config(precision="bf16"), CPU)
    assert not use_bf16(fast_config(precision="fp32"), CPU)


@pytest.mark.parametrize("loss", ["mcce", "stochastic_tilt"])
def test_divergence_is_reported_with_its_remedies(fast_config, streets, loss):
    config = fast_config(loss=loss, lr=1e12, epochs=1, steps_per_epoch=6)
    with pytest.raises(NonFiniteLossError, match=r"lr 1e\+12, t 1\); a lower lr, clip_grad_norm or tilt_warmup"):
        list(train(config, streets, device=CPU))


@pytest.mark.parametrize("limit", [1e-3, 0.1])
def test_clipping_bounds_the_step(fast_config, streets, limit):
    # Plain SGD moves by lr times the gradient, and untrained the gradient is far longer than either limit.
    config = fast_config(lr=0.5, momentum=0.0, weight_decay=0.0, clip_grad_norm=limit)
    run = Run(config, streets, CPU)
    before = parameters(run.model)
    run.step(0)
    run.close()
    moved = (parameters(run.model) - before).norm()
    assert moved == pytest.approx(0.5 * limit, rel=1e-2)


# Schedules


@pytest.mark.parametrize("power", [0.9, 2.0])
def test_the_learning_rate_is_torch_s_polynomial(fast_config, streets, power):
    config = fast_config(epochs=3, steps_per_epoch=2, lr=0.02, poly_power=power)
    run = Run(config, streets, CPU)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.02)
    schedule = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=6, power=power)
    for step in range(6):
        run.step(step)
        assert run.optimizer.param_groups[0]["lr"] == pytest.approx(schedule.get_last_lr()[0], rel=1e-12)
        optimizer.step()
        schedule.step()
    run.close()


@pytest.mark.parametrize("loss", ["image_tilt", "class_tilt", "stochastic_tilt"])
@pytest.mark.parametrize(
    ("t", "warmup", "expected"),
    [
        # Six steps; over the first half t rises to its value in three equal stages.
        (3.0, 0.5, [1, 2, 3, 3, 3, 3]),
        (-3.0, 0.5, [-1, -2, -3, -3, -3, -3]),
        (3.0, 0.0, [3] * 6),
        (3.0, 1.0, [0.5, 1, 1.5, 2, 2.5, 3]),
        (0.0, 0.5, [0] * 6),
    ],
)
def test_the_tilt_rises_linearly_in_its_warm_up(fast_config, streets, loss, t, warmup, expected):
    config = fast_config(loss=loss, t=t, tilt_warmup=warmup, epochs=2, steps_per_epoch=3)
    run = Run(config, streets, CPU)
    tilts = []
    for step in range(6):
        run._set_schedules(step)
        tilts.append(run.sampler.tilt.t if loss == "stochastic_tilt" else run.loss.t)
    run.close()
    assert tilts == pytest.approx(expected)


# Refusals


@pytest.mark.parametrize(
    ("batch_size", "workers", "synchronised", "share"),
    [(8, 1, False, 8), (8, 4, False, 2), (8, 8, True, 1), (2, 1, True, 2), (6, 3, True, 2)],
)
def test_a_batch_is_shared_evenly(batch_size, workers, synchronised, share):
    assert share_of_batch(batch_size, workers, synchronised=synchronised) == share


@pytest.mark.parametrize(
    ("batch_size", "workers", "synchronised", "reason"),
    [
        (8, 3, False, "batch_size 8 cannot be shared evenly by 3 workers"),
        (8, 3, True, "batch_size 8 cannot be shared evenly by 3 workers"),
        (8, 8, False, "batch_size 8 over 8 workers leaves 1 image each; BatchNorm needs 2"),
        (1, 1, True, "batch_size 1 over 1 workers leaves 1 image each; BatchNorm needs 2"),
    ],
)
def test_a_batch_that_does_not_fit_the_workers_is_refused(batch_size, workers, synchronised, reason):
    with pytest.raises(UserError, match=reason):
        share_of_batch(batch_size, workers, synchronised=synchronised)


def test_a_run_asks_how_many_workers_there_are(fast_config, streets, monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: 3)
    with pytest.raises(UserError, match="batch_size 4 cannot be shared evenly by 3 workers"):
        next(train(fast_config(), streets, device=CPU))


@pytest.fixture(scope="module")
def checkpoint(fast_config, streets, tmp_path_factory):
    """That of one finished epoch of `fast_config()`."""
    path = tmp_path_factory.mktemp("runs") / "run.pt"
    run = train(fast_config(), streets, checkpoint=path, device=CPU)
    next(run)
    run.close()
    return path


@pytest.mark.parametrize(("key", "value"), [("lr", 0.5), ("loss", "class_tilt"), ("seed", 7), ("crop", (48, 48))])
def test_a_checkpoint_of_other_settings_is_refused_naming_them(fast_config, streets, checkpoint, key, value):
    with pytest.raises(UserError, match=rf"run\.pt: written with {key} = .*, not .*; use another file"):
        next(train(fast_config(**{key: value}), streets, checkpoint=checkpoint, device=CPU))


def test_a_checkpoint_of_other_data_is_refused(fast_config, checkpoint, tmp_path):
    other = make_streets(tmp_path / "other", seed=1, train=16, val=2, test=1, size=(64, 96))
    with pytest.raises(UserError, match=r"run\.pt: written with other data than .*other; use another file"):
        next(train(fast_config(), other, checkpoint=checkpoint, device=CPU))


def flip_a_bit(content):
    weights = torch.load(io.BytesIO(content), weights_only=True)["model"]["segmentation_head.0.weight"]
    place = content.index(bytes(weights.untyped_storage())) + 5  # the file stays well-formed, one weight is another
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda _: b"",
        lambda _: b"hello",
        flip_a_bit,
    ],
    ids=["half", "short of a byte", "empty", "text", "one bit"],
)
def test_a_damaged_checkpoint_is_refused(fast_config, streets, checkpoint, tmp_path, damage):
    path = tmp_path / "damaged.pt"
    path.write_bytes(damage(checkpoint.read_bytes()))
    with pytest.raises(UserError, match=r"damaged\.pt: (not a|a damaged) checkpoint[^\n]+$"):
        next(train(fast_config(), streets, checkpoint=path, device=CPU))


class Hostile:
    """Pickled, it creates a file when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    ("save", "trusting_load"),
    [
        (torch.save, lambda path: torch.load(path, weights_only=False)),
        (lambda value, path: path.write_bytes(pickle.dumps(value)), lambda path: pickle.loads(path.read_bytes())),
    ],
    ids=["torch", "pickle"],
)
def test_code_in_a_checkpoint_is_not_run(fast_config, streets, tmp_path, save, trusting_load):
    path, trace = tmp_path / "run.pt", tmp_path / "executed"
    save({"config": fast_config().model_dump_json(), "epoch": 1, "model": Hostile(trace)}, path)
    with pytest.raises(UserError, match=r"run\.pt: not a checkpoint that can be read safely"):
        next(train(fast_config(), streets, checkpoint=path, device=CPU))
    assert not trace.exists()
    trusting_load(path)  # the trap does work
    assert trace.exists()


def test_some_other_file_of_tensors_is_not_a_checkpoint(tmp_path):
    torch.save({"weight": torch.zeros(1)}, tmp_path / "weights.pt")
    with pytest.raises(UserError, match=r"weights\.pt: not a checkpoint of this program"):
        read_checkpoint(tmp_path / "weights.pt")


# Files


def test_a_failed_write_leaves_the_earlier_checkpoint(tmp_path):
    path = tmp_path / "run.pt"
    save_checkpoint(path, {"config": "{}", "epoch": 1, "model": {}})
    with pytest.raises(AttributeError):  # the second value cannot be pickled
        save_checkpoint(path, {"config": "{}", "epoch": 2, "model": lambda: None})
    assert read_checkpoint(path)["epoch"] == 1
    assert list(tmp_path.iterdir()) == [path]


def test_exported_weights_are_the_checkpoint_s(checkpoint, tmp_path):
    target = tmp_path / "model.safetensors"
    export_weights(checkpoint, target, {"classes": "road, wall"})
    with safetensors.safe_open(target, "pt") as file:
        assert file.metadata() == {"classes": "road, wall"}
        exported = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    assert different(exported, read_checkpoint(checkpoint)["model"]) == []
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("class_weights", [None, (0.25, 0.75, 0.0)])
def test_a_result_travels_as_json(class_weights):
    result = EpochResult(
        epoch=3,
        train_loss=0.1 + 0.2,
        lr=1e-3,
        iou=(0.5, math.nan, 1 / 3),
        intervals={"miou": (0.1, 0.7), "worst_iou": (0.0, 0.3)},
        class_weights=class_weights,
        train_seconds=1.5,
        evaluation_seconds=0.25,
    )
    text = json.dumps(result.as_dict(), allow_nan=False)  # strict JSON, as every other program reads it
    assert json.loads(text)["iou"] == [0.5, None, 1 / 3]
    for back in (EpochResult.from_dict(json.loads(text)), EpochResult.from_json(result.to_json())):
        assert math.isnan(back.iou[1])
        assert {**asdict(back), "iou": back.iou[::2]} == {**asdict(result), "iou": result.iou[::2]}


def test_the_results_of_a_run_are_strict_json(fast_config, streets):
    result = next(train(fast_config(loss="stochastic_tilt"), streets, device=CPU))
    assert repr(EpochResult.from_dict(json.loads(json.dumps(result.as_dict(), allow_nan=False)))) == repr(result)
    assert len(result.iou) == streets.num_classes
    assert result.report.miou == pytest.approx(sum(result.iou) / len(result.iou))
