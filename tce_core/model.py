"""DeepLabv3+ from segmentation-models-pytorch, with the paper's decoder settings."""

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
    """A model from images (B, 3, H, W) to logits (B, num_classes, H, W); H and W multiples of the output stride.

    Random initialisation follows torch's global generator: seed it first. smp's own defaults, atrous rates
    (12, 24, 36) and dropout 0.5, are not the paper's; the configuration's are.

    Raises:
        UserError: smp has no such encoder, the encoder cannot be dilated, or the weights do not fit or load.
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
        # Every family of encoders has its own way, and type of error, to say that it cannot be dilated.
        offline = pretrained and isinstance(error, OSError)
        what = "could not be downloaded; give encoder_weights a local file" if offline else "cannot be used"
        reason = str(error).strip() or f"it has no output stride {config.output_stride}"
        raise UserError(f"encoder '{config.encoder}' {what}: {reason.splitlines()[0]}") from None
    if config.encoder_weights is not None and not pretrained:
        load_encoder(model.get_submodule("encoder"), Path(config.encoder_weights))
    return model


def check_encoder(name: str) -> None:
    """Raises UserError, naming the nearest encoders that exist, when neither smp nor timm (tu-*) has `name`."""
    known = smp.encoders.get_encoder_names()
    if name.startswith("tu-"):
        if timm.is_model(name.removeprefix("tu-")):
            return
        known = [f"tu-{model}" for model in timm.list_models()]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.3) or known[:3]
        raise UserError(f"unknown encoder '{name}'; did you mean {', '.join(near)}? smp has {len(known)}, and tu-*")


def load_encoder(encoder: nn.Module, path: Path) -> None:
    """Load an encoder's state dict from a safetensors or torch file; nothing in the file is ever executed."""
    try:
        if path.suffix == ".safetensors":
            state: dict[str, Tensor] = safetensors.torch.load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
        encoder.load_state_dict(state)
    except Exception as error:  # unpickling, zip, key and shape errors share no narrower base
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{path}: not a state dict of this encoder: {reason}") from None
