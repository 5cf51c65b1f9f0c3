"""The trunk of a training: its plain first share, which several trainings can have in common."""

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tce_core.checkpoint import read_checkpoint
from tce_core.config import TrialConfig, parse_config
from tce_core.errors import UserError
from tce_core.loss_table import LOSSES
from tce_core.schedules import learning_rate, tilt
from tce_core.training import train
from tests.tce_core.states import different
from tests.tce_core.test_training import CPU, run_to_end, untimed

LATE = {"loss": "class_tilt", "t": 2.0, "lr": 0.02, "trunk": 0.5, "trunk_lr": 0.05, "epochs": 4, "steps_per_epoch": 3}


@pytest.fixture
def trunk(fast_config, streets, tmp_path):
    """The checkpoint of a trunk of two epochs, and its results."""
    path = tmp_path / "trunk.pt"
    results = list(islice(train(fast_config(**LATE).plain, streets, checkpoint=path, device=CPU), 2))
    return path, results


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"over": "data", "tilt_warmup": 0.5, "focus_share": 0.5},
        {"loss": "stochastic_tilt", "tilt_warmup": 0.5},
        {"loss": "mcce"},
    ],
    ids=lambda settings: settings.get("loss", settings.get("over", "image")),
)
def test_a_run_from_a_shared_trunk_ends_as_the_unbroken_one(fast_config, streets, tmp_path, trunk, settings):
    config = fast_config(**{**LATE, **settings})
    results, unbroken = run_to_end(config, streets, tmp_path / "unbroken.pt")
    assert [result.epoch for result in results] == [1, 2, 3, 4]
    path, before = trunk
    file = path.read_bytes()
    shared = list(train(config, streets, checkpoint=tmp_path / "shared.pt", trunk=path, device=CPU))
    assert list(map(untimed, shared)) == list(map(untimed, results[1:]))  # first, the result in the trunk's file
    assert untimed(shared[0]) == untimed(before[-1])
    state = read_checkpoint(tmp_path / "shared.pt")
    assert different({**unbroken, "result": ""}, {**state, "result": ""}) == []
    assert path.read_bytes() == file


def test_the_plain_loss_with_the_trunks_learning_rate_is_the_plain_training(fast_config, streets, tmp_path):
    config = fast_config(**LATE | {"loss": "mcce", "lr": 0.05})
    _, late = run_to_end(config, streets, tmp_path / "late.pt")
    _, plain = run_to_end(config.plain, streets, tmp_path / "plain.pt")
    assert different(late["model"], plain["model"]) == []
    assert different(late["optimizer"], plain["optimizer"]) == []


def test_a_run_stopped_after_each_epoch_continues_in_its_trunk_and_behind_it(fast_config, streets, tmp_path):
    config = fast_config(**LATE)
    results, unbroken = run_to_end(config, streets, tmp_path / "unbroken.pt")
    pieces = []
    for epoch in range(1, 5):
        run = train(config, streets, checkpoint=tmp_path / "broken.pt", device=CPU)
        if epoch > 1:
            assert untimed(next(run)) == untimed(pieces[-1])
        pieces.append(next(run))
        run.close()
    assert list(map(untimed, pieces)) == list(map(untimed, results))
    assert different({**unbroken, "result": ""}, {**read_checkpoint(tmp_path / "broken.pt"), "result": ""}) == []


def test_the_checkpoint_of_another_run_is_refused_by_the_setting_that_differs(fast_config, streets, tmp_path):
    run_to_end(fast_config(**LATE), streets, tmp_path / "run.pt")
    with pytest.raises(UserError, match="written with epochs = 4, not 6"):
        next(train(fast_config(**LATE | {"epochs": 6}), streets, checkpoint=tmp_path / "run.pt", device=CPU))


@pytest.mark.parametrize("damage", ["gone", "cut", "other"])
def test_a_trunk_that_is_lost_or_another_one_is_trained_and_kept(fast_config, streets, tmp_path, trunk, damage):
    path, _ = trunk
    whole = read_checkpoint(path)
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        next(train(fast_config(**LATE, seed=1).plain, streets, checkpoint=tmp_path / "other.pt", device=CPU))
        (tmp_path / "other.pt").replace(path)
    found = list(train(fast_config(**LATE), streets, checkpoint=tmp_path / "run.pt", trunk=path, device=CPU))
    assert [result.epoch for result in found] == [1, 2, 3, 4]
    assert different({**whole, "result": ""}, {**read_checkpoint(path), "result": ""}) == []


def test_a_trunk_that_is_longer_than_the_run_wants_is_refused(fast_config, streets, tmp_path):
    config = fast_config(**LATE)
    list(islice(train(config.plain, streets, checkpoint=tmp_path / "long.pt", device=CPU), 3))
    with pytest.raises(UserError, match="it holds epoch 3, not one up to 2"):
        next(train(config, streets, trunk=tmp_path / "long.pt", device=CPU))


@given(st.sampled_from(list(LOSSES)), st.floats(0, 0.9), st.integers(10, 100))
def test_a_trunk_depends_on_no_setting_of_the_loss(loss, share, epochs):
    base = {"trunk": share, "epochs": epochs, **({"trunk_lr": 0.3} if round(share * epochs) > 1 else {})}
    config = TrialConfig(loss=loss, lr=0.2, **base, **({} if LOSSES[loss].sampler_settings else {"focus_share": 0.5}))
    plain = config.plain
    assert plain == TrialConfig(lr=config.trunk_lr or 0.2, epochs=epochs)
    assert plain.plain == plain
    assert abs(config.trunk_epochs - share * epochs) <= 0.5


@given(st.integers(1, 60), st.integers(0, 59), st.integers(1, 20))
def test_the_learning_rate_runs_through_and_the_tilt_warms_up_behind_the_trunk(epochs, trunk, steps):
    share = min(trunk, epochs - 1) / epochs
    config = TrialConfig(loss="class_tilt", t=3.0, tilt_warmup=1.0, lr=0.2, trunk=share, epochs=epochs)
    total, first = epochs * steps, config.trunk_epochs * steps
    assert learning_rate(config, first, total) == learning_rate(config.plain, first, total)
    left = total - first
    found = [tilt(config, step, total) for step in range(first, total)]
    assert found == pytest.approx([3.0 * (i + 1) / left for i in range(left)])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"trunk": 1.0}, "trunk = 1.0: Input should be less than 1"),
        ({"trunk": 0.9, "epochs": 4}, "trunk = 0.9: it leaves none of the 4 epochs; give less"),
        ({"trunk_lr": 0.1}, "trunk_lr = 0.1: there is no trunk; give trunk, too"),
        ({"trunk": 0.1, "epochs": 4, "trunk_lr": 0.1}, "trunk_lr = 0.1: there is no trunk"),
    ],
)
def test_a_trunk_that_cannot_be_is_refused(settings, said):
    with pytest.raises(UserError, match=said):
        parse_config(settings, "here")
