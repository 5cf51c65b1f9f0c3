"""DeepLabv3+ from segmentation-models-pytorch (smp), with the decoder settings of arXiv 2103.14051."""

import difflib
from pathlib import Path

import safetensors.torch
import segmentation_models_pytorch as smp
import timm
import torch
from torch import Tensor, nn

from tce_core.config import TrialConfig
from tce_core.errors import UserError


def build_model(config: TrialConfig, num_classes: int) -> nn.Module:
    """Build a model that maps images (B, 3, H, W) to logits (B, num_classes, H, W).

    H and W must be multiples of the output stride. Random weights come from torch's global generator, so seed it
    first. The defaults of smp (atrous rates (12, 24, 36), dropout 0.5) are not those of the paper; the defaults of
    `TrialConfig` are.

    Raises:
        UserError: the encoder does not exist or cannot be dilated, or its weights cannot be loaded or do not fit.
    """
    check_encoder(config.encoder)
    pretrained = config.encoder_weights == "imagenet"
    try:
        model: nn.Module = smp.DeepLabV3Plus(
            config.encoder,
            encoder_weights="imagenet" if pretrained else None,
            encoder_output_stride=config.output_stride,
            decoder_channels=config.decoder_channels,
            decoder_atrous_rates=config.atrous_rates,
            decoder_aspp_dropout=config.dropout,
            classes=num_classes,
        )
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, AssertionError) as error:
        # An encoder that cannot be dilated raises one of these errors, depending on its family.
        offline = pretrained and isinstance(error, OSError)
        what = "could not be downloaded; give encoder_weights a local file" if offline else "cannot be used"
        reason = str(error).strip() or f"it has no output stride {config.output_stride}"
        raise UserError(f"encoder '{config.encoder}' {what}: {reason.splitlines()[0]}") from None
    if config.encoder_weights is not None and not pretrained:
        load_encoder(model.get_submodule("encoder"), Path(config.encoder_weights))
    return model


def check_encoder(name: str) -> None:
    """Check that smp has the encoder `name`, or timm if the name starts with `tu-`.

    Raises:
        UserError: it does not exist; the message gives the most similar names.
    """
    known = smp.encoders.get_encoder_names()
    if name.startswith("tu-"):
        if timm.is_model(name.removeprefix("tu-")):
            return
        known = [f"tu-{model}" for model in timm.list_models()]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.3) or known[:3]
        raise UserError(f"unknown encoder '{name}'; did you mean {', '.join(near)}? encoders of timm start with tu-")


def load_encoder(encoder: nn.Module, path: Path) -> None:
    """Load an encoder's weights from a state dict in a safetensors or torch file. No code in the file is executed.

    Raises:
        UserError: the file is not a state dict of this encoder.
    """
    try:
        if path.suffix == ".safetensors":
            state: dict[str, Tensor] = safetensors.torch.load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
        encoder.load_state_dict(state)
    except Exception as error:  # unpickling, zip, key and shape errors have no narrower common base class
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{path}: not a state dict of this encoder: {reason}") from None
