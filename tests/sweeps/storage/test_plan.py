"""The plan of a sweep or a comparison."""

from dataclasses import replace

from sweeps.storage.plan import Method
from tests.sweeps.searching import PLAN


def test_trials_side_by_side():
    """A comparison can train all seeds of all methods at once; a sweep's fresh seeds wait for its search."""
    sweep = replace(PLAN, space={"baselines": {"mcce": {}, "focal": {}}}, trials=5, confirm=4)
    assert sweep.most_at_once == 7
    methods = (Method("mcce", ("mcce",)), Method("focal", ("focal",)))
    assert replace(sweep, methods=methods, trials=0).most_at_once == 10
    assert replace(sweep, space={}, trials=0).most_at_once == 1
