"""`tce_core.fine_grained` compared with scikit-learn's scores of every image."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, jaccard_score, precision_score, recall_score

from tce_core.fine_grained import cvar, fine_grained

K = 6


def images(seed, n=45):
    """Label maps and predictions of n images that have one to five classes. The last class is only ever predicted."""
    rng = np.random.default_rng(seed)
    for _ in range(n):
        classes = rng.choice(K - 1, rng.integers(1, K), replace=False)
        truth = rng.choice(classes, 60)
        yield truth, np.where(rng.random(60) < 0.6, truth, rng.integers(0, K, 60))


def counts_of(pairs):
    counts = []
    for truth, guess in pairs:
        matrix = confusion_matrix(truth, guess, labels=range(K))
        tp = matrix.diagonal()
        counts.append([tp, matrix.sum(0) - tp, matrix.sum(1) - tp])
    return np.array(counts)


def worst(values, share=0.05):
    ordered = sorted(values)
    return np.mean(ordered[: max(1, int(share * len(ordered)))])


@pytest.mark.parametrize(("seed", "n"), [(0, 45), (1, 3), (2, 1), (3, 20), (4, 100)])
def test_scikit_learn_agrees(seed, n):
    pairs = list(images(seed, n))
    by_image, by_class = [], {}
    for truth, guess in pairs:
        classes = np.unique(truth)
        iou = jaccard_score(truth, guess, labels=classes, average=None)
        by_image.append(iou.mean())
        for k, value in zip(classes, iou, strict=True):
            by_class.setdefault(k, []).append(value)
    truth, guess = (np.concatenate(part) for part in zip(*pairs, strict=True))
    expected = {
        "worst_recall": recall_score(truth, guess, labels=np.unique(truth), average=None).min(),
        "worst_precision": precision_score(truth, guess, average=None, zero_division=0).min(),
        "miou_image": np.mean(by_image),
        "miou_image_worst5": worst(by_image),
        "miou_class": np.mean([np.mean(values) for values in by_class.values()]),
        "miou_class_worst5": np.mean([worst(values) for values in by_class.values()]),
    }
    found = fine_grained(counts_of(pairs))
    found.pop("cvar_iou")
    assert found == pytest.approx(expected)


def test_a_class_that_is_never_predicted_has_no_precision():
    truth, guess = np.array([0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 1])
    found = fine_grained(counts_of([(truth, guess)]))
    assert (found["worst_precision"], found["worst_recall"]) == (0.0, 0.0)


def test_images_without_a_valid_pixel_are_left_out():
    counts = counts_of(images(5))
    padded = np.insert(counts, [0, 7], 0, axis=0)
    assert fine_grained(padded) == fine_grained(counts)


def test_without_any_pixel_there_is_no_answer():
    with pytest.raises(ValueError, match="no valid pixel"):
        fine_grained(np.zeros((3, 3, K), np.int64))
    with pytest.raises(ValueError, match=r"must be \(N, 3, K\)"):
        fine_grained(np.ones((3, K)))


def test_cvar_is_the_mean_of_the_worst_share():
    values = [0.4, math.nan, 0.1, 0.3, 0.2]
    assert cvar(values, 0.5) == pytest.approx((0.1 + 0.2) / 2)
    assert cvar(values, 0.3) == pytest.approx((0.1 + 0.2 * 0.2) / 1.2)
    assert cvar(values, 0.1) == pytest.approx(0.1)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.floats(0.01, 1))
def test_cvar_is_the_optimum_of_rockafellar_and_uryasev(values, share):
    """CVaR = max_v v - mean(max(0, v - x)) / share, and one of the values is an optimal v."""
    x = np.array(values)
    assert cvar(x, share) == pytest.approx(max(v - np.maximum(0, v - x).mean() / share for v in x), abs=1e-9)


def test_the_split_s_cvar_is_in_the_measures():
    counts = counts_of(images(6))
    tp, fp, fn = counts.sum(0)
    assert fine_grained(counts)["cvar_iou"] == cvar(tp / (tp + fp + fn), 0.3)
