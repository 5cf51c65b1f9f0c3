"""How to make a sweep again: its search space as a file, and the exact command."""

import shlex
from pathlib import Path

import yaml

from sweeps.storage.folder import SweepFolder
from sweeps.storage.plan import Plan
from tce_core.files import replacing

SPACE, FIRST = "space.yaml", "first.yaml"


def write_space(plan: Plan, folder: SweepFolder) -> None:
    """Write the space with all overrides applied, and the configurations that were tried first, if there were any.

    Raises:
        OSError: a file cannot be written.
    """
    contents = {SPACE: plan.space} | ({FIRST: list(plan.warm_start)} if plan.warm_start else {})
    for name, content in contents.items():
        with replacing(folder.path / name) as partial:
            partial.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")


def command_again(plan: Plan, folder: Path) -> str:
    """The command that makes the same sweep under a new name, from the files of `write_space` in `folder`."""
    flags: dict[str, object] = {
        "--name": f"{plan.name}-again",
        "--space": folder / SPACE,
        "--dataset": plan.dataset,
        "--objective": plan.objective,
        "--sampler": plan.sampler,
        "--seed": plan.seed,
        "--trials": plan.trials,
        "--confirm": plan.confirm,
        "--workers-per-trial": plan.workers,
        "--gpus-per-worker": f"{plan.gpus_per_worker:g}",
        "--cpus-per-worker": plan.cpus_per_worker,
        "--patience": plan.patience,
        "--max-epochs": plan.max_epochs,
        "--max-hours": plan.max_hours,
    }
    if plan.objectives.all_floors != plan.objectives.floors:  # else a floor stands for the allowance
        flags["--miou-allowance"] = f"{plan.allowance:g}"
    if plan.warm_start:
        flags["--warm-start"] = folder / FIRST
    words = [text for flag, value in flags.items() if value is not None for text in (flag, str(value))]
    if plan.rungs:
        words += ["--rungs", *map(str, plan.rungs), "--keep", f"{plan.keep:g}"]
    else:
        words.append("--no-halving")
    if plan.floors:
        words += ["--floor", *map(str, plan.floors)]
    return shlex.join(["tilted-sweeps", "run", *words])
