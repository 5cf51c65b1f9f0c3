"""The likely reasons: each of them alone, at its threshold and beside it."""

from dataclasses import replace

import numpy as np
import pytest

from tce_core.diagnosis.occurrence import Occurrence
from tce_core.diagnosis.reasons import percent, verdicts
from tce_core.diagnosis.scores import class_scores

NAMES = ("road", "wall", "pole", "sky")
K = len(NAMES)


def shown(**changes):
    """Four classes that are all in 100 images, in equal parts, in large regions. `wall=dict(...)` changes wall."""
    fields = {
        "images": 100,
        "pixels": 1000,
        "share": 1 / K,
        "regions": 100,
        "median_size": 5000.0,
        "half_size": 9000.0,
        "small_share": 0.0,
        "border_share": 0.2,
    }
    columns = {
        key: np.array([changes.get(name, {}).get(key, value) for name in NAMES]) for key, value in fields.items()
    }
    return Occurrence(total=1000, **columns)


def scores(confusion):
    matrix = np.array(confusion)
    tp = matrix.diagonal()
    return class_scores(matrix, np.stack([tp, matrix.sum(0) - tp, matrix.sum(1) - tp])[None])


def sentences(train=None, val=None, confusion=None, evaluated="val"):
    found = verdicts(
        NAMES,
        {"train": train or shown(), evaluated: val or shown()},
        None if confusion is None else scores(confusion),
        evaluated,
    )
    return [verdict.sentence(NAMES) for verdict in found]


def test_data_without_a_flaw_have_no_verdict():
    assert sentences() == []


@pytest.mark.parametrize(
    ("train", "val", "said"),
    [
        ({"images": 19}, {}, "wall is in too few images (19 of 1000 training images, 1.9%)."),
        ({"share": 0.02}, {}, "wall has few pixels (2.0% of the training pixels), and is rarer in train"),
        ({"share": 0.05}, {"share": 0.2}, "wall is rarer in train than in val (5.0% of the pixels against 20%)."),
        (
            {"small_share": 0.5},
            {},
            "wall has only small regions (50% of its pixels are in regions below 256 pixels).",
        ),
        ({"images": 0, "share": 0}, {}, "wall is absent from train, so no model can learn it."),
        ({}, {"images": 0}, "wall is absent from val, so its IoU means nothing there."),
        ({}, {"images": 4}, "wall is in only 4 of 1000 val images, so its IoU means little."),
    ],
)
def test_a_reason_in_the_data(train, val, said):
    (sentence,) = sentences(shown(wall=train), shown(wall=val))
    assert sentence.startswith(said)


@pytest.mark.parametrize(
    ("train", "val"),
    [({"images": 20}, {}), ({"share": 0.065}, {}), ({"small_share": 0.49}, {}), ({}, {"images": 5})],
)
def test_beside_the_threshold_there_is_no_reason(train, val):
    assert sentences(shown(wall=train), shown(wall=val)) == []


def test_few_images_are_also_a_small_share_of_many():
    train = replace(shown(wall={"images": 40}, road={"images": 50}), total=2500)
    assert sentences(train) == ["wall is in too few images (40 of 2500 training images, 1.6%)."]


def test_several_reasons_are_one_sentence():
    train = shown(pole={"images": 5, "small_share": 0.9})
    said = "pole is in too few images (5 of 1000 training images, 0.5%), and has only small regions (90% of its"
    assert sentences(train)[0].startswith(said)


GOOD = [[90, 10, 0, 0], [10, 80, 10, 0], [0, 10, 80, 10], [0, 0, 10, 90]]


def test_the_worst_class_is_always_named_even_without_a_reason():
    assert sentences(confusion=GOOD) == ["wall: no single reason seen."]


def test_confusions_are_named_from_a_quarter_on():
    taken = [[100, 0, 0, 0], [25, 75, 0, 0], [0, 0, 100, 0], [0, 0, 0, 100]]
    assert sentences(confusion=taken) == ["wall is confused with road (25% of its pixels are taken for that)."]
    below = [[100, 0, 0, 0], [24, 76, 0, 0], [0, 0, 100, 0], [0, 0, 0, 100]]
    assert sentences(confusion=below) == ["wall: no single reason seen."]
    column = [[300, 0, 100, 0], [0, 100, 0, 0], [0, 0, 100, 0], [0, 0, 0, 100]]
    assert sentences(confusion=column) == ["pole is predicted where road is (50% of the pixels predicted as it)."]
    never = [[100, 0, 0, 0], [100, 0, 0, 0], [0, 0, 100, 0], [0, 0, 0, 100]]
    assert sentences(confusion=never) == [
        "wall is hardly ever predicted (0% as many pixels as it has), and is confused with road (100% of its pixels "
        "are taken for that)."
    ]
    hardly = [[100, 5, 0, 0], [23, 4, 23, 0], [0, 0, 100, 0], [0, 0, 0, 100]]
    assert "predicted where" in sentences(confusion=hardly)[0]
    hardly[0], hardly[1] = [100, 3, 0, 0], [24, 1, 24, 0]
    assert "predicted where" not in sentences(confusion=hardly)[0]


def test_classes_far_below_the_mean_are_named_the_worst_first_and_those_without_an_iou_before():
    # IoU 100/240, 15/120 and 10/115: two thirds of their mean are 0.14.
    confusion = [[100, 0, 0, 0], [70, 15, 15, 0], [70, 20, 10, 0], [0, 0, 0, 0]]
    found = verdicts(NAMES, {"train": shown(), "test": shown(sky={"images": 0})}, scores(confusion), "test")
    assert [NAMES[one.label] for one in found] == ["sky", "pole", "wall"]
    assert found[0].reasons == ("is absent from test, so its IoU means nothing there",)


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.344, "34%"), (0.0995, "10%"), (0.0994, "9.9%"), (0.01, "1.0%"), (0.00995, "1.0%"), (0.000314, "0.031%")],
)
def test_shares_have_two_digits(share, text):
    assert percent(share) == text
    assert percent(0) == "0%"
    assert percent(float("nan")) == "-"
