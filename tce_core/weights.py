"""Read a trained model from a file or folder: our weights and checkpoints, smp's `save_pretrained`, a state dict.

No code in a file is executed.
"""

import json
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

from tce_core.config import TrialConfig, parse_config
from tce_core.data.dataset import Dataset
from tce_core.errors import UserError
from tce_core.model import build_model, check_encoder

HEAD, BIAS = "segmentation_head.0.weight", "segmentation_head.0.bias"
"""The last convolution of a DeepLabv3+ of smp: a row for each class."""
FOLDER_FILES = ("config.json", "model.safetensors")
"""What a folder of smp's `save_pretrained` holds."""
ENDED = '", …'
"""Instead of the rest of a list of keys."""
DESCRIBED = ("config", "architecture")
"""Keys of the metadata that describe the model, as JSON: our configuration, or arguments of smp."""


@dataclass(frozen=True)
class Architecture:
    """What a state dict does not say about its DeepLabv3+. The defaults are those of smp."""

    encoder: str
    output_stride: int = 16
    atrous_rates: tuple[int, int, int] = (12, 24, 36)


def architecture_of(
    encoder: str | None, output_stride: int | None, atrous_rates: tuple[int, int, int] | None
) -> Architecture | None:
    """Return the architecture that flags state, None without them.

    Raises:
        UserError: one of the others is given without the encoder.
    """
    stated = {"output_stride": output_stride, "atrous_rates": atrous_rates}
    given: dict[str, Any] = {key: value for key, value in stated.items() if value is not None}
    if given and encoder is None:
        raise UserError(f"--{next(iter(given)).replace('_', '-')} is for a state dict; give --encoder with it")
    return None if encoder is None else Architecture(encoder, **given)


@dataclass(frozen=True)
class Weights:
    """A model with its weights."""

    model: nn.Module
    """In evaluation mode, on the CPU."""
    metadata: Mapping[str, str]
    """What the file says of itself. It is enough to read the weights again when it is stored beside them."""
    num_classes: int
    """K, the length of the last bias."""


def read_weights(path: Path, architecture: Architecture | None = None) -> Weights:
    """Read a DeepLabv3+ and its weights, of as many classes as they are for.

    Args:
        path: a safetensors file or a checkpoint of this program, a folder of smp's `save_pretrained`, or a state dict
            as a safetensors file or a file of `torch.save`, also under the key `state_dict` or `model`.
        architecture: needed for a state dict, refused for the others, which hold their own.

    Raises:
        UserError: there is no such file, it cannot be read, has another architecture, or `architecture` is missing or
            not needed.
    """
    state, metadata = read_state(path)
    num_classes = len(state[BIAS])
    described = next((key for key in DESCRIBED if key in metadata), None)
    if described is None:
        if architecture is None:
            raise UserError(f"{path}: it does not say which model it is for; give --encoder")
        arguments = {
            "encoder_name": architecture.encoder,
            "encoder_output_stride": architecture.output_stride,
            "decoder_atrous_rates": architecture.atrous_rates,
            "decoder_channels": state[HEAD].shape[1],
        }
        metadata = {**metadata, "architecture": json.dumps(arguments)}
    elif architecture is not None:
        raise UserError(f"{path}: it says itself which model it is for; leave {', '.join(_flags(architecture))} out")
    model = _build(path, metadata, num_classes)
    load_into(model, state, path)
    return Weights(model.eval(), metadata, num_classes)


def read_weights_of(data: Dataset, path: Path, architecture: Architecture | None = None) -> Weights:
    """Read a model of the classes of a data set.

    Args:
        data: with the K classes.
        path: see `read_weights`.
        architecture: see `read_weights`.

    Raises:
        UserError: see `read_weights` and `check_classes_of`.
    """
    weights = read_weights(path, architecture)
    check_classes_of(weights, path, data.class_names, data.path)
    return weights


def check_classes_of(weights: Weights, path: Path, class_names: Sequence[str], owner: Path) -> None:
    """Check that the weights that were read from `path` are for the classes that the file or folder `owner` has.

    Raises:
        UserError: their number differs; or the weights name other classes, or the same in another order.
    """
    if weights.num_classes != len(class_names):
        raise UserError(f"{path}: weights for {weights.num_classes} classes, but {owner} has {len(class_names)}")
    names = class_names_of(weights.metadata)
    if names is not None and names != tuple(class_names):
        raise UserError(f"{path}: weights for the classes {', '.join(names)}, but {owner} has {', '.join(class_names)}")


