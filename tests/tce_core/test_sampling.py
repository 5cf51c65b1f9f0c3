"""The images of each training step: shuffled epochs, focused draws, or the draws of Algorithm 1 over a data set."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tce_core.config import TrialConfig
from tce_core.sampling import Draw, FocusedDraws, Shuffle, StochasticDraws, build_sampler, focus_probabilities

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


# Focused draws


def focused(pixels=PIXELS, **settings):
    return FocusedDraws(TrialConfig(**{"batch_size": 4, "focus_share": 0.5, **settings}), pixels)


def test_the_class_probabilities_are_daformers():
    """An independent computation of the formula of arXiv 2111.14887 with NumPy, and one case by hand."""
    pixels = np.array([5_000, 3_000, 1_900, 100])
    frequency = pixels / pixels.sum()
    for temperature in (0.01, 0.1, 1.0):
        weights = np.exp((1 - frequency) / temperature)
        wanted = torch.tensor(weights / weights.sum())
        torch.testing.assert_close(focus_probabilities(pixels, temperature), wanted, rtol=1e-12, atol=0)
    # By hand, T = 0.1: the factor e^{1 / T} is common to all classes.
    found = focus_probabilities(pixels, 0.1)
    by_hand = [math.exp(-5), math.exp(-3), math.exp(-1.9), math.exp(-0.1)]
    assert found.tolist() == pytest.approx([x / sum(by_hand) for x in by_hand])


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=20).filter(any), st.floats(1e-6, 1e3) | st.none())
def test_class_probabilities_are_finite_and_fall_with_the_frequency(pixels, temperature):
    found = focus_probabilities(np.array(pixels), temperature)
    assert found.sum().item() == pytest.approx(1)
    assert [p == 0 for p, n in zip(found.tolist(), pixels, strict=True) if n == 0] == [True] * pixels.count(0)
    shown = sorted((n, p) for p, n in zip(found.tolist(), pixels, strict=True) if n)
    assert all(p >= q * (1 - 1e-9) for (_, p), (_, q) in itertools.pairwise(shown))
    if temperature is None:
        assert [p for _, p in shown] == pytest.approx([1 / len(shown)] * len(shown))


@given(st.integers(1, 9), st.floats(0.01, 1), st.integers(0, 50))
def test_each_batch_has_the_share_of_focused_draws_rounded_up_or_down(batch_size, share, steps):
    sampler = focused(batch_size=batch_size, focus_share=share)
    counts = [sum(draw.focus is not None for draw in sampler.draw(step)) for step in range(steps)]
    assert all(abs(count - share * batch_size) < 1 + 1e-6 for count in counts)
    assert abs(sum(counts) - share * batch_size * steps) < 1 + 1e-6


@pytest.mark.parametrize(("share", "batch_size", "wanted"), [(1 / 3, 6, 2), (0.5, 4, 2), (0.25, 8, 2), (1.0, 4, 4)])
def test_a_share_of_whole_images_is_the_same_in_every_batch_and_on_every_rank(share, batch_size, wanted):
    sampler = focused(batch_size=batch_size, focus_share=share)
    for step in range(40):
        batch = [draw.focus is not None for draw in sampler.draw(step)]
        assert sum(batch) == wanted
        halves = batch[: batch_size // 2], batch[batch_size // 2 :]  # of two ranks
        assert sum(halves[0]) == sum(halves[1])


def test_the_others_come_from_the_shuffle_in_its_order():
    sampler, shuffle = focused(focus_share=0.3), Shuffle(6, 1, seed=0)
    others = [draw.image for step in range(30) for draw in sampler.draw(step) if draw.focus is None]
    assert others == [shuffle.draw(step)[0].image for step in range(len(others))]
    assert all(sorted(others[i : i + 6]) == list(range(6)) for i in range(0, 78, 6))


@pytest.mark.parametrize("temperature", [None, 0.3])
def test_classes_and_their_images_are_drawn_as_often_as_they_should(temperature):
    """Chi-square over all pairs of a class and an image; 6,000 draws of a fixed seed, at the 1% level."""
    sampler = focused(focus_share=1.0, focus_temperature=temperature, batch_size=20)
    drawn = [(draw.focus, draw.image) for step in range(300) for draw in sampler.draw(step)]
    expected = {
        (k, image): sampler.probabilities[k].item() / np.count_nonzero(PIXELS[:, k])
        for image, k in zip(*np.nonzero(PIXELS), strict=True)
    }
    assert set(drawn) == expected.keys()  # and so every crop's image shows its class
    counts = [drawn.count(pair) for pair in expected]
    assert stats.chisquare(counts, [len(drawn) * p for p in expected.values()]).pvalue > 0.01


def test_focused_draws_need_no_state():
    used, fresh = focused(seed=3), focused(seed=3)
    before = [used.draw(step) for step in range(9)]
    fresh.load_state_dict(used.state_dict())
    assert [fresh.draw(step) for step in reversed(range(9))] == before[::-1]
    assert [focused(seed=4).draw(step) for step in range(9)] != before


def test_the_loss_and_the_share_choose_the_sampler():
    kinds = {
        StochasticDraws: {"loss": "stochastic_tilt"},
        Shuffle: {"loss": "class_tilt"},
        FocusedDraws: {"loss": "class_tilt", "focus_share": 0.1},
    }
    for kind, settings in kinds.items():
        assert type(build_sampler(TrialConfig(**settings), PIXELS)) is kind
