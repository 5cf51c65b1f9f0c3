"""Train one exported configuration at full length, on the same kind of workers as a sweep.

    python sweeps/train.py runs/NAME/best.yaml --epochs 100 --workers 4 --gpus-per-worker 1

With the exported file's own data set (the default), epochs and workers, it repeats the metrics that the file states.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from pydantic import Field
from rich.console import Console

from sweeps.cli import DONE, Parser, add_address, amount, natural, positive, run_command
from sweeps.execution.checkpoints import checkpoint_path
from sweeps.execution.ray_cluster import fair_cpus, resources_of_nodes, slots_that_fit, start_ray
from sweeps.execution.worker_group import GroupSettings, WorkerGroup
from sweeps.reporting.export_file import Export, read_export
from sweeps.reporting.model_card import model_card
from sweeps.reporting.trained_model import model_folder, write_model
from sweeps.storage.folder import counts_path
from sweeps.strategy.options import Amount, Options, Positive, Seed
from sweeps.strategy.starting import start_digest
from tce_core.config import TrialConfig, parse_config
from tce_core.data.builtin import resolve_dataset
from tce_core.data.dataset import Dataset
from tce_core.errors import TemporaryError, UserError
from tce_core.fairness import class_table
from tce_core.results import EpochResult, Scores

TRIAL = 0  # number of the only trial of the group


class TrainOptions(Options):
    """What to train, and where. None means: as the exported file says."""

    config: Path
    """A file that a sweep exported."""
    dataset: str | Path | None = None
    epochs: Positive | None = None
    seed: Seed | None = None
    workers: Positive | None = None
    cpus_per_worker: Positive | None = None
    gpus_per_worker: Amount | None = None
    address: str | None = None
    """A Ray cluster to join; None: this machine alone."""
    out: Path | None = None
    """Weights to write; None: the name of `config`, with `.safetensors`. The folder of the model is beside it."""
    licence: Annotated[str, Field(min_length=1)] | None = None
    """The licence that the model card states, such as `apache-2.0`; None: none is stated."""


@dataclass(frozen=True)
class TrainResult:
    """A trained model."""

    weights: Path
    """A safetensors file."""
    folder: Path
    """The same model with its card, as segmentation-models-pytorch loads it: `smp.from_pretrained(folder)`."""
    last: EpochResult
    """The validation after the last epoch. The weights are those of `last.at(export.logit_adjustment)`."""
    export: Export
    """The exported file that was trained."""


def parser(prog: str = "python sweeps/train.py") -> Parser:
    p = Parser(prog=prog, description="Train an exported configuration at full length.")
    p.add_argument("config", type=Path, help="a file that a sweep exported")
    p.add_argument("--dataset", help="`streets` or a folder of Arrow files (default: the sweep's)")
    p.add_argument("--epochs", type=positive, help="default: as many as the file's trial had")
    p.add_argument("--seed", type=natural, help="default: the file's")
    p.add_argument("--workers", type=positive, help="data-parallel workers (default: the file's)")
    p.add_argument("--cpus-per-worker", type=positive, help="default: the file's")
    p.add_argument("--gpus-per-worker", type=amount, help="default: the file's")
    add_address(p)
    p.add_argument(
        "--out",
        type=Path,
        help="weights to write (default: CONFIG's name, .safetensors); with the checkpoint beside it "
        "the same command continues after an interruption",
    )
    p.add_argument("--licence", metavar="TEXT", help="licence that the model card states, e.g. apache-2.0")
    return p


def main(arguments: Sequence[str] | None = None, prog: str = "python sweeps/train.py") -> int:
    result = train_export(TrainOptions(**vars(parser(prog).parse_args(arguments))))
    print(f"Weights: {result.weights}")
    print(f"Model with its card: {os.path.relpath(result.folder)}, for smp.from_pretrained")
    return DONE


def train_export(options: TrainOptions) -> TrainResult:
    """Train an exported configuration and write its weights. It prints every epoch and a table of the classes.

    The same options continue a training that was interrupted.

    Raises:
        UserError: a file, data or settings that cannot be used, or a training that failed.
        TemporaryError: a full disk or lost workers. The same call later continues the training.
    """
    export = read_export(options.config)
    changes = {key: value for key in ("epochs", "seed") if (value := getattr(options, key)) is not None}
    if export.trial.train == "nothing" and options.epochs not in (None, 1):
        raise UserError(f"--epochs {options.epochs}: {options.config} evaluates a model as it is; leave this out")
    given = "".join(f" with --{key} {value}" for key, value in changes.items())
    config = parse_config({**export.trial.model_dump(mode="json"), **changes}, f"{options.config}{given}")
    if config.fold is not None:
        raise UserError(f"{options.config}: a model to keep learns from all of train; remove fold and group_by")
    data = _open_data(options, export)
    if export.start_sha256 and start_digest({"start": config.start}) != export.start_sha256:
        print(f"{config.start} are not the weights that the sweep started from: the metrics will differ, too.")
    weights = options.out or options.config.with_suffix(".safetensors")
    folder = model_folder(weights)
    group = _group_settings(options, export, data, weights)
    _check_batch(config, group)
    share_cores = options.cpus_per_worker is None and export.workers.cpus_each is None
    last = _train(config, export.logit_adjustment, group, options.address, share_cores)
    counts = counts_path(group.counts, TRIAL)
    card = model_card(folder.name, config, export, data, last, counts, options.licence)
    write_model(weights, checkpoint_path(group.checkpoints, TRIAL), config, data, export.logit_adjustment, card)
    _print_comparison(export, last.at(export.logit_adjustment), data)
    if (test := last.test_at(export.logit_adjustment)) is not None:
        worst = data.class_names[test.report.worst_class]
        print(f"On the test split: mIoU {test.report.miou:.4f}, worst class {worst} {test.report.worst_iou:.4f}")
    return TrainResult(weights, folder, last, export)


def _open_data(options: TrainOptions, export: Export) -> Dataset:
    """The data set of the options, or the one that the exported file names.

    Raises:
        UserError: it is not there, or has other classes.
    """
    name = options.dataset or export.dataset.path
    if not options.dataset and not Path(name or "?").is_dir():
        raise UserError(f"{options.config}: its data set {name or 'has no path and'} is not here; give --dataset")
    data = resolve_dataset(name)
    _check_classes(options.config, export.dataset.classes, data)
    if export.dataset.fingerprint and data.fingerprint != export.dataset.fingerprint:
        print(f"{data.path} is not the data set of the sweep (its fingerprint differs): the metrics will differ, too.")
    return data


def _check_classes(path: Path, classes: Sequence[str], data: Dataset) -> None:
    """Raise UserError if the data set has other classes than the configuration was found for."""
    if tuple(classes) != data.class_names:
        missing = [name for name in classes if name not in data.class_names] or classes
        raise UserError(
            f"{path} is for {len(classes)} classes ({', '.join(classes)}), but {data.path} has "
            f"{data.num_classes} ({', '.join(data.class_names)}); they differ in {', '.join(missing)}"
        )


def _check_batch(config: TrialConfig, group: GroupSettings) -> None:
    """Raise UserError if the workers cannot share the batch."""
    from tce_core.distributed import share_of_batch

    share_of_batch(config.batch_size, group.workers, synchronised=group.gpus_per_worker > 0)


def _group_settings(options: TrainOptions, export: Export, data: Dataset, weights: Path) -> GroupSettings:
    folder, stated = weights.absolute().with_suffix(".checkpoint"), export.workers
    return GroupSettings(
        dataset=str(data.path.absolute()),
        checkpoints=str(folder),
        storage=str(folder / "ray"),
        workers=options.workers or stated.number,
        cpus_per_worker=options.cpus_per_worker or stated.cpus_each or 1,
        gpus_per_worker=stated.gpus_each if options.gpus_per_worker is None else options.gpus_per_worker,
        counts=str(folder / "counts"),
    )


def _train(
    config: TrialConfig, tau: float, group: GroupSettings, address: str | None, share_cores: bool
) -> EpochResult:
    """Train to the end and print each epoch. It continues from the checkpoint of an interrupted training.

    `tau` is the strength of adjustment that is shown; `share_cores` gives each worker its fair share of the cores.
    """
    console = Console()
    available = start_ray(address)
    import ray

    workers = None
    try:
        if share_cores:
            group = replace(group, cpus_per_worker=fair_cpus(resources_of_nodes(), group.gpus_per_worker))
        slots_that_fit(available, group.workers, group.cpus_per_worker, group.gpus_per_worker, 1)
        workers = WorkerGroup(group)
        first = _epochs_done(Path(group.checkpoints), config) or 1
        for epoch in range(first, config.epochs + 1):
            answer = workers.advance(TRIAL, config.model_dump(mode="json"), epoch, test=True)
            if answer.result is None:
                kind = TemporaryError if answer.temporary else UserError
                raise kind(f"training failed in epoch {epoch}: {answer.fatal or answer.error}")
            result = EpochResult.from_json(answer.result)
            report = result.at(tau).report
            loss = "" if result.train_loss is None else f"  loss {result.train_loss:.4f}"
            found = f"mIoU {report.miou:.4f}  worst {report.worst_iou:.4f}"
            console.print(
                f"epoch {epoch:>3} of {config.epochs}{loss}  {found}  {answer.seconds:.1f} s",
                highlight=False,
            )
        workers.close()
    finally:
        if workers is not None:
            workers.leave()
        ray.shutdown()
    return result


def _epochs_done(folder: Path, config: TrialConfig) -> int:
    """How many epochs an interrupted training of the same configuration has done."""
    path = checkpoint_path(folder, TRIAL)
    if not path.exists():
        return 0
    from tce_core.checkpoint import is_checkpoint_of, load_checkpoint

    in_trunk = config.trunk_epochs > 0 and is_checkpoint_of(path, config.plain)
    return int(load_checkpoint(path, config.plain if in_trunk else config)["epoch"])


def _print_comparison(export: Export, last: Scores, data: Dataset) -> None:
    """Print every class of the adjusted model beside what the exported file states."""
    stated = export.measured
    before = [float("nan") if (iou := stated.iou.get(name)) is None else iou for name in data.class_names]
    print(class_table(last.iou, before, data.class_names, reference_name=f"{stated.epochs} epochs, as exported"))
    print(
        f"mIoU {last.report.miou:.4f} (exported: {stated.miou:.4f}), worst class "
        f"{data.class_names[last.report.worst_class]} {last.report.worst_iou:.4f} "
        f"(exported: {stated.worst_class} {stated.worst_iou:.4f})"
    )


if __name__ == "__main__":
    sys.exit(run_command(main))
