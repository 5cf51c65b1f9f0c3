"""Start a training from the weights of a whole model that exists: its classes are matched by their names.

The rows of the last convolution are put in the order of the data set's classes. A class that the file does not have
keeps the random row of the new model; a class that the data set does not have is dropped. If a logit adjustment is
folded into the file's last bias, it is undone, so that the training starts from the plain model.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tce_core.adjust import folded_offset
from tce_core.config import TrialConfig
from tce_core.errors import UserError, file_error
from tce_core.freezing import freeze
from tce_core.model import build_model
from tce_core.weights import BIAS, FOLDER_FILES, HEAD, class_names_of, config_of, load_into, read_state

ARCHITECTURE = ("encoder", "output_stride", "decoder_channels", "atrous_rates")
"""The keys of `TrialConfig` on which the meaning of a state dict depends."""


@dataclass(frozen=True)
class ClassMatch:
    """Which row of a file's last convolution each class of a data set takes."""

    rows: tuple[int | None, ...]
    """For each class of the data set its row in the file; None: the file does not have it."""
    classes: tuple[str, ...]
    """Names of the classes of the data set."""
    dropped: tuple[str, ...] = ()
    """Classes of the file that the data set does not have."""
    by_name: bool = True
    adjusted: bool = False
    """Whether a logit adjustment is folded into the file's weights."""

    def __str__(self) -> str:
        """Plain English, such as `19 classes by name; new: pole, wall; dropped: sky`."""
        known = sum(row is not None for row in self.rows)
        new = [name for name, row in zip(self.classes, self.rows, strict=True) if row is None]
        parts = [f"{known} classes {'by name' if self.by_name else 'in their order, because the file has no names'}"]
        parts += [f"{word}: {', '.join(names)}" for word, names in (("new", new), ("dropped", self.dropped)) if names]
        parts += ["without its logit adjustment"] if self.adjusted else []
        return "; ".join(parts)


def model_to_train(config: TrialConfig, class_names: Sequence[str]) -> nn.Module:
    """Build the model that a training begins with: the weights are those of `start`, frozen is what `train` leaves out.

    Random weights come from torch's global generator, so seed it first.

    Raises:
        UserError: see `build_model` and `load_start`.
    """
    model = build_model(config, len(class_names))
    if config.start is not None:
        load_start(model, config, class_names)
    freeze(model, config.train)
    return model


def load_start(model: nn.Module, config: TrialConfig, class_names: Sequence[str]) -> ClassMatch:
    """Load the weights of `config.start` into a model of these classes.

    Args:
        model: made by `build_model`; its rows of the last convolution remain for classes that the file does not have.
        config: with a `start` and the architecture of the model.
        class_names: names of the K classes of the data set.

    Raises:
        UserError: the file cannot be read, is of another architecture, or has no class names and not K classes.
    """
    path = Path(config.start or "")
    state, metadata = read_state(path)
    settings, own = _settings(path, state, metadata), model.state_dict()
    for key, stated in settings.items():
        if (wanted := getattr(config, key)) != stated:
            value = json.dumps(stated, separators=(",", ":"))
            raise UserError(
                f"{path}: weights of a model with {key} {_shown(stated)}, not {_shown(wanted)}; "
                f"give --set trial.{key}={value.strip(chr(34))}"
            )
    match = _match(path, state, metadata, class_names)
    bias = state[BIAS] + _offset(path, metadata, len(state[BIAS])).to(state[BIAS])
    head = {HEAD: _rows(state[HEAD], own[HEAD], match), BIAS: _rows(bias, own[BIAS], match)}
    try:
        load_into(model, {**state, **head}, path)
    except UserError as error:
        if settings:
            raise
        flags = f"its model with --set trial.encoder=NAME, not {config.encoder}, and the like"
        raise UserError(f"{error}; the file does not say what it is: give {flags}") from None
    return match


