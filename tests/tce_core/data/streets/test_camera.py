"""`camera`: where a shape is seen, which pixels get its label, and how far it fades into the haze."""

import math

import numpy as np
import pytest

from tce_core import VOID
from tce_core.data.streets.camera import CAMERA_HEIGHT, HAZE_METRES, OVERSAMPLING, Camera

HEIGHT, WIDTH = 60, 100
HAZE = (200.0, 210.0, 220.0)
RED = (255.0, 0.0, 0.0)


@pytest.fixture
def camera():
    return Camera(HEIGHT, WIDTH, HAZE, np.random.default_rng(0))


def hazy(color, metres):
    """The colour of a shape at this distance."""
    part = 1 - math.exp(-metres / HAZE_METRES)
    return [a + (b - a) * part for a, b in zip(color, HAZE, strict=True)]


def horizon_row(camera):
    return camera.horizon * HEIGHT


@pytest.mark.parametrize("seed", range(5))
def test_a_point_at_the_height_of_the_camera_is_on_the_horizon(seed):
    camera = Camera(HEIGHT, WIDTH, HAZE, np.random.default_rng(seed))
    for z in (1, 10, 100):
        assert camera.screen((3, CAMERA_HEIGHT, z))[1] == pytest.approx(OVERSAMPLING * horizon_row(camera))
    assert 0 < camera.screen((0, 0, 100))[0] < OVERSAMPLING * WIDTH


def test_twice_the_distance_halves_the_size(camera):
    def size(z):
        (left, low), (right, high) = camera.screen((-1, 0, z)), camera.screen((1, 2, z))
        return right - left, low - high

    assert size(20) == pytest.approx([side / 2 for side in size(10)])
    assert size(10)[0] == pytest.approx(size(10)[1])  # pixels are square


def test_a_canvas_without_shapes_is_void(camera):
    image, mask = camera.develop(0)
    assert (image.shape, image.dtype) == ((HEIGHT, WIDTH, 3), np.float32)
    assert (mask.shape, mask.dtype) == ((HEIGHT, WIDTH), np.uint8)
    assert (mask == VOID).all()


@pytest.mark.parametrize("metres", [2, 10, 60])
def test_colour_and_label_cover_the_same_pixels_and_the_colour_fades_with_distance(camera, metres):
    half = 0.2 * metres  # the same size in pixels at any distance
    camera.front((-half, half), (CAMERA_HEIGHT - half, CAMERA_HEIGHT + half), metres, RED, 4)
    image, mask = camera.develop(0)
    assert set(np.unique(mask)) == {4, VOID}
    inside = (mask == 4) & (np.roll(mask, 1, 0) == 4) & (np.roll(mask, -1, 0) == 4)
    inside &= (np.roll(mask, 1, 1) == 4) & (np.roll(mask, -1, 1) == 4)
    assert inside.sum() > 50
    np.testing.assert_allclose(image[inside], [hazy(RED, metres)] * inside.sum(), atol=1)
    assert (image[mask == VOID].mean(axis=0) < 10).all()


def test_a_shape_hides_those_that_were_painted_before_it(camera):
    camera.front((-4, 4), (0, 4), 10, RED, 1)
    camera.front((-1, 1), (1, 2), 10, RED, 2)
    assert set(np.unique(camera.develop(0)[1])) == {1, 2, VOID}
    camera.front((-4, 4), (0, 4), 10, RED, 1)
    assert set(np.unique(camera.develop(0)[1])) == {1, VOID}


def test_the_ground_is_below_the_horizon_and_the_sky_above(camera):
    camera.sky((10, 20, 30), 6)
    camera.ground((-400, 400), (1, 1000), RED, 0)
    image, mask = camera.develop(0)
    rows = np.arange(HEIGHT)[:, None] + np.zeros((1, WIDTH))
    assert (mask[rows < horizon_row(camera) - 1] == 6).all()
    assert (mask[rows > horizon_row(camera) + 1] == 0).all()
    np.testing.assert_allclose(image[0, 0], (10, 20, 30), atol=10)
    assert abs(image[int(horizon_row(camera)) - 1, 0] - HAZE).max() < 15


def test_a_side_wall_narrows_towards_the_vanishing_point(camera):
    camera.side(2, (0, 3), (3, 50), RED, 5)
    _, mask = camera.develop(0)
    heights = (mask == 5).sum(axis=0)
    heights = heights[heights > 0]
    assert len(heights) > 10
    assert (np.diff(heights) >= 0).all()  # from the far end on the left to the near end on the right


def test_a_rim_is_a_coloured_ring_around_a_labelled_disc(camera):
    camera.disc((0, 1.5, 4), (1, 1), RED, 8, rim=0.1)
    image, mask = camera.develop(0)
    rows, columns = np.nonzero(mask == 8)
    centre = round(rows.mean()), round(columns.mean())
    assert image[centre].max() == 0
    assert mask[centre] == 8
    assert image[mask == 8][:, 0].max() > 200
    filled = Camera(HEIGHT, WIDTH, HAZE, np.random.default_rng(0))
    filled.disc((0, 1.5, 4), (1, 1), RED, 8)
    assert (filled.develop(0)[1] == mask).all()
    np.testing.assert_allclose(filled.develop(0)[0][centre], hazy(RED, 4), atol=1)


def test_a_line_has_its_thickness_in_metres(camera):
    camera.line((0, 0, 4), (0, 2.5, 4), 0.5, RED, 4)
    thickness = (camera.develop(0)[1] == 4).sum(axis=1).max()
    (left, _), (right, _) = camera.screen((0, 0, 4)), camera.screen((0.5, 0, 4))
    assert thickness == pytest.approx((right - left) / OVERSAMPLING, abs=1)


def test_a_line_is_at_least_one_canvas_pixel_thick(camera):
    for x in range(-10, 10):  # the mask shows every second pixel of the canvas, so some of these lines
        camera.line((x, 0, 40), (x, 20, 40), 0.001, RED, 7)
    assert (camera.develop(0)[1] == 7).any()


def test_the_bonnet_is_void_at_the_bottom(camera):
    camera.ground((-400, 400), (1, 1000), RED, 0)
    camera.bonnet(0.1, (10, 10, 10))
    _, mask = camera.develop(0)
    assert mask[-1, WIDTH // 2] == VOID
    assert (mask[round(horizon_row(camera)) + 2 : round(0.88 * HEIGHT)] == 0).all()
