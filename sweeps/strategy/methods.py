"""The methods of a comparison, as a person writes them: `mcce`, `tce@t=0.1`, `mcce+adjusted`, `runs/a/best.yaml`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from search_spaces.loading import read_yaml
from search_spaces.space import SHARED, Space
from sweeps.storage.plan import Method
from tce_core.adjust import TAUS
from tce_core.config import TrialConfig, parse_config
from tce_core.errors import UserError
from tce_core.loss_table import LOSSES, losses_with

ADJUSTED = "+adjusted"
"""End of a method whose models have the logit adjustment that suits each of them on other images."""
KNOWN: dict[str, dict[str, Any]] = {
    "tce": {"loss": "stochastic_tilt"},
    "class-uniform": {"loss": "stochastic_tilt", "t": 0},
}
"""Names of the paper: Algorithm 1, and the same draws without a tilt."""
FILES = (".yaml", ".yml")
OF_FOLDS = {"fold": "--folds", "group_by": "--group-by"}


def with_methods(space: Space, texts: Sequence[str], classes: Sequence[str]) -> tuple[Space, tuple[Method, ...]]:
    """Return the space of a comparison: its baselines are the methods, and it searches nothing.

    Args:
        space: its `trial` holds what all methods have in common; its own baselines can be named as methods.
        texts: each a baseline of the space, a loss, `tce` or `class-uniform`, followed by `@KEY=VALUE` for each setting
            of its own; or an exported file. `+adjusted` may end it.
        classes: names of the classes of the data set.

    Returns:
        The space, and the methods in the given order. The first one is the reference.

    Raises:
        UserError: a method cannot be read, is given twice, or was found for other classes.
    """
    baselines: dict[str, dict[str, Any]] = {}
    methods: list[Method] = []
    for text in texts:
        name, adjusted = text.removesuffix(ADJUSTED), text.endswith(ADJUSTED)
        if any(method.name == text for method in methods):
            raise UserError(f"--methods {text}: it is given twice")
        settings, fixed = _from_file(name, space, classes) if is_export(name) else (_parsed(name, space), 0.0)
        tau = None if adjusted else fixed
        if same := [one.name for one in methods if (baselines[one.baselines[0]], one.tau) == (settings, tau)]:
            raise UserError(f"--methods {text}: it is the same as {same[0]}")
        baselines[name] = settings
        methods.append(Method(text, (name,), tau))
    return space.model_copy(update={"space": {}, "baselines": baselines}), tuple(methods)


def is_export(method: str) -> bool:
    """Whether a method is the file that a sweep exported."""
    return method.removesuffix(ADJUSTED).endswith(FILES)


def _parsed(text: str, space: Space) -> dict[str, Any]:
    """The settings of a baseline, a loss or a method of the paper, with its own settings behind it."""
    name, *own = text.split("@")
    if name in space.baselines:
        settings = dict(space.baselines[name])
    elif name in KNOWN or name in LOSSES:
        settings = dict(KNOWN.get(name, {"loss": name}))
    else:
        known = dict.fromkeys((*space.baselines, *KNOWN, *LOSSES))
        raise UserError(f"--methods {text}: '{name}' is no method; give an exported file or one of {', '.join(known)}")
    given: set[str] = set()
    for setting in own:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise UserError(f"--methods {text}: '{setting}' is no setting; write {name}@KEY=VALUE, such as tce@t=0.1")
        if key in given:
            raise UserError(f"--methods {text}: {key} is given twice")
        given.add(key)
        settings[key] = _value(text, value)
        if use := {**SHARED, **OF_FOLDS, "seed": "--seed"}.get(key):
            raise UserError(f"--methods {text}: all methods use the same {key}; use {use}")
    config = parse_config({**space.trial, **settings}, f"--methods {text}")
    for key in (setting.partition("=")[0] for setting in own):
        having = losses_with(key)
        if having and config.loss not in having:
            raise UserError(
                f"--methods {text}: {key} changes nothing in {config.loss}; it is a setting of {', '.join(having)}"
            )
    return settings


def _value(text: str, value: str) -> Any:
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError:
        raise UserError(f"--methods {text}: '{value}' is not a value") from None


def _from_file(name: str, space: Space, classes: Sequence[str]) -> tuple[dict[str, Any], float]:
    """The settings of an exported file and its logit adjustment; epochs and seeds are those of the comparison."""
    content = read_yaml(Path(name), f"--methods {name}")
    trial = content.get("trial") if isinstance(content, dict) else None
    if not isinstance(trial, dict) or not isinstance(content.get("dataset"), dict):
        raise UserError(f"--methods {name}: not a configuration that a sweep exported")
    config = parse_config(trial, f"--methods {name}: trial")
    found = tuple(content["dataset"].get("classes") or classes)
    if found != tuple(classes):
        raise UserError(
            f"--methods {name}: found for a data set of {len(found)} classes ({', '.join(found[:5])}, …), "
            f"not for these {len(classes)} ({', '.join(classes[:5])}, …)"
        )
    common = TrialConfig(**space.trial)
    if config.trunk != common.trunk:
        raise UserError(
            f"--methods {name}: its trunk is {config.trunk:g}, not {common.trunk:g}; give --trunk {config.trunk:g}"
        )
    if config.trunk and (lr := config.trunk_lr or config.lr) != (shared := common.trunk_lr or common.lr):
        raise UserError(
            f"--methods {name}: its trunk has lr {lr:g}, not {shared:g}; give --set trial.trunk_lr={lr:g}, "
            "the same for all methods"
        )
    tau = content.get("logit_adjustment", 0.0)
    if tau not in TAUS:
        raise UserError(f"--methods {name}: logit_adjustment = {tau}: give one of {', '.join(f'{t:g}' for t in TAUS)}")
    return config.model_dump(mode="json", exclude={*SHARED, *OF_FOLDS, "seed"}), float(tau)
