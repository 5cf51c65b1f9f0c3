"""Train one configuration at full length, on the workers that sweeps use.

    python sweeps/train.py runs/NAME/best.yaml --dataset data/cityscapes --epochs 100 --workers 4 --gpus-per-worker 1

With the exported file's own data set, epochs and workers this repeats the metrics that the file states.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from sweeps.cli import Parser, amount, natural, positive, run_command
from sweeps.execution.ray_cluster import slots_that_fit, start_ray
from sweeps.execution.worker_group import GroupSettings, WorkerGroup, checkpoint_path
from sweeps.export import read_export
from tce_core.config import TrialConfig
from tce_core.data.builtin import BUILT_IN, resolve_dataset
from tce_core.data.dataset import Dataset
from tce_core.errors import UserError
from tce_core.fairness import class_table
from tce_core.results import EpochResult

TRIAL = 0  # the number of the only trial of a group that trains one configuration


def parser() -> Parser:
    p = Parser(prog="python sweeps/train.py", description="Train an exported configuration at full length.")
    p.add_argument("config", type=Path, help="a file that a sweep exported")
    p.add_argument("--dataset", default=BUILT_IN, help="`streets` (built in) or a folder of Arrow files")
    p.add_argument("--epochs", type=positive, help="default: as many as the file's trial had")
    p.add_argument("--seed", type=natural, help="default: the file's")
    p.add_argument("--workers", type=positive, help="data-parallel workers (default: the file's)")
    p.add_argument("--cpus-per-worker", type=positive, help="default: the file's")
    p.add_argument("--gpus-per-worker", type=amount, help="default: the file's")
    p.add_argument("--address", help="a Ray cluster to join (default: this machine alone)")
    p.add_argument(
        "--out",
        type=Path,
        help="weights to write (default: CONFIG's name, .safetensors); a checkpoint "
        "beside it lets the same command go on after an interruption",
    )
    return p


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser().parse_args(arguments)
    content, config = read_export(options.config)
    changes = {key: value for key in ("epochs", "seed") if (value := getattr(options, key)) is not None}
    config = config.model_copy(update=changes)
    data = resolve_dataset(options.dataset)
    check_classes(options.config, content["dataset"], data)
    weights: Path = options.out or options.config.with_suffix(".safetensors")
    group = group_settings(options, content["workers"], data, weights)
    check_batch(config, group)
    result = train_here(config, group, options.address)
    save_weights(weights, Path(group.checkpoints), config, data)
    report(content, result, data)
    print(f"Weights: {weights}")


def check_classes(path: Path, wanted: Mapping[str, Any], data: Dataset) -> None:
    """Raises UserError when the data set's classes are not those that the configuration was found for."""
    classes = [str(name) for name in wanted.get("classes", [])]
    if classes != list(data.class_names):
        missing = [n for n in classes if n not in data.class_names] or classes
        raise UserError(
            f"{path} is for {len(classes)} classes ({', '.join(classes)}), but {data.path} has "
            f"{data.num_classes} ({', '.join(data.class_names)}); they differ in {', '.join(missing)}"
        )


def check_batch(config: TrialConfig, group: GroupSettings) -> None:
    """Raises UserError when the batch cannot be shared by the workers."""
    from tce_core.training import share_of_batch

    share_of_batch(config.batch_size, group.workers, synchronised=group.gpus_per_worker > 0)


def group_settings(options: Any, stated: Mapping[str, Any], data: Dataset, weights: Path) -> GroupSettings:
    def choose(flag: Any, key: str) -> Any:
        return stated[key] if flag is None else flag

    folder = weights.absolute().with_suffix(".checkpoint")
    return GroupSettings(
        dataset=str(data.path.absolute()),
        checkpoints=str(folder),
        storage=str(folder / "ray"),
        workers=choose(options.workers, "number"),
        cpus_per_worker=choose(options.cpus_per_worker, "cpus_each"),
        gpus_per_worker=choose(options.gpus_per_worker, "gpus_each"),
    )


def train_here(config: TrialConfig, group: GroupSettings, address: str | None) -> EpochResult:
    """Train to the end, printing each epoch; goes on from the checkpoint of an interrupted run."""
    console = Console()
    available = start_ray(address)
    import ray

    try:
        slots_that_fit(available, group.workers, group.cpus_per_worker, group.gpus_per_worker, 1)
        workers = WorkerGroup(group)
        first = epochs_done(Path(group.checkpoints), config) or 1
        for epoch in range(first, config.epochs + 1):
            answer = workers.advance(TRIAL, config.model_dump(mode="json"), epoch)
            if reason := answer.get("fatal") or answer.get("error"):
                raise UserError(f"training failed in epoch {epoch}: {reason}")
            result = EpochResult.from_json(answer["result"])
            seconds = answer["seconds"]
            found = f"mIoU {result.report.miou:.4f}  worst {result.report.worst_iou:.4f}"
            console.print(
                f"epoch {epoch:>3} of {config.epochs}  loss {result.train_loss:.4f}  {found}  {seconds:.1f} s",
                highlight=False,
            )
        workers.close()
    finally:
        ray.shutdown()
    return result


def epochs_done(folder: Path, config: TrialConfig) -> int:
    """How far an interrupted run of the same configuration came."""
    path = checkpoint_path(folder, TRIAL)
    if not path.exists():
        return 0
    from tce_core.checkpoint import load_checkpoint

    return int(load_checkpoint(path, config)["epoch"])


def report(content: Mapping[str, Any], result: EpochResult, data: Dataset) -> None:
    """Every class beside what the exported file states."""
    stated = content["measured"]
    before = [float("nan") if stated["iou"].get(n) is None else stated["iou"][n] for n in data.class_names]
    print(class_table(result.iou, before, data.class_names, reference_name=f"{stated['epochs']} epochs, as exported"))
    print(
        f"mIoU {result.report.miou:.4f} (exported: {stated['miou']:.4f}), worst class "
        f"{data.class_names[result.report.worst_class]} {result.report.worst_iou:.4f} "
        f"(exported: {stated['worst_class']} {stated['worst_iou']:.4f})"
    )


def save_weights(path: Path, checkpoints: Path, config: TrialConfig, data: Dataset) -> None:
    from tce_core.checkpoint import export_weights

    metadata = {
        "config": config.model_dump_json(),
        "classes": json.dumps(data.class_names),
        "dataset_fingerprint": data.fingerprint,
    }
    export_weights(checkpoint_path(checkpoints, TRIAL), path, metadata)


if __name__ == "__main__":
    sys.exit(run_command(main))
