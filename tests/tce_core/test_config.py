"""`TrialConfig`: its defaults are the paper's recipe, it is immutable, and every error is one line."""

import pytest
from pydantic import ValidationError

from tce_core.config import TrialConfig, parse_config
from tce_core.errors import UserError
from tce_core.loss_table import LOSSES

# The recipe of arXiv 2103.14051, and the usual settings of DeepLabv3+ where the paper gives none.
PAPER = {
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "poly_power": 0.9,
    "batch_size": 8,
    "output_stride": 16,
    "atrous_rates": (6, 12, 18),
    "dropout": 0.1,
    "decoder_channels": 256,
    "scale": (0.5, 2.0),
    "flip": True,
    "focal_gamma": 2.0,
    "over": "image",
}


@pytest.mark.parametrize("key", PAPER)
def test_defaults_are_the_paper_s(key):
    assert getattr(TrialConfig(), key) == PAPER[key]


def test_by_default_algorithm_1_draws_by_image_and_learns_as_printed():
    config = TrialConfig()
    assert (config.level, config.draw, config.estimator, config.partition) == ("class", "image", "batch", "overlapping")
    assert (config.loss, config.tilt_warmup, config.clip_grad_norm) == ("mcce", 0, None)


def test_every_loss_of_the_table_is_accepted_and_no_other():
    names = {name for name in LOSSES if TrialConfig(loss=name)}
    assert names == set(LOSSES)
    assert {name for name in LOSSES if TrialConfig(loss=name).tilted} == {"image_tilt", "class_tilt", "stochastic_tilt"}
    with pytest.raises(UserError, match="loss = 'ce': no such loss; the losses are 'mcce', 'weighted_ce'"):
        parse_config({"loss": "ce"}, "trial.yaml")


def test_an_unknown_key_is_answered_with_the_keys_that_exist():
    with pytest.raises(UserError) as caught:
        parse_config({"lr": 0.1, "learning_rate": 0.1}, "trial.yaml")
    assert str(caught.value) == (
        "trial.yaml: unknown key 'learning_rate'; the keys are " + ", ".join(sorted(TrialConfig.model_fields))
    )


WRONG = [
    ("lr", "fast", "valid number"),
    ("lr", 0.0, "greater than 0"),
    ("lr", float("nan"), "finite"),
    ("t", float("inf"), "finite"),
    ("gamma", 0.0, "greater than 0"),
    ("gamma", 1.5, "less than or equal to 1"),
    ("over", "pixel", "'image', 'batch' or 'data'"),
    ("tau", 2.5, "less than or equal to 2"),
    ("worst_share", 0.0, "greater than 0"),
    ("hard_share", 1.1, "less than or equal to 1"),
    ("variation", -1, "greater than or equal to 0"),
    ("region_weight", -0.5, "greater than or equal to 0"),
    ("momentum", 1.0, "less than 1"),
    ("dropout", -0.1, "greater than or equal to 0"),
    ("tilt_warmup", 2, "less than or equal to 1"),
    ("clip_grad_norm", 0, "greater than 0"),
    ("focus_share", 1.5, "less than or equal to 1"),
    ("focus_temperature", 0, "greater than 0"),
    ("batch_size", 0, "greater than 0"),
    ("batch_size", 2.5, "valid integer"),
    ("epochs", -1, "greater than 0"),
    ("steps_per_epoch", 0, "greater than 0"),
    ("seed", -1, "greater than or equal to 0"),
    ("output_stride", 32, "8 or 16"),
    ("draw", "pixel", "'image' or 'batch'"),
    ("crop", (30, 32), "multiples of 16"),
    ("crop", (0, 32), "greater than or equal to 16"),
    ("crop", (32,), "required"),
    ("scale", (2.0, 1.0), "the lower scale 2.0 is above the upper scale 1.0"),
    ("scale", (0.0, 1.0), "greater than 0"),
    ("atrous_rates", (6, 12), "required"),
    ("atrous_rates", (6, 0, 18), "greater than 0"),
    ("encoder_weights", "missing.pt", "no file missing.pt; give 'imagenet', an existing file, or null"),
    ("start", "missing.pt", "no file or folder missing.pt; give the weights of a whole model, or null"),
    ("train", "encoder", "'all', 'decoder', 'head' or 'nothing'"),
    ("train", "decoder", "what is frozen would be random; give start, too"),
]


@pytest.mark.parametrize(("key", "value", "reason"), WRONG)
def test_a_wrong_value_is_answered_in_one_line_that_names_it(key, value, reason):
    with pytest.raises(UserError) as caught:
        parse_config({key: value}, "trial.yaml")
    message = str(caught.value)
    assert message.startswith(f"trial.yaml: {key}")
    assert reason in message
    assert "\n" not in message


def test_a_start_comes_alone_and_its_evaluation_takes_one_epoch(tmp_path):
    weights = tmp_path / "weights.pt"
    weights.touch()
    for values, said in (
        ({"start": str(weights), "encoder_weights": "imagenet"}, "the start holds an encoder; give one of them"),
        ({"start": str(weights), "train": "nothing", "epochs": 3}, "one evaluation, not 3 epochs; give epochs 1"),
        ({"encoder_weights": str(weights), "train": "head"}, "what is frozen would be random"),
    ):
        with pytest.raises(UserError, match=said):
            parse_config(values, "trial.yaml")
    assert TrialConfig(encoder_weights=str(weights), train="decoder").train == "decoder"
    assert TrialConfig(start=str(weights), train="nothing", epochs=1).start == str(weights)


def test_a_loss_with_draws_of_its_own_takes_no_focused_ones():
    with pytest.raises(UserError) as caught:
        parse_config({"loss": "stochastic_tilt", "focus_share": 0.3}, "trial.yaml")
    wanted = "trial.yaml: focus_share = 0.3: loss 'stochastic_tilt' has draws of its own; give it 0"
    assert str(caught.value) == wanted
    assert TrialConfig(loss="stochastic_tilt", focus_temperature=0.1).focus_share == 0


@pytest.mark.parametrize("values", [["lr", 0.1], None, "lr: 0.1", {1: 2}])
def test_values_that_do_not_map_names_are_refused(values):
    with pytest.raises(UserError, match=r"^trial.yaml: [^\n]+$"):
        parse_config(values, "trial.yaml")


def test_a_configuration_cannot_be_changed():
    config = TrialConfig()
    with pytest.raises(ValidationError, match="frozen"):
        config.lr = 1.0
    assert config.lr == TrialConfig().lr


def test_a_configuration_survives_json(tmp_path):
    weights = tmp_path / "encoder.pt"
    weights.touch()
    config = TrialConfig(loss="class_tilt", t=-0.1, crop=(64, 96), clip_grad_norm=1.5, encoder_weights=str(weights))
    assert TrialConfig.model_validate_json(config.model_dump_json()) == config
    assert parse_config(config.model_dump(mode="json"), "trial.yaml") == config
