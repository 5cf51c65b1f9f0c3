"""Predict masks of photographs with a trained model: `tilted-sweeps predict WEIGHTS IMAGES… --out DIR`."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field
from rich.console import Console

from sweeps.cli import DONE, Parser, add_architecture, natural
from sweeps.reporting.prediction_table import PredictionProgress, prediction_table
from sweeps.reporting.terminal import wide_console
from sweeps.strategy.options import Options, Positive
from tce_core import VOID
from tce_core.data.schema import ClassInfo
from tce_core.errors import UserError, file_error
from tce_core.files import replacing

if TYPE_CHECKING:
    from tce_core.prediction.images import Photograph
    from tce_core.prediction.predict import Predictor
    from tce_core.weights import Weights

LEGEND = "classes.json"
WRITER = {"written_by": "tilted-sweeps predict"}
"""What the legend says of itself. A folder without it may hold masks that a person drew."""


class PredictOptions(Options):
    """Which model predicts which images, and what it writes."""

    weights: Path
    """A file of `train_export`, a checkpoint, a folder of smp's `save_pretrained`, or a state dict (with `encoder`)."""
    images: tuple[Path, ...] = ()
    """Files and folders."""
    out: Path | None = None
    """The folder of the masks; needed with images."""
    overlay: bool = False
    """Also write the masks over the photographs."""
    probabilities: bool = False
    """Also write the probabilities of all classes."""
    tile: Annotated[int, Field(ge=0, multiple_of=32)] | None = None
    """Side of the tiles in pixels; 0 for whole images, None for what suits the size of each image."""
    skip_bad: bool = False
    """Skip images that cannot be read."""
    onnx: Path | None = None
    """A file: the model as ONNX."""
    device: Literal["cpu", "cuda"] | None = None
    """None: the GPU if there is one."""
    dataset: str | Path | None = None
    """Has the names and colours of the classes; so can the next one."""
    classes: Path | None = None
    """A `classes.json`, as in a folder that `convert` reads."""
    encoder: str | None = None
    """Of a state dict, which does not say it; so are the next two."""
    output_stride: Literal[8, 16] | None = None
    atrous_rates: tuple[Positive, Positive, Positive] | None = None


@dataclass(frozen=True)
class PredictResult:
    """What was predicted."""

    classes: tuple[ClassInfo, ...]
    photographs: "tuple[Photograph, ...]"
    """Those that could be read, with the places of their outputs."""
    counts: np.ndarray
    """(N, K) int64: the pixels of each class in each of them."""
    skipped: tuple[str, ...]
    """What is wrong with the others."""


def parser(prog: str = "tilted-sweeps predict") -> Parser:
    p = Parser(prog=prog, description="Predict masks of photographs with a trained model, or write it as ONNX.")
    p.add_argument("weights", type=Path, help="weights of `train`, a checkpoint, an smp folder or a state dict")
    p.add_argument("images", type=Path, nargs="*", help="image files, and folders that are searched for images")
    p.add_argument("--out", type=Path, metavar="DIR", help="the folder of the masks, in the folders of the images")
    p.add_argument("--overlay", action="store_true", help="also write the masks over the photographs, as JPEG")
    p.add_argument("--probabilities", action="store_true", help="also write (K, H, W) float16 probabilities, as .npy")
    p.add_argument(
        "--tile",
        type=tile,
        metavar="N",
        help="side of the tiles that a large image is computed in, a multiple of 32; 0: whole images (default: whole "
        "up to 2 megapixels, then 1024, less for many classes)",
    )
    p.add_argument("--skip-bad", action="store_true", help="skip images that cannot be read, and list them at the end")
    p.add_argument("--onnx", type=Path, metavar="FILE", help="write the model as ONNX, with or without images")
    p.add_argument("--device", choices=("cpu", "cuda"), help="default: the GPU if there is one")
    known = p.add_argument_group("names and colours of the classes, where the weights have none")
    known.add_argument("--dataset", help="`streets` or a folder of Arrow files")
    known.add_argument("--classes", type=Path, metavar="FILE", help="a classes.json, as `convert folder` reads it")
    add_architecture(p)
    return p


def tile(text: str) -> int:
    """Parse the side of a tile."""
    value = natural(text)
    if value % 32:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a multiple of 32; the nearest are {value // 32 * 32} and more"
        )
    return value


def main(arguments: Sequence[str] | None = None, prog: str = "tilted-sweeps predict") -> int:
    # Intermixed: else argparse does not take images that stand behind a flag.
    given = vars(parser(prog).parse_intermixed_args(arguments))
    if "atrous_rates" in given:
        given["atrous_rates"] = tuple(given["atrous_rates"])
    predict_images(PredictOptions(**given))
    return DONE


