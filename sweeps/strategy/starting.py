"""A sweep whose trainings start from a model that exists: `--from WEIGHTS`.

The first baseline, and so the reference, is the model as it is: evaluated, not trained. The space's own baselines
follow; the first of them shows what plain training alone makes of the model.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from search_spaces.space import Space
from sweeps.storage.plan import Plan
from tce_core.errors import UserError

AS_IT_IS = "as it is"
"""Label of the baseline that is evaluated, not trained."""
EVALUATED: dict[str, Any] = {"train": "nothing", "epochs": 1, "trunk": 0.0, "trunk_lr": None}
"""Its settings."""


def start_overrides(weights: Path | None) -> list[str]:
    """Return the overrides of a space that make every training start from these weights.

    They hold the architecture that the file states of itself. An override that comes after them wins.

    Raises:
        UserError: there is no such file, or it does not hold a whole model.
    """
    if weights is None:
        return []
    from tce_core.start import settings_of  # it imports torch, which takes seconds

    settings = {"start": str(weights.absolute()), "encoder_weights": None, **settings_of(weights)}
    return [f"trial.{key}={json.dumps(value, ensure_ascii=False)}" for key, value in settings.items()]


def with_as_it_is(space: Space) -> Space:
    """Return the space with the model as it is as its first baseline."""
    return space.model_copy(update={"baselines": {AS_IT_IS: EVALUATED, **space.baselines}})


def start_of(trial: dict[str, Any]) -> Path | None:
    """Return the weights that the settings `trial` of a space start from; None: random ones, or an encoder."""
    start = trial.get("start")
    return None if start is None else Path(start)


def start_digest(trial: dict[str, Any]) -> str:
    """Return the SHA-256 of the weights that a sweep starts from; "" if there are none."""
    if (weights := start_of(trial)) is None:
        return ""
    from tce_core.start import digest

    return digest(weights)


def check_start(plan: Plan) -> None:
    """Refuse to continue a sweep without the weights that it started from.

    Raises:
        UserError: they are gone, or have changed.
    """
    trial = plan.space.get("trial", {})
    if (weights := start_of(trial)) is None:
        return
    if not weights.exists():
        raise UserError(f"{weights}: sweep '{plan.name}' starts from these weights, and they are gone; put them back")
    if plan.start_sha256 and start_digest(trial) != plan.start_sha256:
        raise UserError(
            f"{weights}: the weights have changed since sweep '{plan.name}' began; put them back, or start a new sweep"
        )


def start_text(space: Space, class_names: Sequence[str]) -> str | None:
    """Say what trainings start from, such as `w.pt (19 classes by name; new: pole)`; None: from no whole model.

    Raises:
        UserError: the weights cannot be read, or their classes cannot be matched.
    """
    if (weights := start_of(space.trial)) is None:
        return None
    from tce_core.start import match_classes

    trained = space.config({}).train
    part = "" if trained == "all" else f", trains the {trained} only"
    return f"{weights} ({match_classes(weights, class_names)}){part}"
