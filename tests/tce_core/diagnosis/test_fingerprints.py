"""Fingerprints of pictures."""

import numpy as np

from tce_core.diagnosis.fingerprints import SIDE, fingerprint_of

RAMP = np.repeat(np.linspace(0, 255, 90).astype(np.uint8)[None, :, None], 3, axis=2).repeat(80, axis=0)


def bits(image):
    return int(np.bitwise_count(fingerprint_of(image).bits))


def test_a_bit_says_that_the_right_neighbour_is_brighter():
    assert bits(RAMP) == 64
    assert bits(RAMP[:, ::-1].copy()) == 0
    both = np.concatenate([RAMP[:40], RAMP[:40, ::-1]])
    assert bits(both) == 32


def test_the_digest_is_of_the_pixels_and_the_size():
    one = np.random.default_rng(0).integers(256, size=(6, 8, 3)).astype(np.uint8)
    other = one.copy()
    other[3, 3, 1] ^= 1
    digests = {fingerprint_of(image).digest for image in (one, one.copy(), other, one.reshape(8, 6, 3))}
    assert len(digests) == 3


def test_the_thumbnail_has_the_means_of_equal_parts():
    image = np.random.default_rng(0).integers(256, size=(4 * SIDE, 2 * SIDE, 1)).astype(np.uint8).repeat(3, axis=2)
    means = image[:, :, 0].reshape(SIDE, 4, SIDE, 2).mean(axis=(1, 3))
    thumbnail = fingerprint_of(image).thumbnail.reshape(SIDE, SIDE)
    np.testing.assert_allclose(thumbnail, means, atol=1)


def test_a_picture_of_one_pixel_has_a_fingerprint():
    assert fingerprint_of(np.full((1, 1, 3), 7, np.uint8)).thumbnail.tolist() == [7] * SIDE**2
