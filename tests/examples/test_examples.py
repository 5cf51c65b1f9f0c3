"""The examples run as they are, each in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(folder, name, *arguments):
    ended = subprocess.run(
        [sys.executable, EXAMPLES / name, *arguments], cwd=folder, capture_output=True, text=True, timeout=500
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A folder in which `sweep_from_python.py` ran, and what it printed."""
    folder = tmp_path_factory.mktemp("examples")
    return folder, run(folder, "sweep_from_python.py")


@pytest.mark.slow
def test_a_sweep_from_python_ends_with_its_front(swept):
    folder, printed = swept
    assert "The front, by rising mIoU:" in printed
    assert "Baselines:   mcce, weighted_ce, ce_dice, class-uniform" in printed
    assert f"Exported to  {folder}/runs/example/best.yaml" in printed
    assert (folder / "runs" / "example" / "best.yaml").is_file()


@pytest.mark.slow
def test_the_record_of_that_sweep_is_read(swept):
    folder, _ = swept
    lines = run(folder, "read_the_record.py", "example").splitlines()
    assert lines[0] == "Sweep 'example', 12 epochs so far"
    trials = lines[1 : lines.index("Hypervolume of the front after each trial that ended:")]
    assert [line.split()[1] for line in trials] == ["baseline"] * 4 + ["search"] * 2
    assert any(line.startswith("| class") for line in lines)


def test_an_own_loss_trains(tmp_path):
    lines = run(tmp_path, "own_loss.py").splitlines()
    assert [line.split()[0] for line in lines] == ["mcce"] * 3 + ["balanced"] * 3


def test_the_own_loss_is_the_mean_of_the_class_means(monkeypatch):
    """Against `torch`: the mean over the classes present of F.cross_entropy on their pixels alone."""
    import torch
    import torch.nn.functional as F

    monkeypatch.syspath_prepend(EXAMPLES)
    from tce_core.loss_table import LOSSES

    before = dict(LOSSES)
    import own_loss

    try:
        torch.manual_seed(0)
        logits, labels = torch.randn(2, 4, 8, 8), torch.randint(0, 3, (2, 8, 8))
        labels[0, :4] = 255
        parts = [F.cross_entropy(logits, torch.where(labels == c, labels, 255), ignore_index=255) for c in range(3)]
        torch.testing.assert_close(own_loss.balanced_loss(logits, labels), torch.stack(parts).mean())
    finally:
        LOSSES.clear()
        LOSSES.update(before)
