"""Say why a class is hopeless, before anything is trained: `tilted-sweeps diagnose --dataset DATA --weights W`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sweeps.cli import DONE, Parser, add_architecture
from sweeps.reporting.terminal import wide_console
from sweeps.storage.folder import RUNS
from sweeps.strategy.options import Options, Positive
from tce_core.data.builtin import BUILT_IN, find_dataset
from tce_core.errors import UserError, file_error
from tce_core.files import replacing

if TYPE_CHECKING:
    from tce_core.diagnosis.diagnose import Diagnosis

PAGE = "index.html"


class DiagnoseOptions(Options):
    """What to diagnose."""

    dataset: str | Path = BUILT_IN
    weights: Path | None = None
    """A file of `train_export`, a checkpoint, a folder of smp's `save_pretrained`, or a state dict (with `encoder`)."""
    split: Literal["val", "test"] = "val"
    """What the model is evaluated on."""
    out: Path | None = None
    """The folder of the page; None: `diagnosis-` and the name of the data set, in `runs`."""
    encoder: str | None = None
    """Of a state dict, which does not say it; so are the next two."""
    output_stride: Literal[8, 16] | None = None
    atrous_rates: tuple[Positive, Positive, Positive] | None = None


def parser(prog: str = "tilted-sweeps diagnose") -> Parser:
    p = Parser(prog=prog, description="Say why a class is hopeless: what the data show of it, what it is taken for.")
    p.add_argument("--dataset", help="`streets` (built in, the default) or a folder of Arrow files")
    p.add_argument("--weights", type=Path, help="weights of `train`, a checkpoint, an smp folder or a state dict")
    p.add_argument("--split", choices=("val", "test"), help="what the model is evaluated on (default: val)")
    p.add_argument("--out", type=Path, metavar="FOLDER", help="the folder of the page (default: runs/diagnosis-DATA)")
    add_architecture(p)
    return p


def main(arguments: Sequence[str] | None = None, prog: str = "tilted-sweeps diagnose") -> int:
    given = vars(parser(prog).parse_args(arguments))
    if "atrous_rates" in given:
        given["atrous_rates"] = tuple(given["atrous_rates"])
    diagnose_dataset(DiagnoseOptions(**given))
    return DONE


def diagnose_dataset(options: DiagnoseOptions) -> "Diagnosis":
    """Diagnose a data set and, with weights, a model; print it, and write the page.

    Raises:
        UserError: a file that cannot be read or written, or weights that do not fit the data set.
    """
    import torch  # `--help` does not wait for it

    from sweeps.reporting.diagnosis_page import diagnosis_page
    from sweeps.reporting.diagnosis_table import print_diagnosis
    from tce_core.devices import default_device
    from tce_core.diagnosis.diagnose import diagnose
    from tce_core.weights import architecture_of, read_weights_of

    data = find_dataset(options.dataset)
    architecture = architecture_of(options.encoder, options.output_stride, options.atrous_rates)
    if options.weights is None and architecture is not None:
        raise UserError("--encoder describes a state dict; give --weights with it")
    device, model = default_device(), None
    if options.weights is not None:
        read = read_weights_of(data, options.weights, architecture).model
        model = read.to(device).to(memory_format=torch.channels_last)
    folder = _made(options.out or RUNS / f"diagnosis-{data.name}")
    found = diagnose(data, model, options.split, device)
    page = folder / PAGE  # it is written first: a pipe such as `| head` may end the printing
    try:
        with replacing(page) as partial:
            partial.write_text(diagnosis_page(found, data, options.weights), encoding="utf-8")
    except OSError as error:
        raise file_error(page, "the page cannot be written", error) from None
    console = wide_console()
    print_diagnosis(found, data, console)
    console.print(f"\nPage: {page}", highlight=False, markup=False, soft_wrap=True)
    if model is None:
        console.print("With --weights FILE it also says what a model confuses.", highlight=False)
    return found


def _made(folder: Path) -> Path:
    """Make the folder, before the work of minutes."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise file_error(folder, "the folder cannot be made", error) from None
    return folder
