"""`EpochResult` as JSON."""

import json
import math
from dataclasses import asdict

import pytest
import torch

from tce_core.results import EpochResult
from tce_core.training import train


@pytest.mark.parametrize("class_weights", [None, (0.25, 0.75, 0.0)])
def test_a_result_travels_as_json(class_weights):
    result = EpochResult(
        epoch=3,
        train_loss=0.1 + 0.2,
        lr=1e-3,
        iou=(0.5, math.nan, 1 / 3),
        intervals={"miou": (0.1, 0.7), "worst_iou": (0.0, 0.3)},
        class_weights=class_weights,
        train_seconds=1.5,
        evaluation_seconds=0.25,
    )
    text = json.dumps(result.as_dict(), allow_nan=False)  # strict JSON has no NaN
    assert json.loads(text)["iou"] == [0.5, None, 1 / 3]
    for back in (EpochResult.from_dict(json.loads(text)), EpochResult.from_json(result.to_json())):
        assert math.isnan(back.iou[1])
        assert {**asdict(back), "iou": back.iou[::2]} == {**asdict(result), "iou": result.iou[::2]}


def test_the_results_of_a_run_are_strict_json(fast_config, streets):
    result = next(train(fast_config(loss="stochastic_tilt"), streets, device=torch.device("cpu")))
    assert repr(EpochResult.from_dict(json.loads(json.dumps(result.as_dict(), allow_nan=False)))) == repr(result)
    assert len(result.iou) == streets.num_classes
    assert result.report.miou == pytest.approx(sum(result.iou) / len(result.iou))
