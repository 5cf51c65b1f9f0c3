"""`sweeps.strategy.floors`: floors are read, compared with an evaluation and explained."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.storage.measures import NAMED
from sweeps.storage.objectives import Floor, Objectives
from sweeps.strategy.floors import (
    Standing,
    check_classes,
    keeps,
    largest_shortfalls,
    nearest_misses,
    parse_floors,
    standings,
)
from tce_core.errors import UserError
from tests.sweeps.searching import ious

CLASSES = ("road", "wall", "rider", "pole")


def objectives(*texts, lead="worst_iou", allowance=1.0):
    """The objectives with these floors; of the guard, with an allowance of 1, every value is acceptable."""
    return Objectives(lead, allowance, CLASSES, parse_floors(texts, CLASSES))


def shortfalls(asked, scores, baseline):
    """How far an evaluation misses each floor, by class or measure."""
    return {one.name: one.shortfall for one in standings(asked, scores, baseline)}


# Reading


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("wall=0.3", Floor("iou:wall", 0.3, False)),
        ("iou:wall=0.3", Floor("iou:wall", 0.3, False)),
        ("wall=+0.01", Floor("iou:wall", 0.01, True)),
        ("wall=-0.01", Floor("iou:wall", -0.01, True)),
        ("wall=-0", Floor("iou:wall", 0.0, True)),
        ("wall=0", Floor("iou:wall", 0.0, False)),
        ("wall=.5", Floor("iou:wall", 0.5, False)),
        ("wall=1e-2", Floor("iou:wall", 0.01, False)),
        ("miou=-0.01", Floor("miou", -0.01, True)),
        ("worst_recall=0.2", Floor("worst_recall", 0.2, False)),
        ("others=-0.02", Floor("others", -0.02, True)),
    ],
)
def test_a_floor_is_read(text, wanted):
    assert parse_floors([text], CLASSES) == (wanted,)


@pytest.mark.parametrize(
    ("texts", "line"),
    [
        (["wall"], "--floor wall: write NAME=VALUE, such as miou=-0.01"),
        (["=0.3"], "--floor =0.3: write NAME=VALUE, such as miou=-0.01"),
        (["wall="], "--floor wall=: '' is not a number, such as 0.3, or -0.01 below the baseline"),
        (["wall=nan"], "--floor wall=nan: 'nan' is not a number, such as 0.3, or -0.01 below the baseline"),
        (["wall=30%"], "--floor wall=30%: '30%' is not a number, such as 0.3, or -0.01 below the baseline"),
        (["wall=30"], "--floor wall=30: 30 is outside -1 to 1; measures are fractions, 0.3 and not 30"),
        (["wall=-1.5"], "--floor wall=-1.5: -1.5 is outside -1 to 1; measures are fractions, 0.3 and not 30"),
        (["wall=0.3", "iou:wall=-0.1"], "--floor iou:wall=-0.1: 'iou:wall' has a floor already; give one of them"),
        (["others=0.3", "others=0.3"], "--floor others=0.3: 'others' has a floor already; give one of them"),
        (
            ["Walls=0.3"],
            "--floor Walls=0.3: no class or measure 'Walls'; nearest: wall; it is one of "
            f"{', '.join([*CLASSES, *NAMED])}, others",
        ),
    ],
)
def test_a_floor_that_cannot_be_read_is_refused_in_one_line(texts, line):
    with pytest.raises(UserError) as caught:
        parse_floors(texts, CLASSES)
    assert str(caught.value) == line


names = st.lists(st.one_of(st.sampled_from(["miou", "others", "iou:", "a=b", "iou:a", "a"]), st.text(min_size=1)))


@given(st.data(), names.map(lambda given: list(dict.fromkeys(given))))
def test_what_is_written_is_read_again(data, classes):
    """Also if a class has the name of a measure, or a name with `=` in it."""
    known = [*NAMED, "others", *(f"iou:{name}" for name in classes)]
    chosen = data.draw(st.lists(st.sampled_from(known), unique=True))
    numbers = st.floats(-1, 1) if data.draw(st.booleans()) else st.floats(0, 1)
    floors = []
    for name in chosen:
        value = data.draw(numbers)
        floors.append(Floor(name, value, relative=math.copysign(1, value) < 0 or data.draw(st.booleans())))
    assert parse_floors(map(str, floors), classes) == tuple(floors)


def test_a_class_with_the_name_of_a_measure_is_named_with_its_prefix():
    classes = ("miou", "others")
    floors = parse_floors(["miou=0.1", "iou:miou=0.2", "others=0.3", "iou:others=0.4"], classes)
    assert [floor.name for floor in floors] == ["miou", "iou:miou", "others", "iou:others"]
    assert list(map(str, floors)) == ["miou=0.1", "iou:miou=0.2", "others=0.3", "iou:others=0.4"]


def test_a_class_that_no_validation_image_shows_cannot_lead_or_have_a_floor():
    pixels = np.array([9, 0, 9, 9])
    check_classes(objectives("road=0.1", "others=-0.1"), pixels)
    for asked, flag in (
        (objectives(lead="iou:wall"), "--objective iou:wall"),
        (objectives("wall=0.1"), "--floor wall=0.1"),
    ):
        with pytest.raises(UserError) as caught:
            check_classes(asked, pixels)
        assert str(caught.value) == f"{flag}: no image of the val split shows 'wall'; choose another class"


# Comparing

BASE = ious(1, 0.8, 0.2, 0.4, 0.6)  # mIoU 0.5


@pytest.mark.parametrize(
    ("text", "scores", "wanted"),
    [
        ("wall=0.3", (0.8, 0.25, 0.4, 0.6), {"wall": 0.05}),
        ("wall=0.3", (0.8, 0.30, 0.4, 0.6), {"wall": 0.0}),
        ("wall=+0.1", (0.8, 0.25, 0.4, 0.6), {"wall": 0.05}),
        ("wall=-0.1", (0.8, 0.15, 0.4, 0.6), {"wall": -0.05}),
        ("wall=0.3", (0.8, math.nan, 0.4, 0.6), {"wall": 0.0}),
        ("miou=-0.01", (0.6, 0.2, 0.4, 0.6), {"miou": 0.04}),
        ("worst_iou=0.3", (0.6, 0.2, 0.4, 0.6), {"worst_iou": 0.1}),
        ("std_iou=0.3", (0.8, 0.2, 0.8, 0.2), {"std_iou": math.sqrt(4 * 0.09 / 3) - 0.3}),  # at most
        ("std_iou=+0.1", (0.2, 0.2, 0.2, 0.2), {"std_iou": -math.sqrt(0.2 / 3) - 0.1}),
        ("others=-0.1", (0.8, 0.2, 0.2, 0.6), {"road": -0.1, "wall": -0.1, "rider": 0.1, "pole": -0.1}),
        ("others=0.3", (0.8, 0.2, 0.2, 0.6), {"road": -0.5, "wall": 0.1, "rider": 0.1, "pole": -0.3}),
    ],
)
def test_how_far_a_floor_is_missed(text, scores, wanted):
    found = shortfalls(objectives(text), ious(1, *scores), BASE)
    assert {name: found[name] for name in wanted} == pytest.approx(wanted)
    assert found.keys() - wanted.keys() <= {"miou"}  # the guard's


def test_others_are_the_classes_that_neither_lead_nor_have_a_floor():
    def names(*texts, lead):
        return set(shortfalls(objectives(*texts, lead=lead), BASE, BASE)) - {"miou", "worst_iou"}

    assert names("others=-0.1", lead="worst_iou") == set(CLASSES)
    assert names("others=-0.1", lead="miou") == set(CLASSES)
    assert names("others=-0.1", lead="iou:wall") == set(CLASSES) - {"wall"}
    assert names("others=-0.1", "pole=0.5", lead="iou:wall") == set(CLASSES) - {"wall"}
    assert shortfalls(objectives("others=-0.1", "pole=0.9"), BASE, BASE)["pole"] == pytest.approx(0.3)


def test_a_class_without_an_iou_in_the_baseline_keeps_a_relative_floor():
    absent = ious(1, 0.8, math.nan, 0.4, 0.6)
    low = ious(1, 0.8, 0.0, 0.4, 0.6)
    assert shortfalls(objectives("wall=-0.1"), low, absent)["wall"] == 0
    assert shortfalls(objectives("wall=0.3"), low, absent)["wall"] == pytest.approx(0.3)


def test_without_a_baseline_only_absolute_floors_count():
    assert shortfalls(objectives("wall=0.3", "miou=-0.1", "others=-0.1"), BASE, None) == {"wall": pytest.approx(0.1)}
    assert keeps(standings(objectives(), BASE, None))


def test_a_young_trial_is_compared_with_the_baseline_after_as_many_epochs():
    """The baseline still gains 0.2 in `wall` and 0.15 in mIoU, so the floors are as much lower."""
    young = ious(1, 0.6, 0.0, 0.3, 0.5)
    asked = objectives("wall=0.3", "miou=-0.01")
    found = {one.name: one for one in standings(asked, ious(1, 0.6, 0.12, 0.2, 0.4), BASE, young)}
    assert found["wall"].bound == pytest.approx(0.1)
    assert found["wall"].shortfall == pytest.approx(-0.02)
    assert found["miou"].bound == pytest.approx(0.35 - 0.01)
    assert found["miou"].shortfall == pytest.approx(0.34 - 0.33)


def test_the_largest_shortfall_stands_for_all_others():
    found = standings(objectives("others=0.3", "pole=0.5"), BASE, BASE)
    assert largest_shortfalls(found) == pytest.approx({"miou": -1.0, "others": 0.1, "pole": -0.1})


# Explaining


def standing(name, value, bound):
    return Standing(name, name, value, bound, bound - value)


def test_the_trials_that_come_nearest_are_named_with_what_they_miss():
    far = [standing("wall", 0.1, 0.3), standing("rider", 0.2, 0.2)]
    near = [standing("wall", 0.27, 0.3), standing("rider", 0.1, 0.2), standing("miou", 0.5, 0.4)]
    nearest = [standing("wall", 0.27, 0.3), standing("rider", 0.15, 0.2)]
    farthest = [standing("wall", 0.0, 0.3)]
    candidates = [("trial 1", far), ("trial 2 (tau 0.25)", near), ("trial 3", nearest), ("trial 4", farthest)]
    assert nearest_misses(candidates) == (
        "no trial keeps the floors; nearest: trial 3: rider 0.15 of 0.20, wall 0.27 of 0.30; "
        "trial 2 (tau 0.25): rider 0.10 of 0.20, wall 0.27 of 0.30; trial 1: wall 0.10 of 0.30"
    )


def test_of_many_missed_floors_the_farthest_are_named():
    found = [standing(name, 0.1, 0.2 + i / 10) for i, name in enumerate(CLASSES)]
    assert nearest_misses([("trial 1", [*found, standing("sky", 0.29996, 0.3)])]) == (
        "no trial keeps the floors; nearest: trial 1: "
        "pole 0.10 of 0.50, rider 0.10 of 0.40, wall 0.10 of 0.30, and 2 more"
    )
    assert "sky 0.29996 of 0.30000" in nearest_misses([("trial 1", [standing("sky", 0.29996, 0.3)])])


@given(st.floats(0, 1), st.floats(0, 1))
def test_two_different_numbers_are_kept_apart_as_far_as_five_decimals(value, bound):
    text = nearest_misses([("trial 1", [Standing("a", "a", value, bound, 1.0)])])
    one, two = text.rsplit("a ", 1)[1].split(" of ")
    assert (one == two) <= (round(value, 5) == round(bound, 5))
