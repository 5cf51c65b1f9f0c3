"""What every test shares: tests marked `gpu` are skipped where there is no GPU."""

import pytest


def pytest_runtest_setup(item):
    if item.get_closest_marker("gpu"):
        import torch  # most tests of the search do not need this import

        if not torch.cuda.is_available():
            pytest.skip("needs an NVIDIA GPU")
