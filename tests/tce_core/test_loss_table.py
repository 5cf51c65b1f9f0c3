"""`tce_core.loss_table`: one entry per loss, which configurations, builders and search spaces use."""

import inspect
import subprocess
import sys

import pytest

from search_spaces.loading import load_space
from tce_core import losses
from tce_core.config import TrialConfig
from tce_core.errors import UserError
from tce_core.loss_table import LOSSES, LossEntry, losses_with


@pytest.mark.parametrize("name", LOSSES)
def test_an_entry_names_a_builder_and_settings_that_exist(name):
    entry = LOSSES[name]
    builder = getattr(losses, entry.builder)
    parameters = inspect.signature(builder).parameters
    assert set(entry.builder_settings) | ({"class_weights"} if entry.class_weights else set()) == set(parameters)
    assert entry.own_settings <= set(TrialConfig.model_fields)


def test_which_losses_a_setting_matters_for():
    assert losses_with("t") == losses_with("tilt_warmup") == ("image_tilt", "class_tilt", "stochastic_tilt")
    assert losses_with("gamma") == ("stochastic_tilt",)
    assert losses_with("weight_power") == ("weighted_ce", "focal")
    assert losses_with("lr") == ()


def test_a_loss_is_added_by_one_line(monkeypatch, tmp_path):
    monkeypatch.setitem(LOSSES, "sharp", LossEntry(losses.Focal, ("focal_gamma",)))
    assert TrialConfig(loss="sharp").loss == "sharp"
    assert losses.build_loss("sharp", focal_gamma=3.0) == losses.Focal(focal_gamma=3.0)
    space = tmp_path / "own.yaml"
    space.write_text("space: {loss: {choices: [mcce, sharp]}, focal_gamma: {low: 1, high: 2}}")
    assert load_space(space).space["focal_gamma"].when == {"loss": ["sharp"]}
    with pytest.raises(UserError, match="loss 'sharp' has no setting 't'; it has focal_gamma"):
        losses.build_loss("sharp", t=1.0)


def test_a_configuration_is_checked_without_torch():
    code = "import sys; from tce_core.config import TrialConfig; TrialConfig(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
