"""The plan of a comparison: a sweep that trains each of its methods with every seed, and searches nothing."""

from dataclasses import replace

from search_spaces.space import Space, parse_space
from sweeps.storage.objectives import Objectives
from sweeps.storage.plan import Method, Plan
from sweeps.strategy.floors import check_classes
from sweeps.strategy.methods import with_methods
from sweeps.strategy.options import CompareOptions, SweepOptions
from sweeps.strategy.planning import plan_of
from tce_core.data.dataset import Dataset
from tce_core.data.folds import in_fold, require_groups
from tce_core.errors import UserError


def comparison_plan(options: CompareOptions, data: Dataset) -> Plan:
    """Everything that a comparison will do.

    Raises:
        UserError: methods, a space, an override or an objective that cannot be used.
    """
    shared = options.model_dump(include=CompareOptions.model_fields.keys() & SweepOptions.model_fields.keys())
    sweep = plan_of(SweepOptions(**shared, confirm=options.seeds - 1), data)
    if any(override.startswith("trial.loss=") for override in options.overrides):
        raise UserError("--set trial.loss: each method has a loss of its own; name it in --methods")
    space, methods = with_methods(parse_space(sweep.space, sweep.space_file), options.methods, data.class_names)
    if options.folds is not None:
        space, methods = _in_folds(space, methods, options.folds, options.group_by)
        _check_folds(space, sweep.objectives, data)
    raw = space.model_dump(mode="json", exclude_defaults=True) | {"space": {}}
    parse_space(raw, sweep.space_file)  # the methods fit what they have in common
    if options.group_by is not None:
        require_groups((data.train, data.val) if options.folds else (data.test or data.val,), options.group_by)
    return replace(sweep, space=raw, methods=methods, group_by=options.group_by, trials=0, rungs=(), sampler="random")


def _in_folds(
    space: Space, methods: tuple[Method, ...], number: int, group_by: str | None
) -> tuple[Space, tuple[Method, ...]]:
    """Give each method a baseline for every fold, which trains on all the others.

    Raises:
        UserError: there is a trunk.
    """
    if trunk := space.config({}).trunk:
        raise UserError(f"--folds with a trunk of {trunk:g}: each fold would need its own; leave one of them out")
    folds = [f"{fold}/{number}" for fold in range(1, number + 1)]
    baselines = {
        _label(label, fold): {**settings, "fold": fold, "group_by": group_by}
        for fold in folds
        for label, settings in space.baselines.items()
    }
    dealt = (replace(one, baselines=tuple(_label(one.baselines[0], fold) for fold in folds)) for one in methods)
    return space.model_copy(update={"baselines": baselines}), tuple(dealt)


def _check_folds(space: Space, objectives: Objectives, data: Dataset) -> None:
    """Refuse folds that cannot be trained or judged.

    Raises:
        UserError: the data have too few images or groups, a class has no training pixel in a fold, or the class that
            the objective names is not in one that is held out.
    """
    configs = (space.config(settings) for settings in space.baselines.values())
    for config in {config.fold: config for config in configs}.values():
        try:
            folded = in_fold(data, config)
            folded.require_trainable()
            check_classes(objectives, folded.val.pixel_counts.sum(axis=0))
        except UserError as error:
            raise UserError(f"fold {config.fold} cannot be held out: {error}") from None


def _label(label: str, fold: str) -> str:
    return f"{label} fold {fold}"