def read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the state dict of a DeepLabv3+ of smp, and what is stored beside it; see `read_weights` for the files.

    Returns:
        The tensors on the CPU, with at least the weight and the bias of the last convolution; and the metadata, where
        a key of `DESCRIBED` holds a JSON mapping.

    Raises:
        UserError: there is no such file, or it does not hold such a model.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file")
    state, metadata = _read(path)
    for key in (HEAD, BIAS):
        if key not in state:
            raise UserError(f"{path}: not the weights of a DeepLabv3+ of smp: {key} is missing")
    return state, {key: text for key, text in metadata.items() if key not in DESCRIBED or _is_mapping(text)}


def load_into(model: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Load a state dict that was read from `path`.

    Raises:
        UserError: it is not one of this model.
    """
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        lines = str(error).strip().splitlines()
        first, more, _ = lines[min(1, len(lines) - 1)].strip().partition('", "')  # of the keys, which can be hundreds
        raise UserError(f"{path}: the weights do not fit the model: {first}{more and ENDED}") from None


def config_of(path: Path, metadata: Mapping[str, str]) -> TrialConfig:
    """Return the configuration in the metadata, without the files that it starts from: they may be elsewhere."""
    apart = {"encoder_weights": None, "start": None, "train": "all"}
    return parse_config({**json.loads(metadata["config"]), **apart}, str(path))


def class_names_of(metadata: Mapping[str, str]) -> tuple[str, ...] | None:
    """Return the names of the classes that the weights are for; None if the metadata does not hold such a list."""
    try:
        names = json.loads(metadata.get("classes", "null"))
    except ValueError:
        return None
    return tuple(names) if isinstance(names, list) and all(isinstance(name, str) for name in names) else None


def _is_mapping(text: str) -> bool:
    """Whether a text is JSON of ours; other programs may use the same key."""
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _flags(architecture: Architecture) -> list[str]:
    return [f"--{name.replace('_', '-')}" for name in asdict(architecture)]


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a state dict and what is stored beside it."""
    try:
        if path.is_dir():
            return _read_folder(path)
        if path.suffix == ".safetensors":
            return _read_safetensors(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
        nested = next((key for key in ("state_dict", "model") if isinstance(content.get(key), dict)), None)
        state = {key.removeprefix("module."): value for key, value in (content[nested] if nested else content).items()}
        beside = {key: content.get(key) for key in ("config", "classes")}
        return state, {key: text for key, text in beside.items() if isinstance(text, str)}
    except UserError:
        raise
    except pickle.UnpicklingError:  # torch's text recommends to read it unsafely
        raise UserError(
            f"{path}: not weights that can be read safely: not of torch.save, or not tensors alone"
        ) from None
    except Exception as error:  # unpickling, zip, JSON and I/O errors have no narrower common base class
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{path}: not weights that can be read safely: {reason}") from None


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with safetensors.safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
    return safetensors.torch.load_file(path), metadata


def _read_folder(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    missing = [name for name in FOLDER_FILES if not (path / name).is_file()]
    if missing:
        raise UserError(f"{path}: {' and '.join(missing)} missing; a folder must be one of smp's save_pretrained")
    arguments: dict[str, Any] = json.loads((path / "config.json").read_text(encoding="utf-8"))
    name = arguments.pop("_model_class", None)
    if name != "DeepLabV3Plus":
        raise UserError(f"{path}: a model of the class {name}; only DeepLabV3Plus can be read")
    if arguments.get("activation") or arguments.get("aux_params"):
        raise UserError(f"{path}: the model has an activation or a second output; only plain logits can be used")
    if (channels := arguments.get("in_channels", 3)) != 3:
        raise UserError(f"{path}: the model has {channels} input channels; only RGB images can be read")
    arguments.pop("classes", None)
    state, metadata = _read_safetensors(path / "model.safetensors")
    return state, {**metadata, "architecture": json.dumps(arguments)}


def _build(path: Path, metadata: Mapping[str, str], num_classes: int) -> nn.Module:
    """Build the model that the metadata describes, with random weights."""
    if "config" in metadata:
        return build_model(config_of(path, metadata), num_classes)
    arguments = json.loads(metadata["architecture"])
    check_encoder(arguments.setdefault("encoder_name", "resnet34"))
    try:
        model: nn.Module = smp.DeepLabV3Plus(**{**arguments, "encoder_weights": None, "classes": num_classes})
    except (KeyError, ValueError, TypeError, RuntimeError, AssertionError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{path}: its model cannot be built: {reason}") from None
    return model