def predict_images(options: PredictOptions) -> PredictResult:
    """Write the model as ONNX and predict the images, as the options ask, and print what the model saw.

    Raises:
        UserError: a flag without its companion, a file that cannot be read or written, or weights that do not fit.
    """
    import torch  # `--help` does not wait for it

    from tce_core.devices import device_named
    from tce_core.prediction.classes import classes_of_model
    from tce_core.prediction.images import find_photographs
    from tce_core.prediction.predict import Predictor
    from tce_core.weights import architecture_of, read_weights

    _check_companions(options)
    device, source, console = device_named(options.device), options.weights, wide_console()
    photographs = find_photographs(options.images, options.out) if options.out else []
    weights = read_weights(source, architecture_of(options.encoder, options.output_stride, options.atrous_rates))
    classes = classes_of_model(weights, source, options.dataset, options.classes)
    if options.onnx is not None:
        _write_onnx(options.onnx, weights, classes, console)
    if options.out is None:
        return PredictResult(classes, (), np.zeros((0, len(classes)), np.int64), ())
    _write_legend(options.out, classes)
    model = weights.model.to(device).to(memory_format=torch.channels_last)
    predictor = Predictor(model, device, classes, options.tile, options.overlay, options.probabilities)
    result = _predict(predictor, photographs, options.skip_bad, console)
    _print(result, options.out, console)
    return result


def _check_companions(options: PredictOptions) -> None:
    if not options.images and options.onnx is None:
        raise UserError("no images: name files or folders, or give --onnx FILE")
    if options.images and options.out is None:
        raise UserError("images need --out DIR, the folder of their masks")
    if options.out is not None and not options.images:
        raise UserError(f"--out {options.out}: no images; name files or folders")
    if options.dataset is not None and options.classes is not None:
        raise UserError("--dataset and --classes both have the names of the classes; give one of them")


def _write_onnx(path: Path, weights: "Weights", classes: Sequence[ClassInfo], console: Console) -> None:
    from tce_core.prediction.onnx_file import write_onnx

    difference = write_onnx(path, weights.model, [info.name for info in classes])
    text = f"ONNX: {path} (onnxruntime's logits differ from torch's by at most {difference:.1g})"
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _write_legend(out: Path, classes: Sequence[ClassInfo]) -> None:
    """Write the names and colours of the classes. It comes first, so that a bad folder is refused before the work."""
    path = out / LEGEND
    if out.is_dir() and any(out.iterdir()) and not _is_ours(path):
        raise UserError(f"--out {out}: a folder with other files, which masks could replace; name a new one")
    text = json.dumps(
        {**WRITER, "num_classes": len(classes), "ignore_index": VOID, "classes": [asdict(c) for c in classes]}
    )
    try:
        out.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            partial.write_text(text, encoding="utf-8")
    except OSError as error:
        raise file_error(path, "cannot be written", error) from None


def _is_ours(legend: Path) -> bool:
    """Whether an earlier run wrote the legend."""
    try:
        found = json.loads(legend.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.items() >= WRITER.items()


def _predict(
    predictor: "Predictor", photographs: "Sequence[Photograph]", skip_bad: bool, console: Console
) -> PredictResult:
    """Predict one image after the other.

    Raises:
        UserError: an image cannot be read and is not to be skipped; an output cannot be written; or the GPU's memory is
            too small.
    """
    import torch

    from tce_core.prediction.images import read_ahead

    done, counts, skipped = [], [], []
    with PredictionProgress(len(photographs), console) as progress:
        for photograph, image in read_ahead(photographs):
            if isinstance(image, UserError):
                if not skip_bad:
                    raise UserError(f"{image}; --skip-bad would skip it")
                skipped.append(str(image))
            else:
                try:
                    counts.append(predictor.write(photograph, image))
                except torch.OutOfMemoryError:
                    remedy = "give a smaller --tile, or --device cpu"
                    raise UserError(f"{photograph.source}: too large for the GPU's memory; {remedy}") from None
                done.append(photograph)
            progress.advance()
    table = np.array(counts, np.int64).reshape(len(done), len(predictor.classes))
    return PredictResult(tuple(predictor.classes), tuple(done), table, tuple(skipped))


def _print(result: PredictResult, out: Path, console: Console) -> None:
    console.print(prediction_table(result.counts, result.classes))
    lines = ["", f"Masks: {out}, with the names and colours of the classes in {LEGEND}"]
    if result.skipped:
        lines += ["", f"Skipped, because they cannot be read: {len(result.skipped)}", *result.skipped]
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
