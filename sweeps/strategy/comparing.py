"""The plan of a comparison: a sweep that trains each of its methods with every seed, and searches nothing."""

from dataclasses import replace

from search_spaces.space import parse_space
from sweeps.storage.plan import Plan
from sweeps.strategy.methods import with_methods
from sweeps.strategy.options import CompareOptions, SweepOptions
from sweeps.strategy.planning import plan_of
from tce_core.data.dataset import Dataset


def comparison_plan(options: CompareOptions, data: Dataset) -> Plan:
    """Everything that a comparison will do.

    Raises:
        UserError: methods, a space, an override or an objective that cannot be used.
    """
    shared = options.model_dump(include=CompareOptions.model_fields.keys() & SweepOptions.model_fields.keys())
    sweep = plan_of(SweepOptions(**shared, confirm=options.seeds - 1), data)
    space, methods = with_methods(parse_space(sweep.space, sweep.space_file), options.methods, data.class_names)
    raw = space.model_dump(mode="json", exclude_defaults=True) | {"space": {}}
    parse_space(raw, sweep.space_file)  # the methods fit what they have in common
    return replace(sweep, space=raw, methods=methods, trials=0, rungs=(), sampler="random")
