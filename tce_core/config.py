"""`TrialConfig`: every setting that affects what one training run learns."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from tce_core.errors import UserError
from tce_core.loss_table import FOCUS_SETTINGS, LOSSES

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Share = Annotated[float, Field(gt=0, le=1)]


OF_LOSSES = [key for loss in LOSSES.values() for key in loss.own_settings]
LATE_SETTINGS = frozenset(("loss", "lr", "trunk", "trunk_lr", *FOCUS_SETTINGS, *OF_LOSSES))
"""Keys of `TrialConfig` that change nothing in the trunk."""


class TrialConfig(BaseModel):
    """The settings of one training run: typed, immutable and complete.

    The same configuration and data give the same weights. The defaults are the recipe of arXiv 2103.14051 (SGD, poly
    schedule, DeepLabv3+ at output stride 16, total batch 8) at a size that a CPU can train. Unknown keys are refused,
    so that a misspelt key does not silently leave a default in place.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # The loss.
    loss: str = "mcce"
    """A key of `loss_table.LOSSES`."""
    t: float = 1.0
    """Tilt of `image_tilt`, `class_tilt` and `stochastic_tilt`. 0: the plain mean; above 0: large losses weigh more;
    below 0: small losses weigh more."""
    over: Literal["image", "batch", "data"] = "image"
    """Whose classes `class_tilt` tilts. `image`: those of each image, then the mean over images, Eq. (3). `batch`:
    those of the batch. `data`: those of the batch, weighted by their running losses over the training."""
    gamma: Share = 0.1
    """Rate of the moving average in Algorithm 1, line 7, in (0, 1]: of `stochastic_tilt`, and of `class_tilt` over
    `data`."""
    level: Literal["class", "image"] = "class"
    """What `stochastic_tilt` draws. `class`: a class, then an image that shows it. `image`: an image directly."""
    draw: Literal["image", "batch"] = "image"
    """`image`: one draw for each image of the batch. `batch`: one draw for the whole batch, as written in the paper
    (lines 4-5)."""
    estimator: Literal["batch", "class"] = "batch"
    """L_B of line 6. `batch`: the loss of all valid pixels, as written in the paper. `class`: the loss of the drawn
    class's pixels only."""
    partition: Literal["overlapping", "disjoint"] = "overlapping"
    """D_c, the images of class c. `overlapping`: every image that shows c. `disjoint`: each image belongs to its
    rarest class only."""
    lookahead: Annotated[int, Field(ge=0)] = 2
    """How many steps older than necessary the class weights of `stochastic_tilt` may be, so that its crops are cut in
    the background. 0: the draws wait for the losses of the step before, as in Algorithm 1."""
    tilt_warmup: Fraction = 0.0
    """Fraction of the training, after its trunk, during which t rises linearly from 0. It helps where direct tilting
    diverges."""
    clip_grad_norm: Positive | None = None
    """Largest norm of the gradient; a longer gradient is scaled down. null: no limit."""
    focal_gamma: NonNegative = 2.0
    """Exponent of (1 - p) in `focal`."""
    hard_share: Share = 0.25
    """Share of the batch's pixels that `ohem` learns from, those with the largest loss, in (0, 1]."""
    worst_share: Share = 0.3
    """Share of the batch's classes that `class_cvar` learns from, those with the largest loss, in (0, 1]."""
    tau: Annotated[float, Field(ge=0, le=2)] = 1.0
    """Factor of the log frequencies that `logit_adjusted` adds to the logits, from 0 to 2."""
    variation: NonNegative = 4.0
    """Standard deviation of the noise of `logit_variation`, before it is cut at 1; at least 0."""
    region_weight: NonNegative = 1.0
    """Factor of the region loss in `ce_dice` and `ce_jaccard`; at least 0. The cross-entropy has factor 1."""
    weight_power: NonNegative = 1.0
    """Class c has weight (pixel count of c) ** -weight_power in `weighted_ce` and `focal`, normalised to mean 1."""
    tversky_alpha: Fraction = 0.3
    """Factor of false positives in `tversky`, from 0 to 1."""
    tversky_beta: Fraction = 0.7
    """Factor of false negatives in `tversky`, from 0 to 1."""

    # The model.
    encoder: str = "mobilenet_v2"
    encoder_weights: str | None = None
    """`imagenet` (smp downloads the weights), the path of a local state-dict file, or null (random weights)."""
    start: str | None = None
    """Path of the weights of a whole model that the training starts from (see `start.py`), or null."""
    train: Literal["all", "decoder", "head", "nothing"] = "all"
    """What is trained; all before it is frozen (see `freezing.py`). `decoder`: with the head. `nothing`: the start is
    evaluated as it is, in one epoch."""
    output_stride: Literal[8, 16] = 16
    decoder_channels: Count = 256
    atrous_rates: tuple[Count, Count, Count] = (6, 12, 18)
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1

    # The optimiser.
    lr: Positive = 0.01
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: NonNegative = 5e-4
    poly_power: NonNegative = 0.9
    batch_size: Count = 8
    """Images in one step, all workers together."""
    epochs: Count = 12
    steps_per_epoch: Count | None = None
    """Optimiser steps between two evaluations; null: the number of whole batches in the training split (at least 1)."""

    # The trunk: re-weighting acts late, as in LDAM-DRW (arXiv 1906.07413).
    trunk: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the epochs, from the first, that are plain (see `plain`); rounded to whole epochs. The poly schedule
    runs through: after the trunk, only its factor `lr` changes."""
    trunk_lr: Positive | None = None
    """Learning rate of the trunk; null: `lr`."""

    # The training crops.
    crop: tuple[Annotated[int, Field(ge=16)], Annotated[int, Field(ge=16)]] = (192, 256)
    """Height and width of the crops in pixels."""
    scale: tuple[Positive, Positive] = (0.5, 2.0)
    """Lowest and highest factor by which an image is resized before it is cropped."""
    flip: bool = True
    """Whether half of the crops are mirrored, left to right."""
    jitter: Fraction = 0.4
    """Brightness, contrast and saturation change by a factor within 1 ± jitter, hue by up to jitter / 40 of a turn."""

    # The images that are trained on.
    fold: Annotated[str, Field(pattern=r"^[1-9]\d*/[1-9]\d*$")] | None = None
    """Such as `2/5`: the second fifth of the images of `train` and `val` is evaluated, and all others are trained on
    (see `data/folds.py`). null: the data set's own splits."""
    group_by: Annotated[str, Field(min_length=1)] | None = None
    """Images whose names agree before this text are in one fold, such as `_` for `aachen_000001`. null: each image is
    on its own."""

    # The images of a batch, for all losses but `stochastic_tilt`, which draws its own.
    focus_share: Fraction = 0.0
    """Share of the images that are drawn for a class, which their crops show; the others come in shuffled order."""
    focus_temperature: Positive | None = None
    """How strongly these draws favour rare classes, DAFormer's T: a low one strongly. null: all classes are equal."""

    # Arithmetic and random numbers.
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """`auto`: bf16 on a GPU that has it and on a CPU with AMX, else fp32."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

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
            raise ValueError("height and width must be multiples of 16")
        return crop

    @field_validator("scale")
    @classmethod
    def _scale_is_a_range(cls, scale: tuple[float, float]) -> tuple[float, float]:
        if scale[0] > scale[1]:
            raise ValueError(f"the lower scale {scale[0]} is above the upper scale {scale[1]}")
        return scale

    @model_validator(mode="after")
    def _encoder_weights_exist(self) -> Self:
        weights = self.encoder_weights
        if weights not in (None, "imagenet") and not Path(str(weights)).is_file():
            raise ValueError(f"encoder_weights: no file {weights}; give 'imagenet', an existing file, or null")
        return self

    @model_validator(mode="after")
    def _start_exists(self) -> Self:
        if self.start is not None and not Path(self.start).exists():
            raise ValueError(f"start: no file or folder {self.start}; give the weights of a whole model, or null")
        if self.start is not None and self.encoder_weights is not None:
            raise ValueError("start and encoder_weights: the start holds an encoder; give one of them")
        if self.start is None and self.train not in ("all", "decoder" if self.encoder_weights else "all"):
            raise ValueError(f"train = '{self.train}': what is frozen would be random; give start, too")
        if self.train == "nothing" and self.epochs != 1:
            raise ValueError(f"train = 'nothing': it takes one evaluation, not {self.epochs} epochs; give epochs 1")
        return self

    @model_validator(mode="after")
    def _trunk_leaves_an_epoch(self) -> Self:
        if self.trunk_epochs == self.epochs:
            raise ValueError(f"trunk = {self.trunk}: it leaves none of the {self.epochs} epochs; give less")
        if self.trunk_lr is not None and not self.trunk_epochs:
            raise ValueError(f"trunk_lr = {self.trunk_lr}: there is no trunk; give trunk, too")
        return self

    @model_validator(mode="after")
    def _fold_exists(self) -> Self:
        number, folds = (1, 2) if self.fold is None else map(int, self.fold.split("/"))
        if number > folds or folds == 1:
            raise ValueError(f"fold = {self.fold}: give one of at least two folds, from 1/{max(folds, 2)}")
        if self.group_by is not None and self.fold is None:
            raise ValueError(f"group_by = {self.group_by}: there are no folds; give fold, too")
        return self

    @model_validator(mode="after")
    def _draws_are_focused_once(self) -> Self:
        if self.focus_share > 0 and LOSSES[self.loss].sampler_settings:
            raise ValueError(f"focus_share = {self.focus_share}: loss '{self.loss}' has draws of its own; give it 0")
        return self

    @property
    def trunk_epochs(self) -> int:
        """Epochs of the trunk."""
        return trunk_epochs(self.trunk, self.epochs)

    @property
    def plain(self) -> "TrialConfig":
        """The plain training whose first `trunk_epochs` epochs are the trunk.

        It has the loss `mcce`, shuffled draws and the learning rate of the trunk; all else is as here.
        """
        reset = {name: type(self).model_fields[name].default for name in LATE_SETTINGS}
        return self.model_copy(update={**reset, "lr": self.trunk_lr or self.lr})

    @property
    def tilted(self) -> bool:
        """Whether this loss depends on t."""
        return LOSSES[self.loss].tilted


def trunk_epochs(trunk: float, epochs: int) -> int:
    """Return the whole number of epochs that is nearest to a share of them."""
    return int(trunk * epochs + 0.5)


def parse_config(values: dict[str, Any], source: str) -> TrialConfig:
    """Build a `TrialConfig` from plain values.

    Args:
        values: keys and values of `TrialConfig`.
        source: where the values come from, such as a file name; error messages start with it.

    Raises:
        UserError: a key is unknown or a value is outside its range; the message is one line and says what is allowed.
    """
    try:
        return TrialConfig.model_validate(values)  # unlike **values, it also reports keys that are not text
    except ValidationError as error:
        raise UserError(f"{source}: {explain(error)}") from None


def explain(error: ValidationError) -> str:
    """Return the first problem of a pydantic report in one line. For an unknown key, list the keys that exist."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"unknown key '{key}'; the keys are {', '.join(sorted(TrialConfig.model_fields))}"
    message = first["msg"].removeprefix("Value error, ")
    return f"{key} = {first['input']!r}: {message}" if key else message
