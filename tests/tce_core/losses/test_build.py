"""Building a loss: what is refused, and what a configuration adds to its settings."""

import re

import pytest
import torch

from tce_core.adjust import class_shares
from tce_core.class_weights import inverse_frequency_weights
from tce_core.config import TrialConfig
from tce_core.errors import UserError
from tce_core.loss_table import LOSSES, LossEntry
from tce_core.losses import build_loss, configured_loss
from tests.tce_core.losses.batches import batch

COUNTS = torch.tensor([700, 200, 99, 1])


def test_an_unknown_loss_is_answered_with_the_names_that_exist():
    with pytest.raises(UserError, match="unknown loss 'ce'; the losses are " + ", ".join(LOSSES)):
        build_loss("ce")


def test_an_unknown_setting_is_answered_with_the_settings_that_exist():
    with pytest.raises(UserError, match=r"loss 'focal' has no setting 't'; it has focal_gamma, class_weights$"):
        build_loss("focal", t=1.0)
    with pytest.raises(UserError, match=r"loss 'mcce' has no setting 't'; it has none$"):
        build_loss("mcce", t=1.0)


@pytest.mark.parametrize(
    ("name", "needs"), [("image_tilt", "t"), ("class_tilt", "t"), ("weighted_ce", "class_weights")]
)
def test_a_missing_setting_is_named(name, needs):
    with pytest.raises(UserError, match=f"^loss '{name}': .*{re.escape(repr(needs))}"):
        build_loss(name)


def test_as_many_weights_as_classes_are_needed():
    with pytest.raises(ValueError, match="2 class weights for 4 classes"):
        build_loss("weighted_ce", class_weights=(1.0, 1.0))(*batch(0))
    with pytest.raises(ValueError, match="2 class shares for 4 classes"):
        build_loss("logit_adjusted", class_shares=(0.5, 0.5))(*batch(0))


# Of a configuration


def test_a_configuration_gives_its_settings_and_the_class_frequencies():
    config = TrialConfig(loss="focal", focal_gamma=3.0, weight_power=0.5)
    assert configured_loss(config, COUNTS) == build_loss(
        "focal", focal_gamma=3.0, class_weights=inverse_frequency_weights(COUNTS, 0.5)
    )
    config = TrialConfig(loss="logit_adjusted", tau=0.7)
    assert configured_loss(config, COUNTS) == build_loss(
        "logit_adjusted", tau=0.7, class_shares=tuple(class_shares(COUNTS).tolist())
    )
    config = TrialConfig(loss="class_tilt", over="batch", t=2.0)
    assert configured_loss(config, COUNTS) == build_loss("class_tilt", over="batch", t=2.0)


def test_a_tilt_that_cannot_change_is_not_warmed_up(monkeypatch):
    monkeypatch.setitem(LOSSES, "own", LossEntry(lambda t: lambda logits, labels: t * logits.sum(), ("t",)))
    assert configured_loss(TrialConfig(loss="own"), COUNTS)
    with pytest.raises(UserError, match="loss 'own' needs an attribute t that tilt_warmup can set"):
        configured_loss(TrialConfig(loss="own", tilt_warmup=0.5), COUNTS)
