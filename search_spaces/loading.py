"""Load a search space from YAML: `extends`, overrides, and where the file is found."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from search_spaces.space import Space, parse_space
from tce_core.errors import UserError

FOLDER = Path(__file__).parent


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
