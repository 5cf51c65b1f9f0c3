"""Algorithm 1 compared with a literal transcription of its lines, and its behaviour over many draws."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tce_core.stochastic import StochasticTilt, disjoint, overlapping

K = 5


class Literal:
    """Lines 7 and 8 as written, with e^{t L~}. Every class is visited once first; the rate is max(gamma, 1/visits)."""

    def __init__(self, t, gamma):
        self.t, self.gamma = t, gamma
        self.exponentials = [math.nan] * K  # unknown until the first visit
        self.visits = [0] * K

    def update(self, c, loss):
        self.visits[c] += 1
        if self.visits[c] == 1:
            self.exponentials[c] = math.exp(self.t * loss)
            return
        rate = max(self.gamma, 1 / self.visits[c])
        self.exponentials[c] = (1 - rate) * self.exponentials[c] + rate * math.exp(self.t * loss)

    def weights(self):
        new = [c for c in range(K) if not self.visits[c]]
        if new:
            return [(c in new) / len(new) for c in range(K)]
        return [e / math.fsum(self.exponentials) for e in self.exponentials]


@pytest.mark.parametrize("t", [-3.0, -0.5, 0.0, 0.1, 1.0, 4.0])
@pytest.mark.parametrize("gamma", [0.01, 0.1, 1.0])
def test_it_is_the_literal_algorithm(t, gamma):
    tilt, literal = StochasticTilt(K, t, gamma), Literal(t, gamma)
    generator, rng = torch.Generator().manual_seed(0), np.random.default_rng(0)
    for _ in range(400):
        assert tilt.weights.tolist() == pytest.approx(literal.weights(), rel=1e-10, abs=1e-300)
        c, loss = tilt.draw(generator), rng.gamma(2.0) * 2
        tilt.update(c, loss)
        literal.update(c, loss)
    assert tilt.visits.tolist() == literal.visits


def test_the_first_estimates_are_plain_means():
    # gamma = 0.1 has no effect before visit 11. The rates 1, 1/2, 1/3 give (1/3) sum e^{tL}.
    tilt = StochasticTilt(2, 2.0, 0.1)
    for loss in (1.0, 0.5, 3.0):
        tilt.update(0, loss)
    assert tilt.log_tilted[0].item() == pytest.approx(math.log((math.e**2 + math.e + math.e**6) / 3), rel=1e-14)


def test_later_estimates_move_at_rate_gamma():
    tilt = StochasticTilt(1, 1.0, 0.25)
    for _ in range(7):
        tilt.update(0, 1.0)
    tilt.update(0, 2.0)  # visit 8: 1/8 < gamma
    assert tilt.log_tilted[0].item() == pytest.approx(math.log(0.75 * math.e + 0.25 * math.e**2), rel=1e-14)


@pytest.mark.parametrize("t", [1e4, -1e4])
def test_nothing_overflows(t):
    tilt = StochasticTilt(3, t, 0.1)
    for _ in range(20):
        for c, loss in enumerate((100.0, 99.0, 0.0)):
            tilt.update(c, loss)
    # l_c = t L~_c exactly, since each class always had the same loss; e^{1e4} leaves one class.
    torch.testing.assert_close(tilt.log_tilted, t * torch.tensor([100.0, 99.0, 0.0], dtype=torch.float64))
    assert tilt.weights.tolist() == ([1, 0, 0] if t > 0 else [0, 0, 1])


# Draws


@pytest.mark.parametrize("t", [-1.0, 0.0, 0.7, 2.0])
def test_classes_come_as_often_as_softmax_of_their_tilted_losses(t):
    losses = torch.tensor([0.2, 1.0, 1.5, 0.4, 0.9], dtype=torch.float64)
    tilt, generator = StochasticTilt(K, t, 0.1), torch.Generator().manual_seed(1)
    n = 4000
    for _ in range(n + K):
        c = tilt.draw(generator)
        tilt.update(c, losses[c].item())
    share = (tilt.visits - 1) / n
    expected = torch.softmax(t * losses, 0)
    # Five standard deviations of a binomial share: the draws after the first round are independent.
    assert ((share - expected).abs() < 5 * (expected * (1 - expected) / n).sqrt()).all()


def test_without_tilt_the_losses_do_not_matter():
    tilt = StochasticTilt(K, 0.0, 0.3)
    for c in range(K):
        tilt.update(c, 10.0**c)
    assert tilt.weights.tolist() == [1 / K] * K


@given(st.integers(0, 10**6), st.floats(-10, 10))
def test_every_class_is_visited_before_any_comes_again(seed, t):
    tilt, generator = StochasticTilt(K, t, 0.1), torch.Generator().manual_seed(seed)
    drawn = []
    for _ in range(K):
        drawn.append(tilt.draw(generator))
        tilt.update(drawn[-1], 100.0)
    assert sorted(drawn) == list(range(K))


@given(st.lists(st.booleans(), min_size=1, max_size=8).filter(any), st.integers(0, 10**6))
def test_a_class_that_no_image_holds_is_never_drawn(available, seed):
    # A negative tilt prefers small losses, so it would prefer the unused estimate 0 of an absent class.
    tilt = StochasticTilt(len(available), -1.0, 0.1, available)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(40):
        assert [
            weight for weight, here in zip(tilt.weights.tolist(), available, strict=True) if not here and weight
        ] == []
        c = tilt.draw(generator)
        assert available[c]
        tilt.update(c, 5.0)
    assert tilt.weights.sum() == pytest.approx(1)


def test_starting_from_zero_as_printed_never_leaves_the_first_class():
    # The paper starts its moving averages at 0 and updates them at rate gamma. Then the first class that is drawn
    # keeps probability 1. This is why our start differs.
    rng, t, gamma = np.random.default_rng(0), 1.0, 0.1
    exponentials, visited = np.zeros(19), set()
    weights = np.full(19, 1 / 19)
    for _ in range(2000):
        c = int(rng.choice(19, p=weights))
        visited.add(c)
        exponentials[c] = (1 - gamma) * exponentials[c] + gamma * np.exp(t * rng.gamma(2.0))
        weights = exponentials / exponentials.sum()
    assert len(visited) == 1
    ours, generator = StochasticTilt(19, t, gamma), torch.Generator().manual_seed(0)
    for _ in range(2000):
        ours.update(ours.draw(generator), rng.gamma(2.0))
    assert (ours.visits > 5).all()


# State and refusals


def test_a_restored_state_goes_on_the_same_way():
    one, other = StochasticTilt(K, 1.3, 0.1), StochasticTilt(K, 1.3, 0.1)
    rng = np.random.default_rng(3)
    for _ in range(23):
        one.update(int(rng.integers(K)), rng.random())
    other.load_state_dict(one.state_dict())
    generators = [torch.Generator().manual_seed(9), torch.Generator().manual_seed(9)]
    for _ in range(50):
        drawn = [tilt.draw(generator) for tilt, generator in zip((one, other), generators, strict=True)]
        assert drawn[0] == drawn[1]
        loss = rng.random()
        one.update(drawn[0], loss)
        other.update(drawn[0], loss)
    assert one.state_dict() == other.state_dict()


def test_a_state_of_another_number_of_classes_is_refused():
    with pytest.raises(ValueError, match="the state has 4 classes, not 5"):
        StochasticTilt(5, 1.0, 0.1).load_state_dict(StochasticTilt(4, 1.0, 0.1).state_dict())


@pytest.mark.parametrize("gamma", [0.0, -0.1, 1.01, math.nan])
def test_a_rate_outside_its_range_is_refused(gamma):
    with pytest.raises(ValueError, match="gamma"):
        StochasticTilt(K, 1.0, gamma)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_tilt_or_loss_that_is_not_finite_is_refused(value):
    with pytest.raises(ValueError, match="not finite"):
        StochasticTilt(K, value, 0.1)
    tilt = StochasticTilt(K, 1.0, 0.1)
    with pytest.raises(ValueError, match=r"class 2: loss .* is not finite"):
        tilt.update(2, value)
    assert tilt.visits.sum() == 0


@pytest.mark.parametrize("available", [[False] * K, [True] * (K - 1), []])
def test_some_class_must_be_available(available):
    with pytest.raises(ValueError, match="at least one of 5 classes"):
        StochasticTilt(K, 1.0, 0.1, available)


# D_c

PIXELS = np.array(
    [
        [90, 10, 0, 0],
        [50, 0, 5, 0],
        [100, 0, 0, 0],
        [0, 30, 2, 0],
        [0, 0, 0, 0],  # all void
        [0, 8, 0, 0],
    ]
)  # pixels of class 0: 240, 1: 48, 2: 7, 3: none


def test_overlapping_sets_by_hand():
    assert [group.tolist() for group in overlapping(PIXELS)] == [[0, 1, 2], [0, 3, 5], [1, 3], []]


def test_disjoint_sets_by_hand():
    # Each image goes to its rarest class: 0 -> 1 (48 < 240), 1 -> 2, 2 -> 0, 3 -> 2, 5 -> 1; image 4 nowhere.
    assert [group.tolist() for group in disjoint(PIXELS)] == [[2], [0, 5], [1, 3], []]


@given(st.integers(0, 10**6))
def test_disjoint_sets_partition_the_labelled_images_within_the_overlapping_ones(seed):
    pixels = np.random.default_rng(seed).integers(0, 4, (12, 5)) * np.random.default_rng(seed + 1).integers(
        0, 2, (12, 5)
    )
    parts = disjoint(pixels)
    assert sorted(np.concatenate(parts)) == np.flatnonzero(pixels.any(axis=1)).tolist()
    assert all(set(part) <= set(every) for part, every in zip(parts, overlapping(pixels), strict=True))
