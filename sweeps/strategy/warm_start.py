"""The first configurations of a search, taken from the front of an earlier sweep or from a file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from search_spaces.dimensions import Choices, Range
from search_spaces.loading import read_yaml
from search_spaces.space import Space
from sweeps.storage.record import Record
from sweeps.strategy.outcome import Outcome
from tce_core.config import parse_config
from tce_core.errors import UserError


def warm_start(source: str, storage: str, space: Space) -> list[dict[str, Any]]:
    """Read the configurations to try first.

    Args:
        source: the name of a sweep in `storage`, or a file that ends in .yaml or .yml. A sweep gives the
            searched trials on its front, the highest guard first. A file is an exported configuration or a list of
            settings such as `{loss: class_tilt, t: 1, lr: 0.01}`.
        storage: URL of the Optuna storage.
        space: the space of the new search.

    Returns:
        The searched parameters of each configuration, without duplicates.

    Raises:
        UserError: the sweep or file does not exist or cannot be read, or a configuration is not in the space. The
            message names the source and the configuration.
    """
    found = from_file(Path(source)) if Path(source).suffix in (".yaml", ".yml") else from_sweep(source, storage)
    chosen: list[dict[str, Any]] = []
    for place, settings in enumerate(found, start=1):
        params = params_in_space(space, settings, f"--warm-start {source}: configuration {place}")
        if params not in chosen:
            chosen.append(params)
    return chosen


def from_sweep(name: str, storage: str) -> list[Mapping[str, Any]]:
    """Return the configurations of the searched trials on the front of a sweep, the highest guard first.

    Raises:
        UserError: the sweep does not exist, or no searched trial is on its front.
    """
    record = Record.load(storage, name)
    objectives = record.plan.objectives
    front = [point for point in Outcome(record, objectives).front() if point.trial.role == "search"]
    if not front:
        raise UserError(f"--warm-start {name}: no searched configuration is on that sweep's front")
    by_guard = sorted(front, key=lambda point: -objectives.guard.value(point.scores))
    trials = {point.trial.number: point.trial for point in by_guard}  # a trial can have several points on the front
    return [trial.config for trial in trials.values()]


def from_file(path: Path) -> Sequence[Mapping[str, Any]]:
    """Return the configuration of an exported file, or the configurations of a list, in their order.

    Raises:
        UserError: the file cannot be read, is not YAML or contains something else.
    """
    content = read_yaml(path, f"--warm-start {path}")
    if isinstance(content, dict) and isinstance(content.get("trial"), dict):
        return [content["trial"]]
    if isinstance(content, list) and content and all(isinstance(settings, dict) for settings in content):
        return content
    raise UserError(f"--warm-start {path}: neither an exported configuration nor a list of settings")


def params_in_space(space: Space, settings: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Select the searched parameters from `settings`. All other settings are ignored, since the space fixes them.

    Args:
        space: the search space.
        settings: values by name; names and values must be valid in a `TrialConfig`.
        where: beginning of error messages.

    Raises:
        UserError: a searched parameter is missing or lies outside its dimension, or another key or value is not valid.
    """
    parse_config({name: value for name, value in settings.items() if name not in space.space}, where)
    params: dict[str, Any] = {}
    for name, dimension in space.space.items():
        if not dimension.active(params):
            continue
        if name not in settings:
            raise UserError(f"{where}: '{name}' is missing; the space searches {space.size()}")
        value = settings[name]
        if not contains(dimension, value):
            raise UserError(f"{where}: {name} = {value!r} is outside the space: {space.size()}")
        params[name] = value
    return params


def contains(dimension: Range | Choices, value: Any) -> bool:
    """Return whether the value is one of the choices, or a number (not a bool) in the closed range."""
    if isinstance(dimension, Choices):
        return value in dimension.choices
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and dimension.low <= value <= dimension.high
