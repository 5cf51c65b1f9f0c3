"""Checkpoints hold tensors, numbers and JSON text. Reading one never executes code from the file."""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from tce_core.config import TrialConfig
from tce_core.errors import BAD_INPUT, NO_SPACE, TEMPORARY, UserError
from tce_core.files import replacing

FORMAT = 2
"""Version of what a checkpoint holds. 1 had no number, and the result of its last epoch had no `curve`."""


class CannotSave(UserError):
    """A checkpoint or weights could not be written. The training itself did not fail.

    It is temporary unless the operating system names another cause than a full disk, such as missing permission.
    """

    exit_code = TEMPORARY


def cannot_save(path: Path, what: str, error: Exception) -> CannotSave:
    """Say why `what` cannot be written."""
    cause = error if isinstance(error, OSError) else error.__context__
    reason = getattr(error, "strerror", None) or str(error.__context__ or error).splitlines()[0]
    failure = CannotSave(f"{path}: {what} cannot be written: {reason}")
    if isinstance(cause, OSError) and cause.errno not in (None, *NO_SPACE):
        failure.exit_code = BAD_INPUT
    return failure


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write `state` to `path`. If that fails, the earlier file stays unchanged.

    Args:
        path: the file to write; its folder is created if needed.
        state: tensors, numbers, text and containers of them, with at least the keys `config` (JSON text of the
            `TrialConfig`), `model` (a state dict) and `epoch`.

    Raises:
        CannotSave: the file cannot be written, for example because the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial, open(partial, "wb") as file:
            torch.save({"format": FORMAT, **state}, file)  # to a path, torch would hide the reason of a failed write
    except (OSError, RuntimeError) as error:  # torch's zip writer reports a failed write as a RuntimeError
        raise cannot_save(path, "the checkpoint", error) from None


def load_checkpoint(path: Path, config: TrialConfig) -> dict[str, Any]:
    """Read the state that `save_checkpoint` wrote for the same configuration.

    Raises:
        UserError: the file is not a checkpoint, or it belongs to another version of this program or another
            configuration; the message names the key that differs.
    """
    state = read_checkpoint(path)
    if (version := state.get("format", 1)) != FORMAT:
        raise UserError(
            f"{path}: written by another version of this program (format {version}, not {FORMAT}); use another file"
        )
    if (difference := _difference(state, config)) is not None:
        raise UserError(f"{path}: written with {difference}; use another file")
    return state


def is_checkpoint_of(path: Path, config: TrialConfig) -> bool:
    """Whether a file is a checkpoint that was written with this configuration, and can be read."""
    try:
        return _difference(read_checkpoint(path), config) is None
    except UserError:
        return False


def _difference(state: Mapping[str, Any], config: TrialConfig) -> str | None:
    """The first setting in which a checkpoint differs from a configuration, in words.

    A setting that is younger than the checkpoint had its default then.
    """
    defaults, wanted = json.loads(TrialConfig().model_dump_json()), json.loads(config.model_dump_json())
    saved = {**defaults, **json.loads(state["config"])}
    return next((f"{key} = {saved[key]}, not {wanted[key]}" for key in wanted if saved[key] != wanted[key]), None)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of any configuration; tensors come on the CPU.

    Raises:
        UserError: the file is missing, damaged, or not a checkpoint of this program.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # torch.load does not verify checksums
        state = None if damaged else torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # zip, unpickling and I/O errors have no narrower common base class
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{path}: not a checkpoint that can be read safely: {reason}") from None
    if damaged:
        raise UserError(f"{path}: a damaged checkpoint: the checksum of {damaged} is wrong")
    if not isinstance(state, dict) or not {"config", "model", "epoch"} <= state.keys():
        raise UserError(f"{path}: not a checkpoint of this program")
    return state


def export_weights(weights: Mapping[str, Tensor], target: Path, metadata: Mapping[str, str]) -> None:
    """Write the weights of a model as a safetensors file.

    Args:
        weights: the state dict of the model.
        target: the safetensors file to write or replace.
        metadata: text that is stored beside the tensors.

    Raises:
        CannotSave: the weights cannot be written, for example because the disk is full.
    """
    content = safetensors.torch.save({k: v.contiguous() for k, v in weights.items()}, dict(metadata))
    try:
        with replacing(target) as partial:
            partial.write_bytes(content)  # `save_file` would make a file that other users cannot read
    except OSError as error:
        raise cannot_save(target, "the weights", error) from None
