"""`sweeps.report.page`: the page is whole, holds what it shows, and names cannot break it."""

import json
import re
from dataclasses import replace

import pytest

from sweeps.report.page import Report
from sweeps.report.subject import subject_of
from sweeps.storage.folder import SweepFolder
from tests.sweeps import shown
from tests.sweeps.shown import Sweep

EVIL = ('<script>alert("&1")</script>', "a </script> b", "traffic/light", "r'ider")


def page_of(outcome, names, **settings):
    choice = outcome.choose()
    given = {"subject": subject_of(choice, outcome), "pairs": None, "pictures": None} | settings
    return Report(outcome, choice, names, SweepFolder("a"), **given).page()


def details(page):
    return json.loads(re.search(r"^const details = (.*);$", page, re.M).group(1))


@pytest.fixture
def outcome(storage):
    return Sweep(storage).run().outcome


def test_every_panel_has_a_figure_or_says_why_not(outcome):
    page = page_of(outcome, shown.NAMES)
    for name in ("front", "growth", "curve-miou", "curve-worst_iou", "classes", "parallel", "slice-t", "strengths"):
        assert f'<div id="{name}"' in page, name
    assert "The counts of the images are gone" in page
    assert "The weights of these models were not kept" in page
    assert "at least 10 searched trials" in page
    assert len(page) < 6_000_000


def test_a_click_finds_every_marker(outcome):
    page = page_of(outcome, shown.NAMES)
    found = details(page)
    assert set(found["models"]) == {"0-0", "1-0", "2-0", "3-0", "5-0"}
    assert found["shown"] == "2-0"
    assert found["models"]["2-0"]["settings"] == {"loss": "class_tilt", "t": "1.0"}
    assert found["models"]["2-0"]["iou"][1] is None  # an absent class
    assert found["models"]["2-0"]["iou"][3] == pytest.approx(0.3)
    assert found["reference_label"] == "mcce"
    assert set(re.findall(r'"customdata":\[([^\]]*)\]', page)) >= {'"2-0"'}


def test_names_cannot_break_the_page(outcome):
    page = page_of(outcome, EVIL)
    assert "<script>alert" not in page
    assert "a </script>" not in page
    assert details(page)["classes"] == list(EVIL)


def test_nothing_is_fetched(outcome):
    page = re.sub(r"<script>.*?</script>", "", page_of(outcome, shown.NAMES), flags=re.S)
    assert not re.findall(r'\b(?:src|href)="(?!data:)', page)
    assert "default-src 'none'" in page


def test_a_file_of_the_space_may_be_gone(storage):
    sweep = Sweep(storage).run()
    sweep.record.plan = replace(sweep.record.plan, space={**shown.SPACE, "trial": {"encoder_weights": "gone.pt"}})
    assert '<div id="parallel"' in page_of(sweep.outcome, shown.NAMES)
