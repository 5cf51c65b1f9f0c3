"""`EpochResult` as JSON, and the curve of its scores."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from tce_core.adjust import TAUS
from tce_core.evidence.intervals import image_intervals
from tce_core.fairness import fairness_report
from tce_core.fine_grained import fine_grained
from tce_core.results import EpochResult, Scores, measured_curve
from tce_core.training import train

PLAIN = Scores(0.0, (0.5, math.nan, 1 / 3), {"worst_recall": 0.1}, {"miou": (0.1, 0.7), "worst_iou": (0.0, 0.3)})
HALF = Scores(0.5, (0.4, math.nan, 0.4), {"worst_recall": math.nan}, {})


def result(curve=(PLAIN, HALF), class_weights=None):
    return EpochResult(3, 0.1 + 0.2, 1e-3, curve, class_weights, train_seconds=1.5, evaluation_seconds=0.25)


@pytest.mark.parametrize("class_weights", [None, (0.25, 0.75, 0.0)])
def test_a_result_travels_as_json(class_weights):
    sent = result(class_weights=class_weights)
    text = json.dumps(sent.as_dict(), allow_nan=False)  # strict JSON has no NaN
    assert json.loads(text)["curve"][0]["iou"] == [0.5, None, 1 / 3]
    assert json.loads(text)["curve"][1]["measures"] == {"worst_recall": None}
    for back in (EpochResult.from_dict(json.loads(text)), EpochResult.from_json(sent.to_json())):
        assert repr(back) == repr(sent)  # repr, because NaN is not equal to itself


def test_a_result_with_test_figures_travels_as_json_and_an_older_one_has_none():
    sent = replace(result(), test=(PLAIN, HALF))
    assert repr(EpochResult.from_json(sent.to_json())) == repr(sent)
    assert (sent.test_at(0.5), result().test_at(0.5)) == (HALF, None)
    older = {key: value for key, value in result().as_dict().items() if key != "test"}
    assert EpochResult.from_dict(older).test is None


def test_the_plain_model_is_the_first_of_the_curve():
    one = result()
    assert (one.plain, one.at(0), one.at(0.5)) == (PLAIN, PLAIN, HALF)
    assert (one.iou, one.intervals, one.report) == (PLAIN.iou, PLAIN.intervals, fairness_report(PLAIN.iou))
    assert one.at(0.5).report.worst_iou == 0.4


def test_a_strength_that_was_not_measured_is_named():
    with pytest.raises(ValueError, match=r"no scores for tau 0\.25; there are those for 0, 0\.5$"):
        result().at(0.25)


@pytest.mark.parametrize("curve", [(), (HALF,), (PLAIN, PLAIN), (PLAIN, HALF, PLAIN)])
def test_a_curve_begins_with_the_plain_model_and_rises(curve):
    with pytest.raises(ValueError, match="must begin with 0 and rise"):
        result(curve)


def test_a_curve_is_measured_from_counts():
    counts = np.random.default_rng(0).integers(0, 50, (2, 6, 3, 4))
    curve = measured_curve((0.0, 0.5), counts)
    assert [scores.tau for scores in curve] == [0.0, 0.5]
    for scores, one in zip(curve, counts, strict=True):
        tp, fp, fn = one.sum(0)
        assert scores.iou == pytest.approx(tp / (tp + fp + fn))
        assert (scores.measures, scores.intervals) == (fine_grained(one), image_intervals(one))


def test_the_results_of_a_run_are_strict_json(fast_config, streets):
    made = next(train(fast_config(loss="stochastic_tilt"), streets, device=torch.device("cpu")))
    assert repr(EpochResult.from_dict(json.loads(json.dumps(made.as_dict(), allow_nan=False)))) == repr(made)
    assert tuple(scores.tau for scores in made.curve) == TAUS
    assert len(made.iou) == streets.num_classes
    assert made.report.miou == pytest.approx(np.nanmean(made.iou))
