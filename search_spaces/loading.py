"""Load a search space: find its YAML file, merge the file that it extends, and apply overrides."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from search_spaces.space import Space, parse_space
from tce_core.errors import UserError

FOLDER = Path(__file__).parent
"""The folder of the built-in search spaces."""


def load_space(path: str | Path, overrides: Sequence[str] = ()) -> Space:
    """Read a search space, apply `section.key=value` overrides, and check every range against `TrialConfig`.

    Args:
        path: a YAML file, or the name of one in `search_spaces/` with or without `.yaml`.
        overrides: such as `trial.encoder=resnet50` or `space.t.high=3`; the values are YAML. `space.t=null`, here or
            in a file that extends another, removes a dimension; so does `baselines.mcce=null` a baseline.

    Raises:
        UserError: a file is missing or wrong, or an override is; the message names the file, the key and what is
            allowed.
    """
    file = find_space(path)
    raw = _read_merged(file)
    for override in overrides:
        _apply_override(raw, override)
    for section in ("space", "baselines"):
        if isinstance(raw.get(section), dict):  # null removes an entry of the file that is extended
            raw[section] = {name: entry for name, entry in raw[section].items() if entry is not None}
    return parse_space(raw, str(file))


def find_space(path: str | Path) -> Path:
    """Return the file of a search space: a path, or else the name of a built-in one.

    Raises:
        UserError: there is no such file.
    """
    for file in (Path(path), FOLDER / path, FOLDER / f"{path}.yaml"):
        if file.is_file():
            return file
    known = ", ".join(sorted(file.stem for file in FOLDER.glob("*.yaml")))
    raise UserError(f"{path}: no such search space; give a YAML file or one of {known}")


def read_yaml(file: Path, source: str) -> Any:
    """Return the content of a YAML file as plain values. Tags that would run code are refused.

    Args:
        file: the file to read.
        source: its name in error messages.

    Raises:
        UserError: the file cannot be read, or is not YAML.
    """
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{source}: {error.strerror}") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: not UTF-8, or a date that does not exist
        raise UserError(f"{source}: not YAML: {' '.join(str(error).split())}") from None


def _read_merged(file: Path, readers: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Merge a file over the file that it `extends`: sections key by key, while a dimension is replaced as a whole.

    The extended file is looked up in the folder of `file` first, then as `find_space` does. `readers` are the files
    that led to this one.
    """
    if file.resolve() in readers:
        raise UserError(f"{file}: extends itself, by way of {', '.join(reader.name for reader in readers)}")
    raw = read_yaml(file, str(file))
    if not isinstance(raw, dict):
        raise UserError(f"{file}: must be a mapping with the keys {', '.join(Space.model_fields)}")
    parent = raw.pop("extends", None)
    if parent is None:
        return raw
    beside = file.parent / str(parent)
    base = _read_merged(beside if beside.is_file() else find_space(str(parent)), (*readers, file.resolve()))
    sections = {key for key in base.keys() & raw.keys() if isinstance(base[key], dict) and isinstance(raw[key], dict)}
    return {**base, **raw, **{key: {**base[key], **raw[key]} for key in sections}}


def _apply_override(raw: dict[str, Any], override: str) -> None:
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
    except (yaml.YAMLError, ValueError):  # ValueError: a date that does not exist
        raise UserError(f"--set {override}: '{text}' is not a YAML value") from None
    if isinstance(node[keys[-1]], str) and isinstance(number := _number(text), float):
        node[keys[-1]] = number  # YAML 1.1 reads 1e-3 as text


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
