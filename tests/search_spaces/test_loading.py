"""`search_spaces.loading`: which file is read, what it extends, and overrides."""

import pytest
import yaml

from search_spaces.dimensions import Range
from search_spaces.loading import load_space
from tests.search_spaces.refusals import BUILT_IN, refusal


def test_extending_merges_sections_key_by_key_and_replaces_dimensions(write):
    write(
        """
        description: parent
        search: {trials: 7, confirm: 5}
        trial: {loss: class_tilt, lr: 0.5, epochs: 3}
        space: {t: {low: 1, high: 2, log: true}, lr: {low: 0.1, high: 0.2}}
        baselines: {mcce: {loss: mcce}}
        """,
        "parent.yaml",
    )
    child = write(
        """
        extends: parent.yaml
        search: {trials: 9}
        trial: {epochs: 4}
        space: {t: {low: 3, high: 4}}
        baselines: {focal: {loss: focal}}
        """,
        "child.yaml",
    )
    space = load_space(child)
    assert (space.description, space.search.trials, space.search.confirm) == ("parent", 9, 5)
    assert space.trial == {"loss": "class_tilt", "lr": 0.5, "epochs": 4}
    assert space.space == {"t": Range(low=3, high=4), "lr": Range(low=0.1, high=0.2)}  # no `log` from the parent
    assert list(space.baselines) == ["mcce", "focal"]


def test_null_removes_a_dimension_of_the_parent(write):
    space = load_space(write("extends: tce\nspace: {gamma: null, loss: {choices: [mcce, class_tilt]}}"))
    assert list(space.space) == ["loss", "t", "lr"]
    assert list(load_space("tce", ["space.gamma=null", "space.loss.choices=[class_tilt]"]).space) == ["loss", "t", "lr"]


def test_a_space_anywhere_may_extend_a_built_in_one(write):
    for parent in ("tce", "tce.yaml"):
        space = load_space(write(f"extends: {parent}\ntrial: {{epochs: 77}}"))
        assert space.trial["epochs"] == 77
        assert space.space == load_space("tce").space


def test_extending_looks_beside_the_file_first(write):
    write("trial: {loss: class_tilt}\nspace: {t: {low: 8, high: 9}}", "tce.yaml")
    assert load_space(write("extends: tce.yaml")).space == {"t": Range(low=8, high=9)}


def test_extending_in_a_circle_is_refused(write):
    write("extends: b.yaml\nspace: {}", "a.yaml")
    b = write("extends: a.yaml", "b.yaml")
    assert "a.yaml" in refusal(b)
    assert "extends itself" in refusal(b)


def test_extending_a_missing_file_lists_the_known_ones(write):
    message = refusal(write("extends: nothing.yaml\nspace: {}"))
    assert "nothing.yaml" in message
    assert all(name in message for name in BUILT_IN)


def test_bytes_that_are_not_text_are_refused(tmp_path):
    (tmp_path / "own.yaml").write_bytes(b"\xff\xfe\x00")
    assert "not YAML" in refusal(tmp_path / "own.yaml")


def test_a_file_cannot_run_code(tmp_path, write):
    witness = tmp_path / "witness"
    file = write(f"space: !!python/object/apply:os.system ['touch {witness}']")
    assert "not YAML" in refusal(file)
    assert not witness.exists()
    yaml.unsafe_load(file.read_text())
    assert witness.exists()  # the unsafe loader runs the same text


def test_a_missing_file_lists_the_known_names():
    message = refusal("no-such-space")
    assert "no-such-space" in message
    assert all(name in message for name in BUILT_IN)


# Overrides


def test_overrides_reach_every_section():
    space = load_space(
        "tce",
        [
            "trial.encoder=resnet50",
            "trial.crop=[32, 48]",
            "space.t.high=3",
            "search.trials=5",
            "space.momentum={low: 0.5, high: 0.9}",
            "baselines.dice={loss: dice}",
            "trial.encoder_weights=null",
        ],
    )
    config = space.config({})
    assert (config.encoder, config.crop, config.encoder_weights) == ("resnet50", (32, 48), None)
    assert isinstance(space.space["t"], Range)
    assert (space.space["t"].low, space.space["t"].high) == (0.1, 3)
    assert space.space["momentum"] == Range(low=0.5, high=0.9)
    assert space.search.trials == 5
    assert list(space.baselines) == ["mcce", "weighted_ce", "ce_dice", "class-uniform", "dice"]


def test_null_removes_a_baseline_of_the_file_that_is_extended():
    assert list(load_space("cityscapes_paper").baselines) == ["mcce", "class-uniform", "focal"]
    assert list(load_space("tce", ["baselines.ce_dice=null"]).baselines) == ["mcce", "weighted_ce", "class-uniform"]


def test_an_override_in_scientific_notation_is_a_number():
    """YAML 1.1 itself reads 1e-3 as text."""
    space = load_space("tce", ["trial.lr=1e-3", "space.t.low=1e-2", "trial.weight_decay=5e-4"])
    assert (space.trial["lr"], space.trial["weight_decay"]) == (0.001, 0.0005)
    assert isinstance(space.trial["lr"], float)
    assert isinstance(space.space["t"], Range)
    assert space.space["t"].low == 0.01


def test_the_last_override_wins_and_values_may_hold_an_equals_sign(write):
    weights = write("", "a=b.pt")
    space = load_space("tce", ["trial.epochs=3", "trial.epochs=4", f"trial.encoder_weights={weights}"])
    assert space.config({}).epochs == 4
    assert space.config({}).encoder_weights == str(weights)


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("trial.encoder", "section.key=value"),
        ("trial=3", "section.key=value"),
        ("=3", "section.key=value"),
        ("trial.lr.deep=3", "unknown key 'lr'"),
        ("trial.epochs=[1", "'[1' is not a YAML value"),
        ("trial.encoder=!!python/object/apply:os.getcwd []", "not a YAML value"),
        ("space.t.high.deep=3", "'high' is a value, not a section"),
        ("space.t.hihg=3", "space.t.hihg"),
        ("space.t.high=0.01", "low 0.1 is not below high 0.01"),
        ("spice.t=3", "unknown key 'spice'"),
        ("trial.seed=3", "trial.seed: the seed belongs to the sweep; use --seed"),
        ("baselines.mcce.seed=3", "baselines.mcce.seed: the seed belongs to the sweep; use --seed"),
        ("baselines.mcce.epochs=3", "baselines.mcce.epochs: all trials use the same epochs; use --epochs"),
        ("trial.encoder=2020-13-45", "'2020-13-45' is not a YAML value"),
        ("space.epochs={choices: [3, 4]}", "space.epochs: all trials use the same epochs; use --epochs"),
        ("trial.epochs=0", "epochs = 0"),
        ("trial.lr=-1e-3", "lr = -0.001"),
        ("trial.lr=nan", "lr = nan"),
        ("trial.loss=crossentropy", "'crossentropy'"),
    ],
)
def test_a_bad_override_is_refused(override, named):
    overrides = ["trial.lr=0.1", override] if "lr.deep" in override else [override]
    message = refusal("tce", *overrides)
    assert named in message or "'lr' is a value, not a section" in message
