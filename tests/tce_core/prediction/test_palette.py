"""Colours of classes that have none."""

import numpy as np
import pytest

from tce_core.prediction.palette import DEUTERANOPIA, OKABE_ITO, PROTANOPIA, palette


def cielab(colours):
    """sRGB (P, 3) in 0..255 to CIELAB under D65, by the formulas of CIE 15."""
    value = np.asarray(colours) / 255
    linear = np.where(value > 0.04045, ((value + 0.055) / 1.055) ** 2.4, value / 12.92)
    return linear, _lab(linear)


def _lab(linear):
    xyz = linear @ np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]).T
    ratio = xyz / (0.9505, 1.0, 1.089)
    f = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


def least_difference(lab):
    apart = np.linalg.norm(lab[:, None] - lab, axis=2)
    return apart[np.triu_indices(len(lab), 1)].min()


@pytest.mark.parametrize(("number", "least"), [(7, 10), (11, 10), (19, 7), (32, 5)])
def test_colours_differ_for_every_eye(number, least):
    """2.3 is the just noticeable difference of CIE76."""
    linear, lab = cielab([(0, 0, 0), *palette(number)])
    assert least_difference(lab) > least
    for eye in (PROTANOPIA, DEUTERANOPIA):
        assert np.sum(eye, axis=1) == pytest.approx([1, 1, 1], abs=1e-5)  # grey stays grey
        assert least_difference(_lab((linear @ np.array(eye).T).clip(0, 1))) > least


def test_a_palette_is_the_same_every_time_and_begins_with_the_shorter_ones():
    assert palette(7) == OKABE_ITO
    full = palette(255)
    assert len(set(full)) == 255
    assert (0, 0, 0) not in full
    assert all(palette(number) == full[:number] for number in (1, 3, 12, 40, 150))
    assert full[7:10] == ((109, 255, 255), (146, 0, 0), (0, 0, 255))
