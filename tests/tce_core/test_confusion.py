"""`tce_core.confusion` compared with the official Cityscapes evaluation, scikit-learn and torchmetrics."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import confusion_matrix as sklearn_confusion
from sklearn.metrics import jaccard_score
from torchmetrics.classification import MulticlassJaccardIndex

from tce_core import VOID
from tce_core.confusion import (
    confusion_matrix,
    confusion_of_classes,
    count_labels,
    image_counts,
    iou_from_confusion,
)

K = 19


def maps(seed, absent=(), shape=(2, 24, 32)):
    """Make a prediction and labels that agree on about half of the pixels. Some pixels are void."""
    generator = torch.Generator().manual_seed(seed)
    classes = torch.tensor([k for k in range(K) if k not in absent])
    labels = classes[torch.randint(len(classes), shape, generator=generator)]
    noise = classes[torch.randint(len(classes), shape, generator=generator)]
    prediction = torch.where(torch.rand(shape, generator=generator) < 0.5, labels, noise)
    labels[torch.rand(shape, generator=generator) < 0.1] = VOID
    return prediction, labels


def test_rows_are_truth_and_columns_are_prediction():
    confusion = confusion_matrix(torch.tensor([2, 2, 0, 1]), torch.tensor([0, 0, 0, VOID]), num_classes=3)
    assert confusion.dtype == torch.int64
    assert confusion.tolist() == [[1, 0, 2], [0, 0, 0], [0, 0, 0]]
    assert image_counts(confusion).tolist() == [[1, 0, 0], [0, 0, 2], [2, 0, 0]]  # tp, fp, fn
    np.testing.assert_array_equal(iou_from_confusion(confusion), [1 / 3, np.nan, 0.0])


@pytest.mark.parametrize("seed", range(3))
def test_scikit_learn_agrees_exactly(seed):
    prediction, labels = maps(seed)
    valid = labels != VOID
    truth, guess = labels[valid].numpy(), prediction[valid].numpy()
    confusion = confusion_matrix(prediction, labels, K)
    np.testing.assert_array_equal(confusion, sklearn_confusion(truth, guess, labels=range(K)))
    iou = iou_from_confusion(confusion)
    np.testing.assert_array_equal(iou, jaccard_score(truth, guess, labels=range(K), average=None))


@pytest.mark.parametrize("absent", [(), (3,), (0, 7, 18)])
def test_the_official_cityscapes_evaluation_agrees_exactly(tmp_path, absent):
    official = pytest.importorskip("cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling")
    prediction, labels = maps(5, absent)
    ids = [official.trainId2label[k].id for k in range(K)]
    of_class = np.zeros(256, dtype=np.uint8)  # void becomes label 0, "unlabeled", which the official code ignores
    of_class[:K] = ids
    args = SimpleNamespace(
        evalLabels=[label.id for label in official.labels if label.id >= 0],
        evalInstLevelScore=False,
        evalPixelAccuracy=False,
    )
    counted = np.zeros((len(args.evalLabels),) * 2, dtype=np.ulonglong)
    for image in range(len(labels)):
        for name, array in (("prediction", prediction[image]), ("truth", labels[image])):
            Image.fromarray(of_class[array.numpy()]).save(tmp_path / f"{name}.png")
        pair = str(tmp_path / "prediction.png"), str(tmp_path / "truth.png")
        official.evaluatePair(*pair, counted, {}, {}, args)

    confusion = confusion_matrix(prediction, labels, K)
    np.testing.assert_array_equal(confusion, counted[np.ix_(ids, ids)])
    wanted = [official.getIouScoreForLabel(label, counted, args) for label in ids]
    np.testing.assert_array_equal(iou_from_confusion(confusion), wanted)
    assert np.flatnonzero(np.isnan(wanted)).tolist() == list(absent)


def test_torchmetrics_agrees_where_classes_are_present():
    prediction, labels = maps(7, absent=(4,))
    metric = MulticlassJaccardIndex(num_classes=K, average=None, ignore_index=VOID)
    wanted = metric(prediction, labels).numpy()
    iou = iou_from_confusion(confusion_matrix(prediction, labels, K))
    assert np.isnan(iou[4])
    assert wanted[4] == 0  # torchmetrics gives 0 for an absent class
    present = ~np.isnan(iou)
    np.testing.assert_allclose(iou[present], wanted[present], atol=1e-6)


def test_images_add_up_to_the_split():
    prediction, labels = maps(9, shape=(4, 16, 16))
    each = torch.stack([confusion_matrix(p, y, K) for p, y in zip(prediction, labels, strict=True)])
    whole = confusion_matrix(prediction, labels, K)
    assert torch.equal(each.sum(dim=0), whole)
    assert image_counts(each).shape == (4, 3, K)
    assert torch.equal(image_counts(each).sum(dim=0), image_counts(whole))


def test_masks_as_bytes_do_not_overflow():
    prediction, labels = maps(11)
    as_bytes = confusion_matrix(prediction.to(torch.uint8), labels.to(torch.uint8), K)
    assert torch.equal(as_bytes, confusion_matrix(prediction, labels, K))


def test_an_all_void_image_counts_nothing():
    labels = torch.full((3, 3), VOID)
    confusion = confusion_matrix(torch.zeros_like(labels), labels, K)
    assert confusion.shape == (K, K)
    assert confusion.sum() == 0
    assert np.isnan(iou_from_confusion(confusion)).all()


@pytest.mark.parametrize(
    ("prediction", "labels", "message"),
    [
        ([0, 1], [0, 19], r"label id 19 is outside 0\.\.18"),
        ([0, 1], [-1, 0], r"label id -1 is outside"),
        ([0, 25], [0, 0], r"prediction id 25 is outside"),
        ([0, 1], [0], "shape"),
    ],
)
def test_ids_outside_the_classes_are_named(prediction, labels, message):
    with pytest.raises(ValueError, match=message):
        confusion_matrix(torch.tensor(prediction), torch.tensor(labels), K)


def test_the_images_of_a_batch_are_counted_each_for_itself():
    prediction, labels = (ids.to(torch.uint8) for ids in maps(13, shape=(5, 24, 30)))
    counts = count_labels(prediction, labels, K)
    assert counts.shape == (5, 256, K)
    assert counts.dtype == torch.int64
    for image in range(5):
        valid = labels[image] != VOID
        truth, guess = labels[image][valid].numpy(), prediction[image][valid].numpy()
        np.testing.assert_array_equal(
            confusion_of_classes(counts[image]), sklearn_confusion(truth, guess, labels=range(K))
        )
        assert counts[image].sum() == labels[image].numel()


def test_a_label_that_is_no_class_is_found_in_the_counts_of_a_split():
    prediction, labels = (ids.to(torch.uint8) for ids in maps(15))
    counts = count_labels(prediction, labels, K)
    labels[1, 0, 0] = 254
    bad = count_labels(prediction, labels, K)
    confusion_of_classes(counts.sum(0))
    with pytest.raises(ValueError, match=r"label id 254 is outside 0\.\.18"):
        confusion_of_classes(counts.sum(0) + bad.sum(0))


@pytest.mark.gpu
def test_a_gpu_counts_the_same():
    prediction, labels = (ids.to(torch.uint8) for ids in maps(17, shape=(3, 24, 36)))
    on_gpu = count_labels(prediction.cuda(), labels.cuda(), K)
    assert torch.equal(on_gpu.cpu(), count_labels(prediction, labels, K))
