"""`tce_core.feed`: what each draw of Algorithm 1 has learned from, what is cut ahead, and copies to the CPU."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tce_core.batches import Batches
from tce_core.data.crops import CropSettings
from tce_core.feed import AHEAD, Feed, HostCopy
from tce_core.sampling import build_sampler
from tce_core.schedules import tilt

STEPS = 5


class Spy:
    """Wraps a sampler's `draw` and `learn`, and keeps the order of their calls."""

    def __init__(self, sampler, monkeypatch):
        self.drawn, self.learned, self.tilts = [], [], []
        draw, learn = sampler.draw, sampler.learn

        def spied_draw(step):
            self.drawn.append((step, len(self.learned)))
            self.tilts.append(sampler.tilt.t)
            return draw(step)

        def spied_learn(draws, sums, counts):
            self.learned.append(float(sums[0, 0]))
            learn(draws, sums, counts)

        monkeypatch.setattr(sampler, "draw", spied_draw)
        monkeypatch.setattr(sampler, "learn", spied_learn)


@pytest.fixture
def feed_of(fast_config, streets):
    made = []

    def make(epochs=2, **settings):
        config = fast_config(epochs=epochs, steps_per_epoch=STEPS, **settings)
        batches = Batches(streets.train, CropSettings(config.crop), seed=0, threads=1)
        made.append(Feed(config, build_sampler(config, streets.train.pixel_counts), batches, epochs * STEPS))
        return made[-1]

    yield make
    for feed in made:
        feed.close()


def run_epochs(feed, classes, epochs=2):
    for step in range(epochs * STEPS):
        feed.take(step, end=(step // STEPS + 1) * STEPS)
        counts = torch.zeros(feed.config.batch_size, classes, dtype=torch.int64)
        counts[:, 0] = 1
        feed.learn(step, float(step) * counts, counts)
        if (step + 1) % STEPS == 0:
            feed.end_epoch()


@pytest.mark.parametrize("lookahead", [0, 1, 2, 3, 4, 9])
def test_a_draw_knows_the_losses_that_its_lookahead_allows(feed_of, streets, monkeypatch, lookahead):
    feed = feed_of(loss="stochastic_tilt", lookahead=lookahead)
    spy = Spy(feed.sampler, monkeypatch)
    run_epochs(feed, streets.num_classes)
    # Step s of an epoch that starts at e: all e steps before, and those of this epoch up to s - 1 - k.
    expected = [(s, max(s // STEPS * STEPS, s - lookahead)) for s in range(2 * STEPS)]
    assert spy.drawn == expected
    assert spy.learned == [float(step) for step in range(2 * STEPS)]


@pytest.mark.parametrize(
    ("settings", "ahead"),
    [
        ({"loss": "mcce"}, AHEAD),
        ({"loss": "mcce", "focus_share": 0.5, "lookahead": 0}, AHEAD),
        ({"loss": "stochastic_tilt", "lookahead": 0}, 0),
        ({"loss": "stochastic_tilt", "lookahead": 1}, 1),
        ({"loss": "stochastic_tilt", "lookahead": 2}, 1),
        ({"loss": "stochastic_tilt", "lookahead": 4}, 3),
    ],
)
def test_later_batches_are_cut_while_a_step_is_trained(feed_of, settings, ahead):
    feed = feed_of(**settings)
    feed.take(0, end=STEPS)
    assert len(feed.ahead) == ahead
    feed.take(1, end=STEPS)
    assert len(feed.ahead) == min(ahead, STEPS - 2)


def test_nothing_is_drawn_beyond_the_epoch(feed_of):
    feed = feed_of(loss="mcce")
    for step in range(STEPS):
        feed.take(step, end=STEPS)
    assert not feed.ahead


@pytest.mark.parametrize("lookahead", [0, 3])
def test_each_draw_uses_the_tilt_of_its_own_step(feed_of, streets, monkeypatch, lookahead):
    feed = feed_of(loss="stochastic_tilt", lookahead=lookahead, t=2.0, tilt_warmup=0.7)
    spy = Spy(feed.sampler, monkeypatch)
    run_epochs(feed, streets.num_classes)
    assert spy.tilts == pytest.approx([tilt(feed.config, step, 2 * STEPS) for step in range(2 * STEPS)])


def test_a_loss_that_is_not_finite_teaches_nothing(feed_of, streets):
    feed = feed_of(loss="stochastic_tilt")
    feed.take(0, end=STEPS)
    counts = torch.ones(feed.config.batch_size, streets.num_classes, dtype=torch.int64)
    feed.learn(0, counts * torch.nan, counts)
    feed.end_epoch()
    assert feed.sampler.tilt.visits.sum() == 0


@given(st.lists(st.floats(-9, 9), min_size=1, max_size=5))
def test_a_copy_to_the_cpu_holds_the_values(values):
    tensor = torch.tensor(values)
    (copied,) = HostCopy(tensor).wait()
    assert torch.equal(copied, tensor)
