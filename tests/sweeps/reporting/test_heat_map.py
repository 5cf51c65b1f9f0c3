"""The heat map of a confusion matrix: well-formed, with the right numbers, and colours that need no colour vision."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from sweeps.reporting.heat_map import NUMBERED, colour, heat_map

SVG = "{http://www.w3.org/2000/svg}"


def drawn(shares, names):
    return ElementTree.fromstring(heat_map(np.array(shares), names, "{truth} as {prediction}: {share}"))


def luminance(text):
    """Relative luminance of WCAG 2.2."""
    channels = [int(text[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def test_cells_have_their_number_their_place_and_their_words():
    svg = drawn([[0.9, 0.096, 0.004], [0.25, 0.75, 0], [np.nan, np.nan, np.nan]], ("a <b>", "c", "d"))
    cells = {group.find(f"{SVG}title").text: group for group in svg.iter(f"{SVG}g")}
    assert set(cells) == {"a <b> as a <b>: 90.0%", "a <b> as c: 9.6%", "c as a <b>: 25.0%", "c as c: 75.0%"}
    assert [group.find(f"{SVG}text").text for group in cells.values()] == ["90", "10", "25", "75"]
    right, below = (cells[name].find(f"{SVG}rect") for name in ("a <b> as c: 9.6%", "c as a <b>: 25.0%"))
    assert int(right.get("x")) > int(below.get("x"))
    assert int(right.get("y")) < int(below.get("y"))


@pytest.mark.parametrize("classes", [2, 19, NUMBERED, NUMBERED + 1, 150])
def test_every_class_is_named_twice_and_large_maps_have_no_numbers(classes):
    names = tuple(f"class {k}" for k in range(classes))
    svg = drawn(np.eye(classes), names)
    texts = [text.text for text in svg.iter(f"{SVG}text")]
    assert all(texts.count(name) == 2 for name in names)
    assert ("100" in texts) is (classes <= NUMBERED)
    cells = [group.find(f"{SVG}rect") for group in svg.iter(f"{SVG}g")]
    assert max(int(cell.get("x")) + int(cell.get("width")) for cell in cells) <= int(svg.get("width"))


def test_a_larger_share_is_darker_and_numbers_are_readable_on_it():
    shades = [luminance(colour(share)) for share in np.linspace(0, 1, 101)]
    assert (np.diff(shades) < 0).all()
    for share in np.linspace(0.01, 1, 100):
        svg = drawn([[share]], ("a",))
        cell = next(svg.iter(f"{SVG}g"))
        ink = {"#000": 0.0, "#fff": 1.0}[cell.find(f"{SVG}text").get("fill")]
        ground = luminance(cell.find(f"{SVG}rect").get("fill"))
        assert (max(ink, ground) + 0.05) / (min(ink, ground) + 0.05) >= 4.5, share
