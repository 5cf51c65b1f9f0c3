"""`TrialConfig`: everything that decides what one training run learns."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from tce_core.errors import UserError
from tce_core.loss_table import LOSSES

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class TrialConfig(BaseModel):
    """One training run, typed, frozen and complete: the same configuration and data give the same weights.

    The defaults are the paper's recipe (SGD, poly schedule, DeepLabv3+ at output stride 16, total batch 8) at a
    size that a CPU can train. Unknown keys are refused, so a misspelt setting never passes for a default.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # What is minimised.
    loss: str = "mcce"
    """A name of `loss_table.LOSSES`."""
    t: float = 1.0
    """Tilt of `image_tilt`, `class_tilt` and `stochastic_tilt`; 0 is the plain mean, negative tilts the other way."""
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Rate of the exponential moving average in Algorithm 1, line 7 (`stochastic_tilt`)."""
    level: Literal["class", "image"] = "class"
    """What `stochastic_tilt` draws: a class, then an image that holds it; or an image directly."""
    draw: Literal["image", "batch"] = "image"
    """Each image of a batch draws for itself, or (the paper's letter) one draw serves the mini-batch."""
    estimator: Literal["batch", "class"] = "batch"
    """L_B in line 7: the loss of all valid pixels (the paper's letter), or of the drawn class's pixels alone."""
    partition: Literal["overlapping", "disjoint"] = "overlapping"
    """D_c: every image that holds c, or a partition in which each image belongs to its rarest class."""
    tilt_warmup: Fraction = 0.0
    """Share of the training during which t rises linearly from 0: a remedy where direct tilting diverges."""
    clip_grad_norm: Positive | None = None
    focal_gamma: Annotated[float, Field(ge=0)] = 2.0
    weight_power: Annotated[float, Field(ge=0)] = 1.0
    """`weighted_ce` and `focal` weigh class c by (pixel count of c) ** -weight_power, normalised to mean 1."""
    tversky_alpha: Fraction = 0.3
    tversky_beta: Fraction = 0.7

    # The model.
    encoder: str = "mobilenet_v2"
    encoder_weights: str | None = None
    """`imagenet` (smp downloads them), the path of a local state-dict file, or null for random initialisation."""
    output_stride: Literal[8, 16] = 16
    decoder_channels: Count = 256
    atrous_rates: tuple[Count, Count, Count] = (6, 12, 18)
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1

    # The optimiser.
    lr: Positive = 0.01
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    poly_power: Annotated[float, Field(ge=0)] = 0.9
    batch_size: Count = 8
    """Images in one step, over all workers together."""
    epochs: Count = 12
    steps_per_epoch: Count | None = None
    """Optimiser steps between two evaluations; null: as many as whole batches fit the training split."""

    # What the model sees.
    crop: tuple[Annotated[int, Field(ge=16)], Annotated[int, Field(ge=16)]] = (192, 256)
    """Height and width, in pixels, of the training crops."""
    scale: tuple[Positive, Positive] = (0.5, 2.0)
    flip: bool = True
    jitter: Fraction = 0.4
    """Brightness, contrast and saturation vary by up to this factor, hue by a quarter of a tenth of it."""

    # How it is computed.
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """`auto`: bf16 where the processor has bf16 arithmetic, else fp32."""
    seed: Annotated[int, Field(ge=0)] = 0

    @field_validator("loss")
    @classmethod
    def _loss_exists(cls, loss: str) -> str:
        if loss not in LOSSES:
            raise ValueError(f"no such loss; the losses are {', '.join(map(repr, LOSSES))}")
        return loss

    @field_validator("crop")
    @classmethod
    def _crop_fits_the_stride(cls, crop: tuple[int, int]) -> tuple[int, int]:
        if crop[0] % 16 or crop[1] % 16:
            raise ValueError(f"height and width must be multiples of 16, the output stride; {crop} is not")
        return crop

    @field_validator("scale")
    @classmethod
    def _scale_is_a_range(cls, scale: tuple[float, float]) -> tuple[float, float]:
        if scale[0] > scale[1]:
            raise ValueError(f"the lower scale {scale[0]} is above the upper {scale[1]}")
        return scale

    @model_validator(mode="after")
    def _encoder_weights_exist(self) -> Self:
        weights = self.encoder_weights
        if weights not in (None, "imagenet") and not Path(str(weights)).is_file():
            raise ValueError(f"encoder_weights: no file {weights}; give 'imagenet', an existing file, or null")
        return self

    @property
    def tilted(self) -> bool:
        """Whether t has a meaning for this loss."""
        return LOSSES[self.loss].tilted


def parse_config(values: dict[str, Any], source: str) -> TrialConfig:
    """Build a `TrialConfig`, turning pydantic's report into one line that names `source`.

    Raises:
        UserError: an unknown key or a value outside its range; the message says what is allowed.
    """
    try:
        return TrialConfig.model_validate(values)  # which, unlike **values, explains keys that are no text, too
    except ValidationError as error:
        raise UserError(f"{source}: {explain(error)}") from None


def explain(error: ValidationError) -> str:
    """The first complaint of a pydantic report, in one line, with the keys that exist when one is unknown."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"unknown key '{key}'; the keys are {', '.join(sorted(TrialConfig.model_fields))}"
    message = first["msg"].removeprefix("Value error, ")
    return f"{key} = {first['input']!r}: {message}" if key else message