def match_classes(path: Path, class_names: Sequence[str]) -> ClassMatch:
    """Match the classes of a file of weights with those of a data set. Raises UserError as `load_start`."""
    return _match(path, *read_state(path), class_names)


def settings_of(path: Path) -> dict[str, Any]:
    """Return the settings of `ARCHITECTURE` that a file of weights states of itself; empty for a bare state dict.

    Raises:
        UserError: there is no such file, or it cannot be read.
    """
    return _settings(path, *read_state(path))


def digest(path: Path) -> str:
    """Return the SHA-256 of a file of weights, or of the files of smp's folder with their names, in hex.

    Raises:
        UserError: there is no such file or folder, or it cannot be read.
    """
    files = [path / name for name in FOLDER_FILES] if path.is_dir() else [path]
    try:
        found = [_digest(file.absolute(), (now := file.stat()).st_mtime_ns, now.st_size, now.st_ino) for file in files]
    except OSError as error:
        raise file_error(path, "cannot be read", error) from None
    if not path.is_dir():
        return found[0]
    return hashlib.sha256("".join(f"{f.name} {d}\n" for f, d in zip(files, found, strict=True)).encode()).hexdigest()


@cache
def _digest(file: Path, *_state: int) -> str:
    """The SHA-256 of a file, which is read again only if its state has changed: a sweep asks before every trial."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _settings(path: Path, state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> dict[str, Any]:
    if "config" in metadata:
        config = config_of(path, metadata)
        return {key: getattr(config, key) for key in ARCHITECTURE}
    if "architecture" not in metadata:
        return {}
    arguments = json.loads(metadata["architecture"])
    return {  # the defaults are those of smp
        "encoder": arguments.get("encoder_name", "resnet34"),
        "output_stride": arguments.get("encoder_output_stride", 16),
        "decoder_channels": state[HEAD].shape[1],
        "atrous_rates": tuple(arguments.get("decoder_atrous_rates", (12, 24, 36))),
    }


def _match(
    path: Path, state: Mapping[str, Tensor], metadata: Mapping[str, str], class_names: Sequence[str]
) -> ClassMatch:
    names, classes, number = class_names_of(metadata), tuple(class_names), len(state[HEAD])
    adjusted = bool(_offset(path, metadata, number).any())
    if names is None:
        if number != len(classes):
            raise UserError(
                f"{path}: weights for {number} classes without names, but the data set has {len(classes)}; "
                "name them in the metadata of a safetensors file, as a JSON list under 'classes'"
            )
        return ClassMatch(tuple(range(number)), classes, by_name=False, adjusted=adjusted)
    if len(set(names)) != number:
        raise UserError(f"{path}: it names {len(set(names))} different classes, but has weights for {number}")
    if not set(names) & set(classes):
        raise UserError(
            f"{path}: none of its classes ({', '.join(names[:3])}, …) is in the data set "
            f"({', '.join(classes[:3])}, …); rename them in its metadata, under 'classes'"
        )
    row = {name: place for place, name in enumerate(names)}
    dropped = tuple(name for name in names if name not in classes)
    return ClassMatch(tuple(row.get(name) for name in classes), classes, dropped, adjusted=adjusted)


def _rows(stored: Tensor, new: Tensor, match: ClassMatch) -> Tensor:
    """Return the rows of all classes of the data set (K, …): stored ones, or those of the new model."""
    if stored.shape[1:] != new.shape[1:]:
        return stored  # loading it says what does not fit
    return torch.stack([new[k] if row is None else stored[row].to(new) for k, row in enumerate(match.rows)])


def _offset(path: Path, metadata: Mapping[str, str], classes: int) -> Tensor:
    """Return what logit adjustment has taken off the last bias (K,)."""
    try:
        return torch.from_numpy(folded_offset(metadata, classes))
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path}: its logit adjustment cannot be undone: {error}; give the plain weights") from None


def _shown(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
