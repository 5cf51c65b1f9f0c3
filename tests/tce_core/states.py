"""Helpers for tests of models and checkpoints: compare states, and make a file that runs code if it is trusted."""

from pathlib import Path

import torch


def flat(state, prefix=""):
    """Return a nested state as {path: leaf}."""
    items = state.items() if isinstance(state, dict) else enumerate(state)
    leaves = {}
    for key, value in items:
        nested = isinstance(value, dict | list | tuple)
        leaves |= flat(value, f"{prefix}/{key}") if nested else {f"{prefix}/{key}": value}
    return leaves


def different(one, other):
    """Return the paths at which two states are not bitwise equal."""
    one, other = flat(one), flat(other)
    assert one.keys() == other.keys()
    same = {
        key: torch.equal(one[key], other[key]) if torch.is_tensor(one[key]) else one[key] == other[key] for key in one
    }
    return [key for key in one if not same[key]]


def parameters(model):
    """Return all parameters as one vector."""
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


class Hostile:
    """An object that, when its pickle is loaded, creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)
