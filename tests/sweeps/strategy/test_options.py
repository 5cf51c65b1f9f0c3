"""`sweeps.strategy.options`: options are checked when they are made, in one line."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from sweeps.strategy.options import ResumeOptions, Runtime, SweepOptions
from tce_core.errors import UserError


@pytest.mark.parametrize(
    ("kind", "values", "named"),
    [
        (SweepOptions, {"trials": 0}, "trials = 0: Input should be greater than 0"),
        (SweepOptions, {"keep": 1.5}, "keep = 1.5: Input should be less than or equal to 1"),
        (SweepOptions, {"objective": "accuracy"}, "objective = 'accuracy': it is one of worst_iou, miou"),
        (SweepOptions, {"rungs": (0, 2)}, "rungs.0 = 0: "),
        (SweepOptions, {"max_hours": float("nan")}, "max_hours = nan: "),
        (SweepOptions, {"trails": 3}, "unknown option 'trails'; the options are storage, tracking_uri"),
        (SweepOptions, {"keep": 0.5, "rungs": ()}, "keep is the share that continues at a rung"),
        (ResumeOptions, {"seed": 1}, "unknown option 'seed'"),
        (SweepOptions, {"tracking_uri": "foo://x"}, "tracking_uri = 'foo://x': "),
        (SweepOptions, {"tracking_uri": "./mlruns"}, "tracking_uri = './mlruns': "),
        (SweepOptions, {"trials": True}, "trials = True: "),
        (SweepOptions, {"seed": 2**31}, "seed = 2147483648: "),
        (Runtime, {"concurrent": 0}, "concurrent = 0: "),
    ],
)
def test_a_value_that_is_not_allowed_is_refused(kind, values, named):
    with pytest.raises(UserError) as caught:
        kind(**values)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_options_do_not_change():
    options = SweepOptions(dataset=Path("data/mine"), trials=3)
    with pytest.raises(ValidationError, match="frozen"):
        options.trials = 4


def test_only_what_is_given_changes_a_limit():
    assert ResumeOptions(name="a").changes == {}
    assert ResumeOptions(trials=3, max_hours=2, retry_failed=True).changes == {"trials": 3, "max_hours": 2}
