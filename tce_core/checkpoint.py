"""Checkpoints: tensors, numbers and JSON text; nothing in them is executed when they are read."""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from tce_core.config import TrialConfig
from tce_core.errors import UserError
from tce_core.files import replacing


class CannotSave(UserError):
    """A checkpoint could not be written: the disk's trouble, not the training's."""


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write all of `state` or leave the earlier file as it was.

    Raises:
        CannotSave: the disk is full, or the like.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            torch.save(dict(state), partial)
    except (OSError, RuntimeError) as error:  # torch's zip writer turns a failed write into a RuntimeError
        reason = getattr(error, "strerror", None) or str(error.__context__ or error).splitlines()[0]
        raise CannotSave(f"{path}: the checkpoint cannot be written: {reason}") from None


def load_checkpoint(path: Path, config: TrialConfig) -> dict[str, Any]:
    """The state that `save_checkpoint` wrote for the same configuration.

    Raises:
        UserError: not a checkpoint, or one of another configuration; the message names what differs.
    """
    state = read_checkpoint(path)
    saved, asked = json.loads(state["config"]), json.loads(config.model_dump_json())
    for key in asked:
        if saved.get(key) != asked[key]:
            raise UserError(f"{path}: written with {key} = {saved.get(key)}, not {asked[key]}; use another file")
    return state


def read_checkpoint(path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # torch.load checks no sum
        state = None if damaged else torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # zip, unpickling and I/O errors share no narrower base
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{path}: not a checkpoint that can be read safely: {reason}") from None
    if damaged:
        raise UserError(f"{path}: a damaged checkpoint: the checksum of {damaged} is wrong")
    if not isinstance(state, dict) or not {"config", "model", "epoch"} <= state.keys():
        raise UserError(f"{path}: not a checkpoint of this program")
    return state


def export_weights(checkpoint: Path, target: Path, metadata: Mapping[str, str]) -> None:
    """The model of a checkpoint as safetensors, with text metadata beside the tensors."""
    model: dict[str, Tensor] = read_checkpoint(checkpoint)["model"]
    with replacing(target) as partial:
        safetensors.torch.save_file({k: v.contiguous() for k, v in model.items()}, partial, dict(metadata))
