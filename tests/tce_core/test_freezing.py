"""Training a part of a model: what is frozen stays to the last bit, and the rest learns."""

import pytest
import torch

from tce_core.run import Run
from tce_core.training import train
from tests.tce_core.states import different

CPU = torch.device("cpu")
PARTS = ("encoder", "decoder", "segmentation_head")


@pytest.fixture(scope="module")
def start(fast_config, streets, tmp_path_factory):
    """A checkpoint of one epoch."""
    path = tmp_path_factory.mktemp("start") / "run.pt"
    next(train(fast_config(epochs=1), streets, checkpoint=path, device=CPU))
    return str(path)


def copied(run):
    return {key: value.clone() for key, value in run.model.state_dict().items()}


@pytest.mark.parametrize(("trained", "learn"), [("all", PARTS), ("decoder", PARTS[1:]), ("head", PARTS[2:])])
@pytest.mark.parametrize("loss", ["mcce", "stochastic_tilt"])
def test_only_what_is_trained_changes(fast_config, streets, start, trained, learn, loss):
    run = Run(fast_config(start=start, train=trained, loss=loss, clip_grad_norm=1.0), streets, CPU)
    before = copied(run)
    run.next_epoch()
    run.close()
    after = copied(run)
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert {key.split(".")[0] for key in changed} == set(learn)
    buffers = {name for name, _ in run.model.named_buffers()}
    assert {key for key in buffers if key.startswith(learn)} <= changed  # BatchNorm learns where parameters do
    parameters = dict(run.model.named_parameters())
    assert {name for name, one in parameters.items() if one.grad is not None} == {
        name for name in parameters if name.startswith(learn)
    }
    held = {id(one) for group in run.optimizer.param_groups for one in group["params"]}
    assert held == {id(one) for name, one in parameters.items() if name.startswith(learn)}


def test_a_frozen_training_that_is_resumed_ends_as_an_unbroken_one(fast_config, streets, start, tmp_path):
    config = fast_config(start=start, train="decoder", epochs=2)
    unbroken = list(train(config, streets, checkpoint=tmp_path / "whole.pt", device=CPU))
    broken = train(config, streets, checkpoint=tmp_path / "broken.pt", device=CPU)
    next(broken)
    broken.close()
    resumed = list(train(config, streets, checkpoint=tmp_path / "broken.pt", device=CPU))
    assert repr(resumed[-1].curve) == repr(unbroken[-1].curve)


def test_nothing_is_trained_but_the_start_is_evaluated(fast_config, streets, start, tmp_path):
    config = fast_config(start=start, train="nothing", epochs=1)
    run = Run(config, streets, CPU)
    before = copied(run)
    run.close()
    (result,) = train(config, streets, checkpoint=tmp_path / "as-it-is.pt", device=CPU)
    assert (result.epoch, result.train_loss, result.lr) == (1, None, 0.0)
    assert result.from_json(result.to_json()).train_loss is None
    assert different(before, torch.load(tmp_path / "as-it-is.pt", weights_only=True)["model"]) == []
    (again,) = train(config, streets, checkpoint=tmp_path / "as-it-is.pt", device=CPU)
    assert repr(again.curve) == repr(result.curve)
    (earlier,) = train(fast_config(epochs=1), streets, device=CPU)  # the training that made the start
    assert repr(result.iou) == repr(earlier.iou)
