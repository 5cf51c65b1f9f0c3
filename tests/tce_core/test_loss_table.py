"""`tce_core.loss_table`: one entry per loss, which configurations, builders and search spaces use."""

import inspect
import subprocess
import sys

import pytest

from search_spaces.loading import load_space
from tce_core.config import TrialConfig
from tce_core.errors import UserError
from tce_core.loss_table import LOSSES, LossEntry, idle_at, losses_with
from tce_core.losses import build_loss
from tce_core.losses.build import find_builder
from tce_core.losses.by_pixel import Focal


@pytest.mark.parametrize("name", LOSSES)
def test_an_entry_names_a_builder_and_settings_that_exist(name):
    entry = LOSSES[name]
    assert set(entry.arguments) == set(inspect.signature(find_builder(entry)).parameters)
    assert entry.own_settings <= set(TrialConfig.model_fields)


@pytest.mark.parametrize("name", LOSSES)
def test_the_defaults_of_a_builder_are_those_of_a_configuration(name):
    config = TrialConfig()
    for key, parameter in inspect.signature(find_builder(LOSSES[name])).parameters.items():
        if key in TrialConfig.model_fields and parameter.default is not parameter.empty:
            assert parameter.default == getattr(config, key)


@pytest.mark.parametrize("name", LOSSES)
def test_an_idle_setting_names_settings_and_values_that_exist(name):
    entry = LOSSES[name]
    for setting, others in entry.idle_settings.items():
        assert setting in entry.own_settings
        for other, values in others.items():
            assert other in entry.own_settings
            for value in values:
                assert TrialConfig.model_validate({other: value})


def test_which_losses_a_setting_matters_for():
    assert losses_with("t") == losses_with("tilt_warmup") == ("image_tilt", "class_tilt", "stochastic_tilt")
    assert losses_with("gamma") == ("class_tilt", "stochastic_tilt")
    assert losses_with("over") == ("class_tilt",)
    assert losses_with("region_weight") == ("ce_dice", "ce_jaccard")
    assert losses_with("weight_power") == ("weighted_ce", "focal")
    assert losses_with("focus_share") == tuple(name for name in LOSSES if name != "stochastic_tilt")
    assert losses_with("lr") == ()


def test_gamma_is_idle_unless_the_class_tilt_is_over_the_data():
    assert idle_at("gamma", ["class_tilt", "stochastic_tilt"]) == {"over": ("image", "batch")}
    assert idle_at("gamma", ["stochastic_tilt"]) == idle_at("t", LOSSES) == {}


def test_a_loss_is_added_by_one_line(monkeypatch, tmp_path):
    monkeypatch.setitem(LOSSES, "sharp", LossEntry(Focal, ("focal_gamma",)))
    assert TrialConfig(loss="sharp").loss == "sharp"
    assert build_loss("sharp", focal_gamma=3.0) == Focal(focal_gamma=3.0)
    space = tmp_path / "own.yaml"
    space.write_text("space: {loss: {choices: [mcce, sharp]}, focal_gamma: {low: 1, high: 2}}")
    assert load_space(space).space["focal_gamma"].when == {"loss": ["sharp"]}
    with pytest.raises(UserError, match="loss 'sharp' has no setting 't'; it has focal_gamma"):
        build_loss("sharp", t=1.0)


def test_a_configuration_is_checked_without_torch():
    code = "import sys; from tce_core.config import TrialConfig; TrialConfig(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
