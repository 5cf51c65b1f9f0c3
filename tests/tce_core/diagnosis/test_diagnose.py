"""The whole diagnosis, on street scenes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix

from tce_core import VOID
from tce_core.data.dataset import SplitWriter, open_dataset
from tce_core.diagnosis.diagnose import diagnose
from tce_core.errors import UserError
from tce_core.evaluation import predict
from tce_core.model import build_model


@pytest.fixture(scope="module")
def model(streets, fast_config):
    torch.manual_seed(0)
    return build_model(fast_config(), streets.num_classes).eval()


def written(data, folder, change):
    """A copy of a data set: `change(split, i, image, mask)` returns the row or None."""
    folder.mkdir()
    for split in (data.train, data.val, data.test):
        with SplitWriter(folder / f"{split.name}.arrow", split.classes, split.source, split.name) as writer:
            for i in range(len(split)):
                row = change(split, i, split.image(i), split.mask(i).copy())
                if row is not None:
                    writer.add(str(i), *row)
    return open_dataset(folder)


def test_without_a_model_only_the_data_are_judged(streets):
    found = diagnose(streets)
    assert found.scores is None
    assert found.differences == {}
    assert list(found.occurrences) == ["train", "val", "test"]
    for name, split in (("train", streets.train), ("val", streets.val), ("test", streets.test)):
        assert found.occurrences[name].pixels.tolist() == split.pixel_counts.sum(0).tolist()
    assert found.duplicates == ()


def test_the_scores_are_those_of_the_predictions(streets, model):
    found, split = diagnose(streets, model), streets.val
    images = torch.from_numpy(np.stack([split.image(i) for i in range(len(split))])).permute(0, 3, 1, 2)
    truth = np.stack([split.mask(i) for i in range(len(split))])
    prediction = predict(model, images).numpy()
    valid = truth != VOID
    labels = range(streets.num_classes)
    rows = confusion_matrix(truth[valid], prediction[valid], labels=labels, normalize="true")
    np.testing.assert_allclose(np.nan_to_num(found.scores.taken_for), rows, atol=1e-9)
    assert found.verdicts
    assert set(found.differences) == {one.label for one in found.verdicts}


def test_an_absent_class_and_a_single_image(streets, model, tmp_path):
    def change(split, i, image, mask):
        if split.name == "val" and i:
            return None
        if split.name != "test":
            mask[mask == {"train": 1, "val": 2}[split.name]] = VOID
        return image, mask

    data = written(streets, tmp_path / "data", change)
    found = diagnose(data, model)
    reasons = {one.label: one.reasons for one in found.verdicts}
    assert "is absent from train, so no model can learn it" in reasons[1]
    assert "is absent from val, so its IoU means nothing there" in reasons[2]
    assert np.isnan(found.scores.interval).all()
    without = {one.label: one.reasons for one in diagnose(data).verdicts}
    assert without[1][0] == "is absent from train, so no model can learn it"


def test_copies_across_splits_are_found(streets, tmp_path):
    first = streets.train.image(0)
    data = written(streets, tmp_path / "data", lambda s, i, image, mask: (first if s.name == "test" else image, mask))
    (one,) = diagnose(data).duplicates
    assert (one.split, one.other_split, one.other_image, one.exact) == ("test", "train", 0, True)


def test_a_split_that_cannot_be_evaluated_is_refused(streets, model, tmp_path):
    with pytest.raises(UserError, match="no test split; it has train, val"):
        diagnose(replace(streets, test=None), model, "test")

    def unlabelled(split, i, image, mask):
        return image, np.full_like(mask, VOID) if split.name == "test" else mask

    data = written(streets, tmp_path / "data", unlabelled)
    with pytest.raises(UserError, match=r"test.arrow: no labelled pixel"):
        diagnose(data, model, "test")
    assert diagnose(data).occurrences["test"].pixels.sum() == 0
