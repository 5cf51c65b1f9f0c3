"""The images of each training step: shuffled epochs, or the draws of Algorithm 1 over a data set."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tce_core.config import TrialConfig
from tce_core.sampling import Draw, Shuffle, StochasticDraws, build_sampler

# Pixels of three classes in six images; class 2 is rare.
PIXELS = np.array([[9, 1, 0], [5, 0, 2], [9, 0, 0], [0, 7, 3], [0, 8, 0], [4, 4, 0]])
every_kind = pytest.mark.parametrize(
    "kind",
    [
        {"draw": draw, "estimator": estimator, "partition": partition}
        for draw in ("image", "batch")
        for estimator in ("batch", "class")
        for partition in ("overlapping", "disjoint")
    ],
    ids=lambda kind: "-".join(kind.values()),
)


def stochastic(pixels=PIXELS, **settings):
    return StochasticDraws(TrialConfig(loss="stochastic_tilt", **{"batch_size": 4, **settings}), pixels)


def loss_of(sampler, group):
    """Return L~_c = l_c / t of a group."""
    return sampler.tilt.log_tilted[group].item() / sampler.tilt.t


# Shuffled epochs


@given(st.integers(1, 20), st.integers(1, 9), st.integers(0, 100))
def test_every_epoch_visits_every_image_once(images, batch_size, seed):
    sampler = Shuffle(images, batch_size, seed)
    steps = 3 * images  # exactly 3 * batch_size epochs; a batch may hold the end of one and the start of the next
    visited = [draw.image for step in range(steps) for draw in sampler.draw(step)]
    for epoch in range(3 * batch_size):
        assert sorted(visited[epoch * images : (epoch + 1) * images]) == list(range(images))


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = [[draw.image for draw in Shuffle(12, 12, seed).draw(epoch)] for seed in (0, 1) for epoch in (0, 1)]
    assert len(set(map(tuple, orders))) == 4


def test_a_shuffle_does_not_depend_on_what_was_drawn_before():
    used, fresh = Shuffle(10, 4, 5), Shuffle(10, 4, 5)
    for step in range(7):
        used.draw(step)
    assert used.draw(7) == fresh.draw(7)


# Algorithm 1


@every_kind
def test_the_class_drawn_is_in_the_image_drawn(kind):
    sampler = stochastic(**kind, t=1.0)
    rng = np.random.default_rng(0)
    for step in range(60):
        draws = sampler.draw(step)
        assert len(draws) == 4
        assert all(PIXELS[draw.image, draw.focus] > 0 for draw in draws)
        assert all(draw.image in sampler.groups[draw.focus] for draw in draws)
        if kind["draw"] == "batch":
            assert len({draw.focus for draw in draws}) == 1
        sampler.learn(draws, torch.tensor(rng.gamma(2.0, size=(4, 3))), torch.tensor(PIXELS[[d.image for d in draws]]))
    assert sampler.tilt.visits.sum() >= 60


def test_images_of_a_batch_draw_classes_of_their_own():
    sampler = stochastic(draw="image")
    assert any(len({draw.focus for draw in sampler.draw(step)}) > 1 for step in range(5))


def test_every_image_of_a_class_comes_up():
    sampler = stochastic(draw="image")
    drawn = {(draw.focus, draw.image) for step in range(100) for draw in sampler.draw(step)}
    assert drawn == {(k, image) for k in range(3) for image in range(6) if PIXELS[image, k]}


@pytest.mark.parametrize("draw", ["image", "batch"])
def test_at_image_level_single_images_are_drawn_without_a_class(draw):
    sampler = stochastic(level="image", draw=draw)
    seen = set()
    for step in range(40):
        draws = sampler.draw(step)
        assert all(d.focus is None for d in draws)
        if draw == "batch":
            assert len({d.image for d in draws}) == 1
        sampler.learn(draws, torch.ones(4, 3), torch.ones(4, 3, dtype=torch.int64))
        seen.update(d.image for d in draws)
    assert seen == set(range(6))


def test_a_class_or_image_without_pixels_is_not_waited_for():
    # An all-void image has no loss. If it could be drawn, it would stay unvisited and nothing else would be drawn.
    pixels = np.vstack([PIXELS, [0, 0, 0]])
    by_image = stochastic(pixels, level="image")
    by_class = stochastic(np.hstack([PIXELS, np.zeros((6, 1), int)]))
    for sampler, absent in ((by_image, 6), (by_class, 3)):
        for step in range(60):
            draws = sampler.draw(step)
            assert absent not in {d.image if d.focus is None else d.focus for d in draws}
            sampler.learn(draws, torch.ones(4, 3), torch.ones(4, 3, dtype=torch.int64))
        assert (sampler.tilt.visits > 0).sum() == len(sampler.groups) - 1


# What is learned from a step. Cross-entropy sums and pixel counts of two images by three classes:

SUMS = torch.tensor([[6.0, 1.0, 0.0], [2.0, 0.0, 9.0]])
COUNTS = torch.tensor([[2, 1, 0], [4, 0, 3]])


def test_one_class_for_the_batch_learns_from_all_its_pixels():
    sampler = stochastic(draw="batch", estimator="batch", t=2.0)
    sampler.learn([Draw(0, 0), Draw(1, 0)], SUMS, COUNTS)
    assert sampler.tilt.visits.tolist() == [1, 0, 0]
    assert loss_of(sampler, 0) == pytest.approx(18 / 10)  # (6 + 1 + 2 + 9) / (2 + 1 + 4 + 3)


def test_one_class_for_the_batch_learns_from_its_own_pixels():
    sampler = stochastic(draw="batch", estimator="class", t=2.0)
    sampler.learn([Draw(0, 0), Draw(1, 0)], SUMS, COUNTS)
    assert sampler.tilt.visits.tolist() == [1, 0, 0]
    assert loss_of(sampler, 0) == pytest.approx(8 / 6)  # (6 + 2) / (2 + 4)


def test_a_class_for_each_image_learns_from_the_image_s_pixels():
    sampler = stochastic(draw="image", estimator="batch", t=2.0)
    sampler.learn([Draw(0, 1), Draw(1, 2)], SUMS, COUNTS)
    assert sampler.tilt.visits.tolist() == [0, 1, 1]
    assert loss_of(sampler, 1) == pytest.approx(7 / 3)  # image 0: (6 + 1) / (2 + 1)
    assert loss_of(sampler, 2) == pytest.approx(11 / 7)  # image 1: (2 + 9) / (4 + 3)


def test_a_class_for_each_image_learns_from_its_own_pixels():
    sampler = stochastic(draw="image", estimator="class", t=2.0)
    sampler.learn([Draw(0, 1), Draw(1, 2)], SUMS, COUNTS)
    assert sampler.tilt.visits.tolist() == [0, 1, 1]
    assert loss_of(sampler, 1) == pytest.approx(1 / 1)
    assert loss_of(sampler, 2) == pytest.approx(9 / 3)


def test_a_class_drawn_twice_in_a_batch_is_learned_twice():
    sampler = stochastic(draw="image", estimator="class", t=1.0)
    sampler.learn([Draw(0, 0), Draw(1, 0)], SUMS, COUNTS)
    assert sampler.tilt.visits.tolist() == [2, 0, 0]
    # Losses 6/2 = 3 and 2/4 = 0.5 at rates 1 and 1/2: log((e^3 + e^0.5) / 2).
    assert loss_of(sampler, 0) == pytest.approx(math.log((math.exp(3) + math.exp(0.5)) / 2))


@pytest.mark.parametrize("estimator", ["batch", "class"])
def test_single_images_learn_from_all_their_pixels(estimator):
    sampler = stochastic(level="image", estimator=estimator, t=1.0)
    sampler.learn([Draw(4), Draw(2)], SUMS, COUNTS)
    assert sampler.tilt.visits.tolist() == [0, 0, 1, 0, 1, 0]
    assert loss_of(sampler, 4) == pytest.approx(7 / 3)
    assert loss_of(sampler, 2) == pytest.approx(11 / 7)


def test_nothing_is_learned_from_a_crop_of_void():
    sampler = stochastic(level="image", t=1.0)
    sampler.learn([Draw(4), Draw(2)], SUMS * torch.tensor([[0], [1]]), COUNTS * torch.tensor([[0], [1]]))
    assert sampler.tilt.visits.tolist() == [0, 0, 1, 0, 0, 0]


# Tilt warm-up


@given(st.lists(st.floats(0.01, 10), min_size=1, max_size=5), st.sampled_from([-1, 1]))
def test_a_new_tilt_keeps_what_was_learned(tilts, sign):
    sampler = stochastic(t=sign * 1.0)
    losses = [1.0, 0.25, 3.0]
    for k, loss in enumerate(losses):
        sampler.tilt.update(k, loss)
    for t in tilts:
        sampler.set_tilt(sign * t)
        assert [loss_of(sampler, k) for k in range(3)] == pytest.approx(losses)
    expected = torch.softmax(sign * tilts[-1] * torch.tensor(losses, dtype=torch.float64), 0)
    torch.testing.assert_close(sampler.tilt.weights, expected)


def test_a_restored_sampler_draws_and_learns_the_same():
    one = stochastic(t=2.0)
    one.set_tilt(0.5)
    for step in range(6):
        one.learn(one.draw(step), torch.rand(4, 3), torch.ones(4, 3, dtype=torch.int64))
    other = stochastic(t=2.0)
    other.load_state_dict(one.state_dict())
    for step in range(6, 20):
        for sampler in (one, other):
            sampler.set_tilt(0.1 * step)
        draws = one.draw(step)
        assert other.draw(step) == draws
        sums = torch.rand(4, 3)
        for sampler in (one, other):
            sampler.learn(draws, sums, torch.ones(4, 3, dtype=torch.int64))
    assert one.state_dict() == other.state_dict()


def test_only_stochastic_tilt_draws_classes():
    assert isinstance(build_sampler(TrialConfig(loss="stochastic_tilt"), PIXELS), StochasticDraws)
    assert isinstance(build_sampler(TrialConfig(loss="class_tilt"), PIXELS), Shuffle)
