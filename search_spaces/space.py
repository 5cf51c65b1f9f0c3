"""A search space: the settings that are fixed, those that are searched, and the baselines for comparison."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError

from search_spaces.dimensions import KINDS, STRICT, Choices, Dimension, Range, Scalar, as_list
from tce_core.config import TrialConfig, parse_config
from tce_core.errors import UserError
from tce_core.loss_table import idle_at, losses_with

SHARED = {"epochs": "--epochs", "trunk": "--trunk", "trunk_lr": "trial.trunk_lr"}
"""Settings that all trials of a sweep have in common, and where they are given."""
Sampler = Literal["tpe", "gp", "nsga2", "random", "grid"]


class SearchDefaults(BaseModel):
    """The extent of the search. The command line overrides it."""

    model_config = STRICT

    trials: Annotated[int, Field(ge=1)] = 12
    """Number of searched configurations; the baselines come on top."""
    sampler: Sampler = "gp"
    rungs: list[Annotated[int, Field(ge=1)]] | None = None
    """Epochs after which only the better trials continue; null: at 1/6 and 1/2 of the epochs; []: all continue."""
    keep: Annotated[float, Field(gt=0, le=1)] = 0.25
    """Share of the trials that continues at a rung."""
    confirm: Annotated[int, Field(ge=0)] = 4
    """Most new seeds with which a leading configuration and the first baseline are trained at the end."""


class Space(BaseModel):
    """A search space. The keys of `trial`, of `space` and of each baseline are keys of `TrialConfig`."""

    model_config = STRICT

    version: Literal[1] = 1
    description: str = ""
    search: SearchDefaults = SearchDefaults()
    trial: dict[str, Any] = {}
    """Fixed settings."""
    space: dict[str, Dimension]
    """Searched settings."""
    baselines: dict[str, dict[str, Any]] = {}
    """Settings of each baseline, by its name; they replace those of `trial`."""

    def config(self, params: Mapping[str, Any], **fixed: Any) -> TrialConfig:
        """Return a complete configuration: `fixed` replaces `params`, which replace the settings of `trial`.

        The trunk has the learning rate of `trial`, so that all trials can have it in common.
        """
        config = TrialConfig(**{**self.trial, **params, **fixed})
        if config.trunk_epochs and config.trunk_lr is None:
            lr = TrialConfig(**self.trial).lr
            return config.model_copy(update={"trunk_lr": lr})
        return config

    def grid(self) -> list[dict[str, Scalar]]:
        """Return every distinct combination of the dimensions' grid values, without inactive dimensions."""
        points: list[dict[str, Scalar]] = [{}]
        for name, dimension in self.space.items():
            points = [
                {**point, **setting}
                for point in points
                for setting in ([{name: value} for value in dimension.grid()] if dimension.active(point) else [{}])
            ]
        return points

    def size(self) -> str:
        """Describe the dimensions in words, such as `t 0.1 to 10 (log); loss of 2: mcce, dice`."""
        parts = []
        for name, dimension in self.space.items():
            if isinstance(dimension, Range):
                text = f"{name} {dimension.low:g} to {dimension.high:g}{' (log)' if dimension.log else ''}"
            else:
                text = f"{name} of {len(dimension.choices)}: {', '.join(map(str, dimension.choices))}"
            text += f" if {' and '.join(_stated(dimension.when))}" if dimension.when else ""
            text += f" unless {' or '.join(_stated(dimension.unless))}" if dimension.unless else ""
            parts.append(text)
        return "; ".join(parts)


def parse_space(raw: dict[str, Any], source: str) -> Space:
    """Check the content of a search space, every range and choice against `TrialConfig`.

    A setting that only some losses have is searched only for those losses.

    Args:
        raw: the content of a file, after `extends` and overrides.
        source: the name of the space in error messages, such as the file's path.

    Raises:
        UserError: the first thing that is wrong, in one line with the source, the key and what is allowed.
    """
    try:
        space = Space.model_validate(raw)
    except ValidationError as error:
        raise UserError(f"{source}: {_explain(error)}") from None
    _check_settings(space, source)
    return space.model_copy(update={"space": _with_losses(space, source)})


def _with_losses(space: Space, source: str) -> dict[str, Range | Choices]:
    """Search each setting that only some losses have, such as gamma, only where it changes the loss.

    This adds conditions to a dimension that states no condition on the loss. A dimension that depends on another
    searched setting of its loss is moved behind that setting, and so are the dimensions that depend on it.

    Raises:
        UserError: the setting changes no loss of the space, so searching it would change nothing; or the condition
            comes before the searched `loss`.
    """
    losses = [str(loss) for loss in _values(space, "loss")]
    idle = {name: _idle(space, name, losses) for name in space.space}
    derived: dict[str, Range | Choices] = {}
    for name in _ordered(space, idle):
        dimension, takers = space.space[name], losses_with(name)
        if takers and "loss" not in dimension.when:
            having = [loss for loss in losses if loss in takers]
            users = [loss for loss in having if not _always_idle(space, name, loss)]
            if not having:
                raise UserError(
                    f"{source}: space.{name}: no loss of this space has this setting ({', '.join(losses)}); "
                    f"losses with it: {', '.join(takers)}"
                )
            if not users:
                raise UserError(
                    f"{source}: space.{name}: changes nothing in {', '.join(having)} "
                    f"at {' or '.join(_stated(idle[name]))}"
                )
            if len(users) < len(losses):
                if "loss" not in derived:
                    raise UserError(f"{source}: space.{name}: only some losses have this setting; put it after 'loss'")
                dimension = dimension.model_copy(update={"when": {**dimension.when, "loss": users}})
            unless = {key: values for key, values in idle[name].items() if key in derived}
            dimension = dimension.model_copy(update={"unless": {**dimension.unless, **unless}})
        derived[name] = dimension
    return derived


