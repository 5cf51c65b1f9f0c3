"""Checks before the first trial: models can be built, batches can be shared out, one step can be trained."""

import time

from search_spaces.space import parse_space
from sweeps.storage.plan import Plan
from sweeps.strategy.starting import start_text
from tce_core.data.dataset import Dataset
from tce_core.data.folds import in_fold

BUILT_FROM = ("encoder", "encoder_weights", "start", "output_stride", "decoder_channels", "atrous_rates")
CHECKED = (*BUILT_FROM, "batch_size")
"""Settings that fail only when a model is built or a batch is shared out."""


def preflight(plan: Plan, data: Dataset) -> None:
    """Build every model once and share out every batch size, so that bad settings fail now, not later.

    Raises:
        UserError: an encoder, weights or a batch size that cannot be used.
    """
    from tce_core.distributed import share_of_batch
    from tce_core.start import model_to_train

    space = parse_space(plan.space, plan.space_file)
    searched = {name: space.space[name] for name in CHECKED if name in space.space}
    variants = space.model_copy(update={"space": searched}).grid()
    configs = [space.config(settings) for settings in (*space.baselines.values(), *variants)]
    for config in {tuple(getattr(config, key) for key in BUILT_FROM): config for config in configs}.values():
        model_to_train(config, data.class_names)
    for batch_size in {config.batch_size for config in configs}:
        share_of_batch(batch_size, plan.workers, synchronised=plan.gpus_per_worker > 0)


def dry_run(plan: Plan, data: Dataset, slots: int, cpus_per_worker: int) -> dict[str, str]:
    """Train one real step here, and describe what the sweep would do.

    Returns:
        Lines of text by their headings.
    """
    from tce_core.devices import default_device
    from tce_core.freezing import training_mode
    from tce_core.run import Run

    space = parse_space(plan.space, plan.space_file)
    trained = (settings for settings in space.baselines.values() if settings.get("train") != "nothing")
    config = space.config(next(trained, {}))
    run = Run(config, in_fold(data, config), default_device())
    training_mode(run.model, config.train)
    run.epoch = config.trunk_epochs  # a step of the trunk is not one of this configuration
    started = time.perf_counter()
    loss = float(run.step(run.epoch * run.steps))
    seconds = time.perf_counter() - started
    run.close()
    trials = len(space.baselines) + plan.trials + plan.confirmation_runs
    grid = f"; a grid of {len(space.grid())} points" if plan.sampler == "grid" else ""
    halving = f"after epochs {', '.join(map(str, plan.rungs))} the best {plan.keep:.0%} continue"
    trunk = f"the first {config.trunk_epochs} epochs are plain, and trained once for each seed"
    floors = " ".join(map(repr, plan.objectives.all_floors))
    return {
        "sweep": f"{plan.name}: {plan.objective} leads, floors {floors}",
        "data": f"{data.path}: {len(data.train)} train, {len(data.val)} val images, {data.num_classes} classes",
        "start": start_text(space, data.class_names) or "no whole model",
        "space": f"{space.size()} ({plan.sampler}{grid})",
        "trials": f"{len(space.baselines)} baselines, {plan.trials} searched, up to {plan.confirmation_runs} "
        f"confirmation runs: {trials} of up to {config.epochs} epochs of {run.steps} steps",
        "trunk": trunk if config.trunk_epochs else "none",
        "halving": halving if plan.rungs else "none: every configuration is trained to its end",
        "resources": f"{slots} trials at a time, each {plan.workers} workers of {cpus_per_worker} CPUs and "
        f"{plan.gpus_per_worker:g} GPUs",
        "one step": f"loss {loss:.3f} in {seconds:.2f} s on {run.device} (the first; later ones are faster)",
        "config": config.model_dump_json(),
    }
