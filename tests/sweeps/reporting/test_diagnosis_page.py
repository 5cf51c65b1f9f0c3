"""The page of a diagnosis: it fetches nothing, holds every class, and stays small."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch

from sweeps.reporting.diagnosis_page import diagnosis_page, short
from sweeps.reporting.diagnosis_pictures import pictures_of
from tce_core.data.dataset import SplitWriter, open_dataset
from tce_core.data.schema import ClassInfo
from tce_core.diagnosis.diagnose import diagnose
from tce_core.diagnosis.differences import Difference, Window

FETCHING = {"src", "href", "srcset", "data", "action", "poster", "xlink:href"}


class Page(HTMLParser):
    """Checks that elements are closed in order, and collects texts and what the page would fetch."""

    VOID_ELEMENTS = ("meta", "br", "img", "rect", "line")

    def __init__(self, text):
        super().__init__()
        self.open, self.texts, self.fetched, self.images = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        assert tag not in ("script", "link", "iframe", "object", "embed")
        if tag not in self.VOID_ELEMENTS:
            self.open.append(tag)
        for name, value in attributes:
            if name in FETCHING:
                (self.images if value.startswith("data:image/") else self.fetched).append(value)

    def handle_endtag(self, tag):
        if tag in self.open and tag not in ("li", "p") and self.open[-1] in ("li", "p"):
            self.open.pop()
        assert tag in self.VOID_ELEMENTS or self.open.pop() == tag

    def handle_startendtag(self, tag, attributes):
        assert tag in self.VOID_ELEMENTS

    def handle_data(self, text):
        self.texts.append(text.strip())


class Guess(torch.nn.Module):
    """Predicts one of the classes at each pixel, by its colour."""

    def __init__(self, classes):
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Conv2d(3, classes, 1)

    def forward(self, x):
        return self.layer(x)


def data_of(folder, classes):
    """Masks of rectangles of all classes; names that HTML must escape."""
    random = np.random.default_rng(classes)
    infos = tuple(ClassInfo(k, f"<class> & {k}", tuple(random.integers(256, size=3).tolist())) for k in range(classes))
    folder.mkdir()
    for split, number in (("train", 4), ("val", 3), ("test", 2)):
        with SplitWriter(folder / f"{split}.arrow", infos, "rectangles", split) as writer:
            for i in range(number):
                mask = random.integers(classes, size=(12, 20)).repeat(16, 0).repeat(16, 1).astype(np.uint8)
                image = random.integers(256, size=(*mask.shape, 3)).astype(np.uint8)
                writer.add(f"{split} <{i}>", image, mask)
    return open_dataset(folder)


@pytest.mark.parametrize("classes", [1, 2, 19, 150])
def test_the_page_fetches_nothing_and_holds_every_class(tmp_path, classes):
    data = data_of(tmp_path / "data", classes)
    found = diagnose(data, Guess(classes).eval())
    text = diagnosis_page(found, data, Path("<weights>.pt"))
    page = Page(text)
    assert page.fetched == []
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|@import|url\(", text)
    assert "default-src 'none'" in text
    for info in data.classes:  # in the scores, the data, and two heat maps
        assert page.texts.count(info.name) >= 6
    for verdict in found.verdicts:
        assert verdict.sentence(data.class_names) in page.texts
    if classes > 1:
        assert page.images
    assert len(text) < 6_000_000


def test_without_a_model_the_page_has_the_data_alone(tmp_path):
    data = data_of(tmp_path / "data", 3)
    page = Page(diagnosis_page(diagnose(data), data, None))
    assert page.images == []
    assert "What the data show" in page.texts
    assert not any("What the model finds" in text for text in page.texts)


def test_pictures_end_with_the_budget():
    random = np.random.default_rng(0)
    window = Window(0, 0, 60, 80)
    image = random.integers(256, size=(60, 80, 3)).astype(np.uint8)
    labels = [random.integers(2, size=(60, 80)).astype(np.uint8) for _ in range(2)]
    classes = (ClassInfo(0, "a", (255, 0, 0)), ClassInfo(1, "b", (0, 0, 255)))
    found = {k: [Difference("one", 9, window, image, *labels)] for k in (0, 1)}
    every = pictures_of(found, classes)
    assert list(every) == [0, 1]
    assert list(pictures_of(found, classes, budget=1)) == [0]
    (picture,) = every[1]
    assert [info.name for info in picture.legend] == ["b", "a"]


@pytest.mark.parametrize(
    ("number", "text"), [(999, "999"), (1000, "1.00k"), (12_345, "12.3k"), (999_499, "999k"), (2_655_759, "2.66M")]
)
def test_large_numbers_are_short(number, text):
    assert short(number) == text