def _ordered(space: Space, idle: Mapping[str, Mapping[str, list[Scalar]]]) -> list[str]:
    """Return the dimensions, each after those that decide whether it changes anything; otherwise as they are."""
    names = list(space.space)
    needs = {
        name: {*idle[name], *(key for key in space.space[name].when if key in names[:i])}
        for i, name in enumerate(names)
    }
    ordered: list[str] = []
    while left := [name for name in names if name not in ordered]:
        ordered.append(next((name for name in left if not needs[name] & set(left)), left[0]))
    return ordered


def _values(space: Space, name: str) -> list[Scalar]:
    """Return the values that a setting can have in a space: the searched ones, or the fixed one."""
    return space.space[name].grid() if name in space.space else [getattr(space.config({}), name)]


def _idle(space: Space, setting: str, losses: list[str]) -> dict[str, list[Scalar]]:
    """Return the values of other settings that occur in the space and at which `setting` changes nothing."""
    idle = {key: [v for v in _values(space, key) if v in at] for key, at in idle_at(setting, losses).items()}
    return {key: values for key, values in idle.items() if values}


def _always_idle(space: Space, setting: str, loss: str) -> bool:
    """Return whether the space has only values of another setting at which `setting` changes nothing."""
    return any(idle == _values(space, key) for key, idle in _idle(space, setting, [loss]).items())


def _stated(conditions: Mapping[str, Scalar | list[Scalar]]) -> list[str]:
    """Describe each condition in words, such as `loss = focal or dice`."""
    return [f"{key} = {' or '.join(map(str, as_list(value)))}" for key, value in conditions.items()]


def _check_settings(space: Space, source: str) -> None:
    """Check that every key exists, every value is allowed and every condition can be met."""
    fixed = {"trial": space.trial}
    fixed |= {f"baselines.{name}": {**space.trial, **settings} for name, settings in space.baselines.items()}
    for section, settings in fixed.items():
        parse_config(settings, f"{source}: {section}")
        if "seed" in settings:
            raise UserError(f"{source}: {section}.seed: the seed belongs to the sweep; use --seed")
    for name, settings in space.baselines.items():
        for key in SHARED:
            if key in settings and settings.get("train") != "nothing":  # which has one epoch, an evaluation
                raise UserError(f"{source}: baselines.{name}.{key}: all trials use the same {key}; use {SHARED[key]}")
    seen: dict[str, Range | Choices] = {}
    for name, dimension in space.space.items():
        if use := {**SHARED, "seed": "--seed"}.get(name):
            raise UserError(f"{source}: space.{name}: all trials use the same {name}; use {use}")
        for value in dimension.probes:
            parse_config({**space.trial, name: value}, f"{source}: space.{name}")
        conditions = [(word, *item) for word in ("when", "unless") for item in getattr(dimension, word).items()]
        for word, key, wanted in conditions:
            values = seen[key].choices if isinstance(seen.get(key), Choices) else []  # type: ignore[union-attr]
            for value in as_list(wanted):
                if value not in values:
                    raise UserError(
                        f"{source}: space.{name}.{word}.{key} = {value!r} can never hold; "
                        f"the choices of an earlier '{key}' are {values}"
                    )
        seen[name] = dimension


def _explain(error: ValidationError) -> str:
    """Describe one error in one line: a wrong value first, else an unknown key, else a missing key."""
    first = min(error.errors(), key=lambda e: (e["type"] == "missing", e["type"] == "extra_forbidden"))
    loc = first["loc"]
    place = ".".join(str(part) for part in loc if part not in KINDS)
    if first["type"] == "extra_forbidden":
        model: type[BaseModel] = next((KINDS[part] for part in loc if part in KINDS), SearchDefaults)
        keys = ["extends", *Space.model_fields] if len(loc) == 1 else list(model.model_fields)
        return f"unknown key '{place}'; the keys are {', '.join(keys)}"
    what = first["msg"].removeprefix("Value error, ")
    dimension = "; give low and high (with log, points, when, unless), or choices (with when, unless)"
    hint = dimension if place.startswith("space.") else ""
    given = "" if isinstance(first["input"], dict) else f" = {first['input']!r}"
    return f"{place}{given}: {what}{hint}"
