"""`benchmarks.methods`: our search accepts the space of the surrogate, and follows learning curves."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import benchmarks

FOLDER = str(Path(next(iter(benchmarks.__path__))))
# Bounds like those of the surrogate.
BOUNDS = {
    "batch_size": (16, 512, True),
    "learning_rate": (1e-4, 0.1, True),
    "momentum": (0.1, 0.99, False),
    "weight_decay": (1e-5, 0.1, True),
    "num_layers": (1, 5, False),
    "max_units": (64, 1024, True),
    "max_dropout": (0.0, 1.0, False),
}


@pytest.fixture
def methods(monkeypatch):
    """The module; the scripts import each other by their names alone."""
    monkeypatch.syspath_prepend(FOLDER)
    before = set(sys.modules)
    import methods

    yield methods
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(FOLDER):
            del sys.modules[name]


def test_our_search_trains_good_configurations_longer_than_bad_ones(methods):
    """A configuration is good if its learning rate is high; its curve rises from the first epoch on."""

    def curves(task, configs):
        quality = (np.log10(configs[:, 1]) + 4) / 3
        epochs = np.arange(1, 53) / 52
        return np.repeat((1 - quality[:, None] * epochs)[:, :, None], 2, axis=2)

    ranges = {name: {"lower": low, "upper": high, "log": log} for name, (low, high, log) in BOUNDS.items()}
    ours = methods.Ours(SimpleNamespace(ranges=ranges, curves=curves), "task", 0, sampler="random")
    reached, rates = [], []
    for _ in range(12):
        trial = ours.begin()
        rates.append(ours.search.record[trial.handle].params["lr"])
        while True:
            trial.epoch += 1
            if not ours.goes_on(trial):
                break
        reached.append(trial.epoch)
    assert max(reached) == 52
    assert min(reached) == ours.search.plan.rungs[0] == 9
    assert rates[reached.index(52)] == max(rates[: reached.index(52) + 1])
    assert np.corrcoef(np.log(rates[1:]), reached[1:])[0, 1] > 0
