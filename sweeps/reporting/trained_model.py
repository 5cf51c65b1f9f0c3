"""A trained model as people take it away: plain weights, and a folder that segmentation-models-pytorch loads."""

import json
from pathlib import Path

from tce_core.adjust import class_shares, fold
from tce_core.config import TrialConfig
from tce_core.data.dataset import Dataset


def model_folder(weights: Path) -> Path:
    """Return the folder of the model beside its weights, before anything is trained.

    Raises:
        UserError: something else is in its place.
    """
    from tce_core.smp_folder import check_replaceable, folder_beside

    folder = folder_beside(weights)
    check_replaceable(folder)
    return folder


def write_model(weights: Path, checkpoint: Path, config: TrialConfig, data: Dataset, tau: float, card: str) -> None:
    """Write the model of a checkpoint, with the adjustment folded into the last bias.

    Args:
        weights: a safetensors file to write; the folder is beside it.
        checkpoint: of the last epoch.
        config: what was trained.
        data: the data set.
        tau: strength of the adjustment.
        card: the model card, Markdown.

    Raises:
        UserError: they cannot be written.
    """
    from tce_core.checkpoint import export_weights, read_checkpoint
    from tce_core.model import build_model
    from tce_core.smp_folder import folder_beside, write_folder

    model = build_model(config.model_copy(update={"encoder_weights": None}), data.num_classes)
    model.load_state_dict(read_checkpoint(checkpoint)["model"])
    shares = class_shares(data.train.pixel_counts)
    if tau:
        fold(model, shares, tau)
    metadata = {
        "config": config.model_dump_json(),
        "classes": json.dumps(data.class_names),
        "dataset_fingerprint": data.fingerprint,
        "tau": f"{tau:g}",
        "class_shares": json.dumps(shares.tolist()),
    }
    export_weights(model.state_dict(), weights, metadata)
    write_folder(folder_beside(weights), model, metadata, card)
