"""The scores of classes, against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, jaccard_score, precision_score, recall_score

from tce_core.diagnosis.scores import class_scores

K, N = 5, 8


def predictions(seed=0, classes=K):
    """The truth and the prediction of N images; two thirds of the pixels are right."""
    random = np.random.default_rng(seed)
    truth = random.integers(classes, size=(N, 400))
    wrong = random.random(truth.shape) < 1 / 3
    return truth, np.where(wrong, random.integers(classes, size=truth.shape), truth)


def scores_of(truth, prediction, classes=K):
    each = np.array([confusion_matrix(t, p, labels=range(classes)) for t, p in zip(truth, prediction, strict=True)])
    tp = each.diagonal(axis1=1, axis2=2)
    counts = np.stack([tp, each.sum(1) - tp, each.sum(2) - tp], axis=1)
    return class_scores(each.sum(0), counts)


def test_they_are_those_of_scikit_learn():
    truth, prediction = predictions()
    found, flat = scores_of(truth, prediction), (truth.ravel(), prediction.ravel())
    np.testing.assert_allclose(found.iou, jaccard_score(*flat, average=None))
    np.testing.assert_allclose(found.recall, recall_score(*flat, average=None))
    np.testing.assert_allclose(found.precision, precision_score(*flat, average=None))
    np.testing.assert_allclose(found.taken_for, confusion_matrix(*flat, normalize="true"))
    np.testing.assert_allclose(found.taken, confusion_matrix(*flat, normalize="pred"))
    assert found.miou == pytest.approx(jaccard_score(*flat, average="macro"))
    assert found.images.tolist() == [N] * K
    np.testing.assert_allclose(found.predicted, np.bincount(flat[1]) / np.bincount(flat[0]))
    assert (found.interval[0] < found.iou).all()
    assert (found.iou < found.interval[1]).all()


def test_the_largest_confusions_are_named():
    truth = np.array([[0] * 10 + [1] * 10 + [2] * 10])
    prediction = np.array([[0] * 4 + [1] * 5 + [2] * 1 + [1] * 10 + [2] * 8 + [1] * 2])
    found = scores_of(truth, prediction, 3)
    assert found.confused_with(0) == (1, 0.5)
    assert found.taken_as(1) == (0, pytest.approx(5 / 17))
    assert found.confused_with(1)[1] == 0
    assert found.taken_as(0)[1] == 0


def test_a_class_that_the_truth_lacks_has_no_iou_even_if_it_is_predicted():
    truth, prediction = predictions(classes=K - 1)
    prediction[0, :50] = K - 1
    found = scores_of(truth, prediction)
    assert np.isnan([found.iou[-1], found.recall[-1], *found.interval[:, -1]]).all()
    assert found.precision[-1] == 0
    assert found.miou == pytest.approx(np.mean(found.iou[:-1]))


def test_a_class_that_is_never_predicted_has_no_precision():
    truth, prediction = predictions()
    prediction[prediction == 2] = 1
    found = scores_of(truth, prediction)
    assert (found.iou[2], found.recall[2]) == (0, 0)
    assert np.isnan(found.precision[2])
    assert found.taken_as(2)[1] == 0


def test_a_single_image_has_no_interval():
    truth, prediction = predictions()
    found = scores_of(truth[:1], prediction[:1])
    assert np.isnan(found.interval).all()
    np.testing.assert_allclose(found.iou, jaccard_score(truth[0], prediction[0], average=None))
