"""Loading a search space: what is fixed, what is searched, which baselines it is measured against."""

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

from tce_core.config import TrialConfig, parse_config
from tce_core.errors import UserError
from tce_core.loss_table import losses_with

FOLDER = Path(__file__).parent
Scalar = str | int | float | bool | None
Sampler = Literal["tpe", "gp", "nsga2", "random", "grid"]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class _Dimension(_Strict):
    when: dict[str, Scalar | list[Scalar]] = {}
    """Searched only if each named choice has (one of) the given value(s); otherwise the fixed value holds."""

    def active(self, params: Mapping[str, Scalar]) -> bool:
        return all(key in params and params[key] in as_list(wanted) for key, wanted in self.when.items())


class Range(_Dimension):
    """A number between `low` and `high`, on a log scale if `log`."""

    low: float
    high: float
    log: bool = False
    points: Annotated[int, Field(ge=2)] = 4
    """How many values, evenly spaced, a grid takes."""

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"a log range needs low > 0, not {self.low:g}")
        return self

    @property
    def probes(self) -> list[Scalar]:
        """Values that must be allowed: both ends, and a fraction in between, which a whole-number setting refuses."""
        return [self.low, self.high, self.low + (self.high - self.low) / math.pi]

    def grid(self) -> list[Scalar]:
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        places = [low + (high - low) * i / (self.points - 1) for i in range(self.points)]
        inner = [float(f"{math.exp(x) if self.log else x:.6g}") for x in places[1:-1]]
        return [self.low, *inner, self.high]


class Choices(_Dimension):
    """One of several values."""

    choices: Annotated[list[Scalar], Field(min_length=1)]

    @property
    def probes(self) -> list[Scalar]:
        return self.choices

    def grid(self) -> list[Scalar]:
        return self.choices


def _kind(value: object) -> str:
    return "Choices" if isinstance(value, Choices) or (isinstance(value, dict) and "choices" in value) else "Range"


KINDS: dict[Any, type[BaseModel]] = {"Range": Range, "Choices": Choices}
Dimension = Annotated[Annotated[Range, Tag("Range")] | Annotated[Choices, Tag("Choices")], Discriminator(_kind)]


class SearchDefaults(_Strict):
    """How much is searched unless the command line says otherwise."""

    trials: Annotated[int, Field(ge=1)] = 12
    """Searched configurations, beside the baselines."""
    sampler: Sampler = "gp"
    rungs: list[Annotated[int, Field(ge=1)]] | None = None
    """Epochs after which only the better trials go on; null: at a sixth and at a half; []: all go on."""
    keep: Annotated[float, Field(gt=0, le=1)] = 0.25
    """Share of the trials that goes on."""
    confirm: Annotated[int, Field(ge=0)] = 2
    """Fresh seeds with which the recommended configuration and the first baseline are trained again at the end."""


class Space(_Strict):
    """A search space. The keys of `trial`, `space` and each baseline are those of `TrialConfig`."""

    version: Literal[1] = 1
    description: str = ""
    search: SearchDefaults = SearchDefaults()
    trial: dict[str, Any] = {}
    space: dict[str, Dimension]
    baselines: dict[str, dict[str, Any]] = {}

    def config(self, params: Mapping[str, Any], **fixed: Any) -> TrialConfig:
        """The complete configuration of `params`; what they and `fixed` leave open is as in `trial`."""
        return TrialConfig(**{**self.trial, **params, **fixed})

    def grid(self) -> list[dict[str, Scalar]]:
        """Every distinct combination of the dimensions' grid values, conditions respected."""
        found: dict[tuple[tuple[str, Scalar], ...], dict[str, Scalar]] = {}
        for values in itertools.product(*(dimension.grid() for dimension in self.space.values())):
            params: dict[str, Scalar] = {}
            for (name, dimension), value in zip(self.space.items(), values, strict=True):
                if dimension.active(params):
                    params[name] = value
            found[tuple(params.items())] = params
        return list(found.values())

    def size(self) -> str:
        """The dimensions in words, for a person."""
        parts = []
        for name, dimension in self.space.items():
            if isinstance(dimension, Range):
                text = f"{name} {dimension.low:g} to {dimension.high:g}{' (log)' if dimension.log else ''}"
            else:
                text = f"{name} of {len(dimension.choices)}: {', '.join(map(str, dimension.choices))}"
            when = [f"{key} = {' or '.join(map(str, as_list(value)))}" for key, value in dimension.when.items()]
            parts.append(text + (f" if {' and '.join(when)}" if when else ""))
        return "; ".join(parts)


def load_space(path: str | Path, overrides: Sequence[str] = ()) -> Space:
    """Read a search space, apply `key.path=value` overrides, and check every range against `TrialConfig`.

    Args:
        path: a YAML file, or the name of one in `search_spaces/` with or without `.yaml`.
        overrides: such as `trial.encoder=resnet50` or `space.t.high=3`; values are YAML.

    Raises:
        UserError: naming the file, the key and what is allowed.
    """
    file = find_space(path)
    raw = _read(file)
    for override in overrides:
        _override(raw, override)
    return parse_space(raw, str(file))


def parse_space(raw: dict[str, Any], source: str) -> Space:
    """Check the content of a search space; `source` names it in errors."""
    try:
        space = Space.model_validate(raw)
    except ValidationError as error:
        raise UserError(f"{source}: {_explain(error)}") from None
    space = space.model_copy(update={"space": _with_losses(space.space, source)})
    _check_keys(space, source)
    return space


