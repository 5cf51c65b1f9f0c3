"""Shared by the tests of search spaces: a fixture that writes a space file."""

import pytest


@pytest.fixture
def write(tmp_path):
    """A function that writes a YAML file and returns its path: `write("space: {}")`."""

    def make(text, name="own.yaml"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return make
