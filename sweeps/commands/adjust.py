"""Adjust the logits of a trained model, in seconds and without training: `tilted-sweeps adjust WEIGHTS`.

It evaluates the val split once for several strengths tau of the adjustment (see `tce_core/adjust.py`), chooses one by
the rule of a sweep, and writes weights with the adjustment folded into the last bias.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field

from sweeps.cli import DONE, Parser, add_architecture, add_floor, fraction, number, objective
from sweeps.storage.measures import Scored, objectives_text
from sweeps.storage.objectives import Objectives
from sweeps.strategy.cross_fit import CrossFit, choose_tau, cross_fit
from sweeps.strategy.floors import check_allowance, check_classes, keeps, nearest_misses, parse_floors, standings
from sweeps.strategy.options import Objective, Options, Positive
from tce_core.adjust import BEFORE, class_shares, fold, offsets
from tce_core.data.builtin import BUILT_IN, resolve_dataset
from tce_core.data.dataset import Dataset, Split
from tce_core.errors import UserError
from tce_core.iou import Floats, of_shown_classes
from tce_core.results import Scores, measured_curve

if TYPE_CHECKING:
    from tce_core.weights import Weights

GRID = tuple(step / 8 for step in range(13))
"""The strengths that are compared: 0 to 1.5."""


class AdjustOptions(Options):
    """Which model to adjust, and how."""

    weights: Path
    """A file of `train_export`, a checkpoint, a folder of smp's `save_pretrained`, or a state dict (with `encoder`)."""
    dataset: str | Path = BUILT_IN
    objective: Objective = "worst_iou"
    """The measure that chooses tau."""
    miou_allowance: Annotated[float, Field(ge=0, le=1)] = 0.01
    """How far the guard may fall below the plain model: mIoU, or worst-class IoU if mIoU leads."""
    floors: tuple[str, ...] = ()
    """What the adjusted model must keep, NAME=VALUE as in a sweep; relative floors are to the plain model."""
    tau: Annotated[float, Field(ge=0, le=2)] | None = None
    """The strength to write; None: the recommended one."""
    out: Path | None = None
    """Weights to write; None: the name of `weights`, with `.adjusted.safetensors`."""
    again: bool = False
    """Also adjust weights that are already adjusted."""
    encoder: str | None = None
    """Of a state dict, which does not say it; so are the next two."""
    output_stride: Literal[8, 16] | None = None
    atrous_rates: tuple[Positive, Positive, Positive] | None = None


@dataclass(frozen=True)
class AdjustResult:
    """What the adjustment does."""

    curve: tuple[Scores, ...]
    """The scores of each strength on the val split."""
    recommended: float | None
    """The tau that the rule chooses on the whole val split; None if none keeps the floors."""
    held_out: CrossFit | None
    """What the rule is worth on images that did not choose; None with one image, or without a recommendation."""
    test: tuple[Scores, ...]
    """On the test split, the scores of the plain model and of the tau that is written; empty without its labels."""
    weights: Path | None
    """The file that was written; None if tau is 0."""


def parser(prog: str = "tilted-sweeps adjust") -> Parser:
    p = Parser(prog=prog, description="Adjust a trained model's logits by the class shares, without training.")
    p.add_argument("weights", type=Path, help="weights of `train`, a checkpoint, an smp folder or a state dict")
    p.add_argument("--dataset", help="`streets` (built in, the default) or a folder of Arrow files")
    p.add_argument(
        "--objective",
        type=objective,
        metavar="MEASURE",
        help=f"the measure that chooses tau: {objectives_text()} (default: worst_iou)",
    )
    p.add_argument(
        "--miou-allowance",
        type=fraction,
        metavar="A",
        help="how far mIoU (or worst-class IoU, if mIoU leads) may fall below the plain model (default: 0.01)",
    )
    add_floor(p)
    p.add_argument("--tau", type=strength, help="strength to write, 0 to 2 (default: the recommended one)")
    p.add_argument("--out", type=Path, help="weights to write (default: WEIGHTS' name, .adjusted.safetensors)")
    p.add_argument("--again", action="store_true", help="adjust weights that are already adjusted")
    add_architecture(p)
    return p


def strength(text: str) -> float:
    """Parse a tau: a number from 0 to 2."""
    return number(text, 2, "a strength between 0 and 2")


def main(arguments: Sequence[str] | None = None, prog: str = "tilted-sweeps adjust") -> int:
    given = vars(parser(prog).parse_args(arguments))
    if "atrous_rates" in given:
        given["atrous_rates"] = tuple(given["atrous_rates"])
    adjust_weights(AdjustOptions(**given))
    return DONE


