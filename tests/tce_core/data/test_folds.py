"""Folds: every image is held out once, groups stay whole, and a training sees exactly the images of its fold."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tce_core.checkpoint import read_checkpoint
from tce_core.config import TrialConfig, parse_config
from tce_core.data.dataset import open_dataset
from tce_core.data.folds import deal, in_fold, require_groups
from tce_core.data.writer import SplitWriter
from tce_core.errors import UserError
from tce_core.training import train
from tests.tce_core.states import different

CPU = torch.device("cpu")


def names(split):
    return [split.row_name(i) for i in range(len(split))]


def folded(data, fold, group_by=None):
    return in_fold(data, TrialConfig(fold=fold, group_by=group_by))


def test_every_image_is_held_out_once(streets):
    everything = sorted(names(streets.train) + names(streets.val))
    held_out = []
    for number in (1, 2, 3, 4):
        data = folded(streets, f"{number}/4")
        assert sorted(names(data.train) + names(data.val)) == everything
        assert (data.train.name, data.val.name, data.test) == ("train", "val", None)
        assert abs(len(data.val) - len(everything) / 4) <= 2
        held_out += names(data.val)
    assert sorted(held_out) == everything


def test_an_image_is_the_one_that_its_name_says(streets):
    data = folded(streets, "2/3")
    for split in (data.train, data.val, pickle.loads(pickle.dumps(data.val))):
        for i in range(len(split)):
            part, row = split.row_name(i).split("_")
            original = getattr(streets, part)
            np.testing.assert_array_equal(split.image(i), original.image(int(row)))
            np.testing.assert_array_equal(split.mask(i), original.mask(int(row)))
            np.testing.assert_array_equal(split.pixel_counts[i], original.pixel_counts[int(row)])
            np.testing.assert_array_equal(split.sizes[i], original.sizes[int(row)])
        with pytest.raises(IndexError, match=f"image {len(split)} of {len(split)}"):
            split.image(len(split))
    assert len({folded(streets, fold).fingerprint for fold in ("1/3", "2/3", "1/4")}) == 3
    assert folded(streets, "1/3").fingerprint == folded(streets, "1/3").fingerprint != streets.fingerprint


@pytest.mark.parametrize("loss", ["weighted_ce", "stochastic_tilt"])
def test_a_training_in_a_fold_is_the_training_on_these_images(fast_config, streets, tmp_path, loss):
    """The oracle is a data set of its own, written with the same images in the same order."""
    data = folded(streets, "1/3")
    for split in (data.train, data.val):
        with SplitWriter(tmp_path / f"{split.name}.arrow", split.classes, "a fold", split.name) as writer:
            for i in range(len(split)):
                writer.add(split.row_name(i), split.image(i), split.mask(i))
    config = fast_config(loss=loss)
    in_a_fold = list(train(config.model_copy(update={"fold": "1/3"}), streets, checkpoint=tmp_path / "a", device=CPU))
    alone = list(train(config, open_dataset(tmp_path), checkpoint=tmp_path / "b", device=CPU))
    assert [repr(result.curve) for result in in_a_fold] == [repr(result.curve) for result in alone]
    states = [read_checkpoint(tmp_path / name)["model"] for name in "ab"]
    assert different(*states) == []


def test_groups_are_the_names_before_a_text(streets):
    data = folded(streets, "2/2", group_by="_")
    for split in (data.train, data.val):
        assert len({name.split("_")[0] for name in names(split)}) == 1
    with pytest.raises(UserError, match=r"2 groups \(train, val\) for 3 folds; give fewer folds"):
        folded(streets, "1/3", group_by="_")
    with pytest.raises(UserError, match=r"streets: 22 images for 23 folds"):
        folded(streets, "1/23")
    with pytest.raises(UserError, match=r"image 'train_00000' has no group: its name has nothing before 'drive'"):
        folded(streets, "1/2", group_by="drive")
    with pytest.raises(UserError, match=r"image 'train_00000' has no group"):
        folded(streets, "1/2", group_by="train")
    with pytest.raises(UserError, match=r"test.arrow: all images are of one group, 'test'"):
        require_groups([streets.test], "_")


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 7)), min_size=2), st.integers(2, 6))
def test_groups_stay_whole_and_every_fold_has_one(images, folds):
    """Each image has a group, and shows three classes or fewer, as bits."""
    groups = [str(group) for group, _ in images]
    shown = np.array([[bits >> k & 1 for k in range(3)] for _, bits in images], bool)
    if len(set(groups)) < folds:
        with pytest.raises(UserError, match="give fewer folds"):
            deal(groups, shown, folds)
        return
    fold_of = deal(groups, shown, folds)
    assert len({(group, fold) for group, fold in zip(groups, fold_of, strict=True)}) == len(set(groups))
    assert set(fold_of) == set(range(folds))


@given(st.lists(st.integers(1, 4), min_size=2), st.integers(2, 5))
def test_folds_of_equal_images_are_even(sizes, folds):
    groups = [f"{i}" for i, size in enumerate(sizes) for _ in range(size)]
    if len(sizes) >= folds:
        images = np.bincount(deal(groups, np.ones((len(groups), 1), bool), folds), minlength=folds)
        assert images.max() - images.min() <= max(sizes)


@pytest.mark.parametrize("folds", [2, 3, 5])
@pytest.mark.parametrize("rare", [2, 3, 5, 7])
def test_a_rare_class_is_in_as_many_folds_as_it_can_be(folds, rare):
    for seed in range(20):
        shown = np.zeros((40, 3), bool)
        shown[:, 0] = True
        shown[np.random.default_rng(seed).permutation(40)[:rare], 1] = True
        shown[np.random.default_rng(seed + 100).permutation(40)[: 2 * rare], 2] = True
        fold_of = deal([f"{i}" for i in range(40)], shown, folds)
        assert len(set(fold_of[shown[:, 1]])) == min(rare, folds)
        sizes = np.bincount(fold_of, minlength=folds)
        assert sizes.max() - sizes.min() <= 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fold": "6/5"}, "fold = 6/5: give one of at least two folds, from 1/5"),
        ({"fold": "1/1"}, "fold = 1/1: give one of at least two folds, from 1/2"),
        ({"fold": "0/5"}, "fold = '0/5'"),
        ({"fold": 2}, "fold = 2"),
        ({"group_by": "_"}, "group_by = _: there are no folds; give fold, too"),
        ({"fold": "1/5", "group_by": ""}, "group_by = ''"),
    ],
)
def test_folds_that_do_not_exist_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        parse_config(settings, "mine.yaml")
