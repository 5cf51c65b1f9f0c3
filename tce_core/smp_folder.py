"""A model as a folder that segmentation-models-pytorch loads without this program: `smp.from_pretrained(folder)`.

It holds what smp's `save_pretrained` writes: `config.json` with the arguments of the model, `model.safetensors` with
its weights, and `README.md`, the model card. Nothing in it is pickled.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from tce_core.checkpoint import cannot_save, export_weights
from tce_core.errors import UserError
from tce_core.files import replacing_folder
from tce_core.weights import FOLDER_FILES

CARD = "README.md"


def folder_beside(weights: Path) -> Path:
    """Return the folder that belongs to a file of weights: its name without `.safetensors`, or with `-smp`."""
    return weights.with_suffix("") if weights.suffix == ".safetensors" else weights.with_name(f"{weights.name}-smp")


def check_replaceable(folder: Path) -> None:
    """Check that a folder can be written, or replaced without a loss of anything but an older model.

    Raises:
        UserError: it is a file, or it holds other files than those of `write_folder`.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UserError(f"{folder}: a file, where the folder of the model is to be; give another --out")
    held = {path.name for path in folder.iterdir()}
    if held and (strange := sorted(held - {CARD, *FOLDER_FILES})):
        raise UserError(
            f"{folder}: the folder of the model is to be here, and would replace {strange[0]}; give another --out"
        )


def write_folder(folder: Path, model: nn.Module, metadata: Mapping[str, str], card: str) -> None:
    """Write the folder of a model, completely or not at all; it replaces an older one.

    Args:
        folder: where to write.
        model: a model of smp that was built without pretrained weights, else whoever loads it downloads them.
        metadata: text that is stored beside the tensors; smp does not read it.
        card: the model card, Markdown.

    Raises:
        CannotSave: the folder cannot be written, for example because the disk is full.
    """
    arguments: dict[str, Any] = {**model.config, "_model_class": type(model).__name__}  # type: ignore[dict-item]
    try:
        with replacing_folder(folder) as partial:
            (partial / "config.json").write_text(json.dumps(arguments, sort_keys=True, indent=2), encoding="utf-8")
            (partial / CARD).write_text(card, encoding="utf-8")
            export_weights(model.state_dict(), partial / "model.safetensors", {**metadata, "format": "pt"})
    except OSError as error:
        raise cannot_save(folder, "the folder of the model", error) from None