def adjust_weights(options: AdjustOptions) -> AdjustResult:
    """Compare strengths of logit adjustment, print what they do, and write adjusted weights.

    Classes that the truth of a split lacks have no part in its figures.

    Raises:
        UserError: a file that cannot be read or written, or weights that do not fit the data set.
    """
    source, data = options.weights, resolve_dataset(options.dataset)
    weights = _read(options, data)
    data.require_trainable()
    beside = source if source.name else source.resolve()  # "." has no name
    target = options.out or beside.with_name(f"{beside.name.removesuffix('.safetensors')}.adjusted.safetensors")
    if target.absolute() == source.absolute():
        raise UserError(f"{target}: the weights to adjust; give another --out")
    if not target.parent.is_dir():
        raise UserError(f"{target}: no such folder as {target.parent}; make it or give another --out")
    floors = parse_floors(options.floors, data.class_names)
    objectives = Objectives(options.objective, options.miou_allowance, data.class_names, floors)
    check_classes(objectives, data.val.pixel_counts.sum(axis=0))
    check_allowance(objectives, options.model_fields_set)
    taus = tuple(sorted({*GRID, *([] if options.tau is None else [options.tau])}))
    shares = class_shares(data.train.pixel_counts)
    every = _counts(weights, data.val, shares, taus)
    shown = measured_curve(taus, every)
    counts = every[[taus.index(tau) for tau in GRID]]  # a given tau has no part in the choice
    curve = tuple(scores for scores in shown if scores.tau in GRID)
    found = [(f"tau {scores.tau:g}", standings(objectives, scores, curve[0])) for scores in curve]
    recommended = GRID[choose_tau(curve, objectives)] if any(keeps(one) for _, one in found) else None
    tau = recommended if options.tau is None else options.tau
    if tau is None:
        raise UserError(f"{source}: {nearest_misses(found, 'strength')}")
    held_out = None if recommended is None else cross_fit(GRID, counts, objectives)
    pair = (0.0, tau) if tau else (0.0,)
    labelled = data.test is not None and data.test.pixel_counts.any()
    test = measured_curve(pair, _counts(weights, data.test, shares, pair)) if data.test and labelled else ()
    written = _write(target, weights, data.class_names, shares, tau) if tau else None
    result = AdjustResult(shown, recommended, held_out, test, written)
    print("\n".join(_lines(result, objectives, tau, data)))
    return result


def _read(options: AdjustOptions, data: Dataset) -> "Weights":
    """Read the weights, and check that they are of these classes and not adjusted yet."""
    from tce_core.weights import architecture_of, read_weights_of

    architecture = architecture_of(options.encoder, options.output_stride, options.atrous_rates)
    weights = read_weights_of(data, options.weights, architecture)
    if (tau := weights.metadata.get("tau", "0")) != "0" and not options.again:
        raise UserError(f"{options.weights}: already adjusted with tau {tau}; give --again to adjust it further")
    return weights


def _counts(weights: "Weights", split: Split, shares: Floats, taus: Sequence[float]) -> "np.ndarray":
    """Return (T, N, 3, K) counts of a split, see `evaluate`, of the classes that it shows.

    It computes in float32, in which the folded weights give the same classes.
    """
    import torch

    from tce_core.devices import default_device
    from tce_core.evaluation import evaluate

    device = default_device()
    model = weights.model.to(device).to(memory_format=torch.channels_last)
    moved = torch.from_numpy(offsets(shares, taus))
    return of_shown_classes(evaluate(model, split, device, offsets=moved)[1].numpy())


def _write(target: Path, weights: "Weights", class_names: Sequence[str], shares: Floats, tau: float) -> Path:
    """Fold the adjustment into the model and write its weights."""
    from tce_core.checkpoint import export_weights

    fold(weights.model, shares, tau)
    made = {
        "classes": json.dumps(class_names),
        "tau": str(tau),
        "class_shares": json.dumps(shares.tolist()),
        "folded_into": "segmentation_head.0.bias",
    }
    if (earlier := weights.metadata.get("tau", "0")) != "0":
        before = {"tau": earlier, "class_shares": weights.metadata.get("class_shares")}
        made[BEFORE] = json.dumps([*json.loads(weights.metadata.get(BEFORE, "[]")), before])
        if before["class_shares"] == made["class_shares"]:  # then the strengths add up
            made["tau"] = str(float(earlier) + tau)
    export_weights(weights.model.cpu().state_dict(), target, {**weights.metadata, **made})
    return target


def _lines(result: AdjustResult, objectives: Objectives, tau: float, data: Dataset) -> list[str]:
    """What is printed."""
    width = max(map(len, data.class_names))
    lines = [f"{'tau':>6}  {'mIoU':>6}  {'worst':>6}  {'worst class':<{width}}  {'worst quarter':>13}"]
    for scores in result.curve:
        report, mark = scores.report, "  <- recommended" if scores.tau == result.recommended else ""
        worst = f"{report.worst_iou:6.4f}  {data.class_names[report.worst_class]:<{max(width, 11)}}"
        lines.append(f"{scores.tau:6.3f}  {report.miou:6.4f}  {worst}  {report.sorted_bottom:13.4f}{mark}")
    if lacking := [data.class_names[k] for k in np.flatnonzero(data.val.pixel_counts.sum(axis=0) == 0)]:
        lines.append(f"Left out, because the val split does not show them: {', '.join(lacking)}.")
    floors = ", ".join(map(repr, objectives.all_floors))
    if result.recommended is None:
        lines += ["", f"No strength keeps {floors}."]
    else:
        lines += ["", f"Recommended: tau {result.recommended:g}, the best {objectives.lead.title} that keeps {floors}."]

    def both(scores: Scored) -> str:
        return ", ".join(f"{measure.title} {measure.value(scores):.4f}" for measure in objectives.pair)

    if (fit := result.held_out) is not None:
        lines.append(
            f"Chosen on one half of the val images, measured on the other (tau {fit.taus[0]:g} and {fit.taus[1]:g}): "
        )
        lines[-1] += f"{both(fit.adjusted)}; plain: {both(fit.plain)}."
    if result.test:
        adjusted = f"; tau {tau:g}: {both(result.test[-1])}" if tau else ""
        lines.append(f"Test split, plain: {both(result.test[0])}{adjusted}.")
    nothing = "tau is 0: the weights stay as they are, and nothing is written."
    return [*lines, nothing if result.weights is None else f"Weights: {result.weights}"]
