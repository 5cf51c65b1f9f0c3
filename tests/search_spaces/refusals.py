"""Shared by the tests of search spaces: the built-in spaces, and the message of a refusal."""

import pytest

from search_spaces.loading import FOLDER, load_space
from tce_core.errors import UserError

BUILT_IN = sorted(file.stem for file in FOLDER.glob("*.yaml"))


def refusal(path, *overrides):
    """Return the one-line message with which the space is refused."""
    with pytest.raises(UserError) as caught:
        load_space(path, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message
