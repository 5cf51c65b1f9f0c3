"""`scene`: what each painter paints, what a scene contains, and that near things hide far ones."""

import numpy as np
import pytest

from tce_core import VOID
from tce_core.data.streets import scene as things
from tce_core.data.streets.scene import RIDER, WALL, Scene, shade

SIZE = (96, 160)
COLORS = (10.0, 20.0, 30.0)


def make(seed=0, riders=False, walls=False, size=SIZE):
    return Scene(*size, riders, walls, np.random.default_rng(seed))


@pytest.mark.parametrize("seed", range(4))
def test_a_scene_is_an_image_and_a_mask_of_known_labels(seed):
    image, mask = make(seed, riders=True, walls=True).render()
    assert (image.shape, image.dtype) == ((*SIZE, 3), np.uint8)
    assert (mask.shape, mask.dtype) == (SIZE, np.uint8)
    assert set(np.unique(mask)) <= {*range(10), VOID}


def test_equal_generators_make_equal_scenes():
    (one, one_mask), (again, again_mask), (other, _) = (make(seed, riders=True).render() for seed in (5, 5, 6))
    np.testing.assert_array_equal(one, again)
    np.testing.assert_array_equal(one_mask, again_mask)
    assert (one != other).any()


def test_riders_and_walls_are_in_a_scene_only_when_asked_for():
    for label, asked in ((RIDER, {"riders": True}), (WALL, {"walls": True})):
        shown = [(make(seed, **asked).render()[1] == label).any() for seed in range(20)]
        assert np.mean(shown) > 0.8  # a near thing can hide it
    plain = np.stack([make(seed).render()[1] for seed in range(20)])
    assert not np.isin(plain, [RIDER, WALL]).any()


@pytest.mark.parametrize(
    ("paint", "label", "length"),
    [
        (things.house, things.BUILDING, [10.0]),
        (things.hedge, things.VEGETATION, [10.0]),
        (things.wall, things.WALL, []),
        (things.pole, things.POLE, []),
        (things.tree, things.VEGETATION, []),
        (things.car, things.CAR, []),
        (things.person, things.PERSON, []),
        (things.rider, things.RIDER, []),
    ],
)
@pytest.mark.parametrize("across", [-2.0, 2.0])
def test_a_painter_paints_its_class_alone(paint, label, length, across):
    for seed in range(6):
        scene = make(seed)
        paint(scene, across, 8.0, *length)
        _, mask = scene.camera.develop(0)
        assert set(np.unique(mask)) == {label, VOID}


def test_a_litter_bin_is_void():
    scene = make(3)
    scene.camera.ground((-400, 400), (1, 1000), COLORS, things.ROAD)
    _, before = scene.camera.develop(0)
    things.litter_bin(scene, 1.0, 6.0)
    _, after = scene.camera.develop(0)
    assert (after == VOID).sum() > (before == VOID).sum()


@pytest.mark.parametrize("near_first", [True, False])
def test_near_things_hide_far_ones(near_first):
    scene = make(0)
    near = (6.0, lambda: scene.camera.front((-1, 1), (0.8, 2), 6, COLORS, things.CAR))
    far = (20.0, lambda: scene.camera.front((-30, 30), (0, 30), 20, COLORS, things.WALL))
    scene.things = [near, far] if near_first else [far, near]
    _, mask = scene.render()
    column, row = (round(x / 2) for x in scene.camera.screen((0, 1.4, 6)))
    assert mask[row, column] == things.CAR
    assert mask[row, 5] == things.WALL


def test_a_house_does_not_hide_a_person_in_front_of_it():
    """A house that begins at 3 m extends far behind a person at 12 m, who stands nearer to the middle of the street."""
    scene = make(0)
    scene.things, scene.offset = [], 0.0
    scene._add(12.0, things.person, 3.0)
    scene._add(3.0, things.house, 4.0, 30.0)
    _, mask = scene.render()
    column, row = (round(x / 2) for x in scene.camera.screen((3.0, 1.1, 12.0)))
    assert mask[row, column] == things.PERSON


def test_shading_never_exceeds_white():
    assert shade((100, 200, 50), 0.5) == (50, 100, 25)
    assert shade((100, 200, 50), 2) == (200, 255, 100)
