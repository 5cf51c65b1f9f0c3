"""The device of a model, and its arithmetic."""

import torch

from tce_core.config import TrialConfig
from tce_core.errors import UserError


def use_bf16(config: TrialConfig, device: torch.device) -> bool:
    """Return whether to compute in bf16. With `precision: auto`, do so if the device multiplies bf16 matrices natively.

    On a CPU that is AMX. With AVX512-BF16 alone, a step takes up to 1.6 times as long as in float32.
    """
    if config.precision != "auto":
        return config.precision == "bf16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    amx = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return amx is not None and bool(amx())


def default_device() -> torch.device:
    """Return the GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_named(name: str | None) -> torch.device:
    """Return the device `cpu` or `cuda`; None: the default one.

    Raises:
        UserError: there is no GPU.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: torch finds no GPU here; give --device cpu")
    return default_device() if name is None else torch.device(name)
