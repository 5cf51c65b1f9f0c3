"""Whole training runs on a tiny data set: stopping and resuming, learning, schedules, divergence, refusals."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tce_core import distributed
from tce_core.checkpoint import read_checkpoint
from tce_core.data.dataset import open_dataset
from tce_core.data.schema import ClassInfo
from tce_core.data.writer import SplitWriter
from tce_core.devices import use_bf16
from tce_core.divergence import NonFiniteLossError
from tce_core.errors import UserError
from tce_core.image_counts import read_counts
from tce_core.loss_table import LOSSES
from tce_core.run import Run
from tce_core.schedules import learning_rate, tilt
from tce_core.training import train
from tests.tce_core.states import different, flat, parameters

CPU = torch.device("cpu")


def run_to_end(config, data, checkpoint):
    """Return the results and the state of the last checkpoint."""
    results = list(train(config, data, checkpoint=checkpoint, device=CPU))
    return results, read_checkpoint(checkpoint)


def untimed(result):
    """Return a result without its times as text, because NaN is not equal to itself."""
    return repr(replace(result, train_seconds=0, evaluation_seconds=0))


# Stopping, resuming, repeating


@pytest.mark.parametrize(
    "settings",
    [
        {"loss": "mcce"},
        {"loss": "class_tilt", "t": 2.0, "tilt_warmup": 0.8, "focus_share": 0.4},
        {"loss": "class_tilt", "over": "data", "t": 2.0, "tilt_warmup": 0.8},
        {"loss": "logit_variation"},
        {"loss": "stochastic_tilt", "tilt_warmup": 0.8, "t": 1.5},
        {"loss": "stochastic_tilt", "t": 1.5, "lookahead": 0},
    ],
    ids=lambda settings: f"{settings['loss']}{settings.get('over', settings.get('lookahead', ''))}",
)
def test_a_run_stopped_after_each_epoch_ends_as_an_unbroken_one(fast_config, streets, tmp_path, settings):
    config = fast_config(epochs=3, steps_per_epoch=3, **settings)
    results, unbroken = run_to_end(config, streets, tmp_path / "unbroken.pt")
    pieces = []
    for epoch in (1, 2, 3):
        run = train(config, streets, checkpoint=tmp_path / "broken.pt", device=CPU)
        if epoch > 1:
            assert untimed(next(run)) == untimed(pieces[-1])  # first, the result in the file
        pieces.append(next(run))
        run.close()
    assert [result.epoch for result in pieces] == [1, 2, 3]
    assert list(map(untimed, pieces)) == list(map(untimed, results))
    assert different({**unbroken, "result": ""}, {**read_checkpoint(tmp_path / "broken.pt"), "result": ""}) == []
    assert list(train(config, streets, checkpoint=tmp_path / "broken.pt", device=CPU)) == pieces[-1:]  # nothing to do


def test_only_the_last_result_holds_the_test_split_if_it_is_asked_for(fast_config, streets, tmp_path):
    config = fast_config(epochs=2)
    tested = list(train(config, streets, checkpoint=tmp_path / "tested.pt", test=True, device=CPU))
    assert [result.test is None for result in tested] == [True, False]
    assert all(result.test is None for result in train(config, streets, device=CPU))
    assert list(train(config, streets, checkpoint=tmp_path / "tested.pt", test=True, device=CPU)) == tested[-1:]
    # On the validation split in its place, the same model measures what it has measured there.
    same = replace(streets, test=streets.val)
    *_, last = train(config, same, test=True, device=CPU)
    assert repr(last.test) == repr(last.curve)
    assert repr(last.curve) == repr(tested[-1].curve)


def test_a_missing_or_unlabelled_test_split_is_left_out(fast_config, streets):
    unlabelled = SimpleNamespace(pixel_counts=np.zeros((3, streets.num_classes), np.int64))
    for test in (None, unlabelled):
        *_, last = train(fast_config(epochs=1), replace(streets, test=test), test=True, device=CPU)
        assert last.test is None


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


@pytest.mark.parametrize("amx", [True, False])
def test_a_cpu_computes_in_bf16_by_itself_only_with_amx(fast_config, monkeypatch, amx):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert use_bf16(fast_config(precision="auto"), CPU) is amx


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        ("mcce", r"\(lr 1e\+12\); try a lower lr or clip_grad_norm$"),
        ("stochastic_tilt", r"\(lr 1e\+12, t 1\); try a lower lr, clip_grad_norm or tilt_warmup$"),
    ],
)
def test_divergence_is_reported_with_its_remedies(fast_config, streets, loss, said):
    config = fast_config(loss=loss, lr=1e12, epochs=1, steps_per_epoch=6)
    with pytest.raises(NonFiniteLossError, match=said):
        list(train(config, streets, device=CPU))


def test_divergence_is_reported_with_the_step_of_the_epoch(fast_config, streets):
    run = Run(fast_config(epochs=2, steps_per_epoch=2), streets, CPU)
    right, steps = run.loss, iter(range(2))
    run.epoch, run.loss = 1, lambda logits, labels: right(logits, labels) * (math.nan if next(steps) else 1)
    with pytest.raises(NonFiniteLossError, match="the loss is nan at step 2 of epoch 2"):
        run.next_epoch()
    run.close()


@pytest.mark.parametrize("limit", [1e-3, 0.1])
def test_clipping_bounds_the_step(fast_config, streets, limit):
    # Plain SGD moves by lr times the gradient. The gradient of an untrained model is far above both limits.
    config = fast_config(lr=0.5, momentum=0.0, weight_decay=0.0, clip_grad_norm=limit)
    run = Run(config, streets, CPU)
    before = parameters(run.model)
    run.step(0)
    run.close()
    moved = (parameters(run.model) - before).norm()
    assert moved == pytest.approx(0.5 * limit, rel=1e-2)


# Schedules


@pytest.mark.parametrize(
    ("loss", "over"),
    [
        ("image_tilt", "image"),
        ("class_tilt", "image"),
        ("class_tilt", "batch"),
        ("class_tilt", "data"),
        ("stochastic_tilt", "image"),
    ],
)
def test_a_step_has_the_learning_rate_and_the_tilt_of_its_schedules(fast_config, streets, loss, over):
    config = fast_config(loss=loss, over=over, t=3.0, tilt_warmup=0.5, epochs=2, steps_per_epoch=3, lookahead=0)
    run = Run(config, streets, CPU)
    for step in range(6):
        run.epoch = step // 3
        run.step(step)
        assert run.optimizer.param_groups[0]["lr"] == learning_rate(config, step, 6)
        assert (run.sampler.tilt.t if loss == "stochastic_tilt" else run.loss.t) == tilt(config, step, 6)
    run.close()


# Refusals


@pytest.mark.parametrize(
    ("batch_size", "workers", "synchronised", "share"),
    [(8, 1, False, 8), (8, 4, False, 2), (8, 8, True, 1), (2, 1, True, 2), (6, 3, True, 2)],
)
def test_a_batch_is_shared_evenly(batch_size, workers, synchronised, share):
    assert distributed.share_of_batch(batch_size, workers, synchronised=synchronised) == share


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
        distributed.share_of_batch(batch_size, workers, synchronised=synchronised)


def test_a_run_asks_how_many_workers_there_are(fast_config, streets, monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: 3)
    with pytest.raises(UserError, match="batch_size 4 cannot be shared evenly by 3 workers"):
        next(train(fast_config(), streets, device=CPU))


def test_a_class_that_the_split_does_not_show_has_no_iou(fast_config, tmp_path):
    """A model that predicts it somewhere is not punished, nor is the class its worst one."""
    classes = [ClassInfo(k, name, (k, k, k)) for k, name in enumerate(("road", "car"))]
    draw = np.random.default_rng(0)
    for name, share in (("train", 0.9), ("val", 0)):
        with SplitWriter(tmp_path / f"{name}.arrow", classes, "drawn", name) as writer:
            for i in range(4):
                image = draw.integers(0, 256, (48, 64, 3), dtype=np.uint8)
                writer.add(f"{i}", image, (draw.random((48, 64)) < share).astype(np.uint8))
    file = tmp_path / "counts.parquet"
    results = train(
        fast_config(epochs=1, batch_size=2, steps_per_epoch=8), open_dataset(tmp_path), counts=file, device=CPU
    )
    (last,) = list(results)
    for scores in last.curve:
        assert 0 <= scores.iou[0] <= 1
        assert np.isnan(scores.iou[1])
        assert scores.report.worst_class == 0
    kept = read_counts(file)["val"]
    assert kept.pixels[0, ..., 1, 1].any()  # its false positives count where another fold shows it
    assert not kept.at(0.0)[..., 1].any()