def _with_losses(dimensions: Mapping[str, Range | Choices], source: str) -> dict[str, Range | Choices]:
    """The dimensions, each setting of some losses (such as gamma) searched only for those losses.

    It concerns dimensions after a searched `loss`, and only those that do not state a condition on it themselves.

    Raises:
        UserError: a setting that none of the searched losses has.
    """
    derived: dict[str, Range | Choices] = {}
    for name, dimension in dimensions.items():
        searched = derived["loss"].grid() if "loss" in derived else []
        takers = losses_with(name)
        if searched and takers and "loss" not in dimension.when:
            users = [loss for loss in searched if loss in takers]
            if not users:
                known = ", ".join(takers)
                raise UserError(f"{source}: space.{name}: no searched loss has this setting; it is one of {known}")
            if len(users) < len(searched):
                dimension = dimension.model_copy(update={"when": {**dimension.when, "loss": users}})
        derived[name] = dimension
    return derived


def find_space(path: str | Path) -> Path:
    for file in (Path(path), FOLDER / path, FOLDER / f"{path}.yaml"):
        if file.is_file():
            return file
    known = ", ".join(sorted(file.stem for file in FOLDER.glob("*.yaml")))
    raise UserError(f"{path}: no such search space; give a YAML file or one of {known}")


def read_yaml(file: Path, source: str) -> Any:
    """What a YAML file holds, nothing in it executed; `source` names it in errors.

    Raises:
        UserError: it cannot be read, or is not YAML.
    """
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{source}: {error.strerror}") from None
    except (yaml.YAMLError, ValueError) as error:  # the latter: not UTF-8, or a date that does not exist
        raise UserError(f"{source}: not YAML: {' '.join(str(error).split())}") from None


def _read(file: Path, readers: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The file's content over that of the file it `extends`; sections merge key by key, a dimension is replaced."""
    if file.resolve() in readers:
        raise UserError(f"{file}: extends itself, by way of {', '.join(reader.name for reader in readers)}")
    raw = read_yaml(file, str(file))
    if not isinstance(raw, dict):
        raise UserError(f"{file}: must be a mapping with the keys {', '.join(Space.model_fields)}")
    parent = raw.pop("extends", None)
    if parent is None:
        return raw
    beside = file.parent / str(parent)
    base = _read(beside if beside.is_file() else find_space(str(parent)), (*readers, file.resolve()))
    sections = {key for key in base.keys() & raw.keys() if isinstance(base[key], dict) and isinstance(raw[key], dict)}
    return {**base, **raw, **{key: {**base[key], **raw[key]} for key in sections}}


def _override(raw: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    keys = path.split(".")
    if not equals or len(keys) < 2:
        raise UserError(f"--set {override}: write it as section.key=value, such as trial.encoder=resnet50")
    node = raw
    for key in keys[:-1]:
        node = node.setdefault(key, {})
        if not isinstance(node, dict):
            raise UserError(f"--set {override}: '{key}' is a value, not a section")
    try:
        node[keys[-1]] = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):  # the latter: of dates that do not exist
        raise UserError(f"--set {override}: '{text}' is not a YAML value") from None
    if isinstance(node[keys[-1]], str) and isinstance(number := _number(text), float):
        node[keys[-1]] = number  # YAML 1.1 reads 1e-3 as text


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _check_keys(space: Space, source: str) -> None:
    """Every key exists, every choice and range is allowed, every condition can be met."""
    fixed = {"trial": space.trial}
    fixed |= {f"baselines.{name}": {**space.trial, **settings} for name, settings in space.baselines.items()}
    for section, settings in fixed.items():
        parse_config(settings, f"{source}: {section}")
        if "seed" in settings:
            raise UserError(f"{source}: {section}.seed: the seed is the sweep's; use --seed")
    for name, settings in space.baselines.items():
        if "epochs" in settings:
            raise UserError(f"{source}: baselines.{name}.epochs: trials are compared at the same epochs; use --epochs")
    seen: dict[str, Range | Choices] = {}
    for name, dimension in space.space.items():
        if name in ("epochs", "seed"):
            raise UserError(f"{source}: space.{name}: trials are compared at the same {name}; use --{name}")
        for value in dimension.probes:
            parse_config({**space.trial, name: value}, f"{source}: space.{name}")
        for key, wanted in dimension.when.items():
            values = seen[key].choices if isinstance(seen.get(key), Choices) else []  # type: ignore[union-attr]
            for value in as_list(wanted):
                if value not in values:
                    raise UserError(
                        f"{source}: space.{name}.when.{key} = {value!r} can never hold; "
                        f"the choices of an earlier '{key}' are {values}"
                    )
        seen[name] = dimension


def as_list(value: Scalar | list[Scalar]) -> list[Scalar]:
    return value if isinstance(value, list) else [value]


def _explain(error: ValidationError) -> str:
    first = min(error.errors(), key=lambda e: (e["type"] == "missing", e["type"] == "extra_forbidden"))
    loc = first["loc"]
    place = ".".join(str(part) for part in loc if part not in KINDS)
    if first["type"] == "extra_forbidden":
        model: type[BaseModel] = next((KINDS[part] for part in loc if part in KINDS), SearchDefaults)
        keys = ["extends", *Space.model_fields] if len(loc) == 1 else list(model.model_fields)
        return f"unknown key '{place}'; the keys are {', '.join(keys)}"
    what = first["msg"].removeprefix("Value error, ")
    hint = "; give low and high (with log, points, when), or choices (with when)" if place.startswith("space.") else ""
    given = "" if isinstance(first["input"], dict) else f" = {first['input']!r}"
    return f"{place}{given}: {what}{hint}"
