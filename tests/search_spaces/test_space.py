"""`search_spaces.space`: what a space file means; a wrong one is refused in one line."""

from collections import Counter

import pytest

from search_spaces.dimensions import Range
from search_spaces.loading import FOLDER, load_space
from search_spaces.space import Space, parse_space
from tce_core.config import TrialConfig
from tests.search_spaces.refusals import BUILT_IN, refusal


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_space_loads_and_every_point_of_its_grid_is_a_configuration(name):
    space = load_space(name)
    assert space.description
    assert load_space(f"{name}.yaml") == load_space(FOLDER / f"{name}.yaml") == space
    for params in space.grid():
        assert isinstance(space.config(params), TrialConfig)
    for settings in space.baselines.values():
        assert isinstance(space.config(settings), TrialConfig)


def test_cityscapes_paper_has_the_settings_of_the_paper():
    space = load_space("cityscapes_paper")
    configs = [space.config(params) for params in space.grid()]
    assert [config.t for config in configs] == [0.1, 1]
    for config in configs:
        recipe = config.encoder, config.output_stride, config.batch_size, config.lr, config.momentum, config.poly_power
        assert recipe == ("resnet101", 16, 8, 0.01, 0.9, 0.9)
        assert config.loss == "stochastic_tilt"


def test_the_defaults_of_search_and_values_that_replace_them(write):
    default = load_space(write("space: {lr: {low: 0.1, high: 0.2}}")).search
    assert (default.sampler, default.trials, default.confirm) == ("gp", 12, 4)
    assert (default.rungs, default.keep) == (None, 0.25)
    chosen = load_space(write("space: {}\nsearch: {rungs: [2, 5], keep: 1, sampler: tpe}")).search
    assert (chosen.rungs, chosen.keep, chosen.sampler) == ([2, 5], 1, "tpe")
    assert load_space(write("space: {}\nsearch: {rungs: []}")).search.rungs == []  # no rungs, which is not the default


def test_a_space_survives_the_record():
    """The record stores a space as JSON without defaults; loading it gives an equal space."""
    for name in BUILT_IN:
        space = load_space(name)
        assert parse_space(space.model_dump(mode="json", exclude_defaults=True), "record") == space


# The grid


def test_the_grid_has_distinct_points_and_respects_when(write):
    space = load_space(
        write(
            """
            space:
              loss: {choices: [mcce, class_tilt, stochastic_tilt]}
              t: {low: 0.5, high: 8, log: true, points: 3, when: {loss: [class_tilt, stochastic_tilt]}}
              gamma: {low: 0.1, high: 0.3, points: 2, when: {loss: stochastic_tilt}}
            """
        )
    )
    grid = space.grid()
    assert len({tuple(sorted(point.items())) for point in grid}) == len(grid)
    assert Counter(point["loss"] for point in grid) == {"mcce": 1, "class_tilt": 3, "stochastic_tilt": 6}
    for point in grid:
        assert ("t" in point) == (point["loss"] != "mcce")
        assert ("gamma" in point) == (point["loss"] == "stochastic_tilt")


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_grid_has_distinct_points(name):
    grid = load_space(name).grid()
    assert len({tuple(sorted(point.items())) for point in grid}) == len(grid) > 0


def test_a_setting_of_some_losses_is_searched_for_those_only(write):
    """It has the effect of a `when`; a stated condition is kept."""
    ranges = "t: {low: 1, high: 2}, gamma: {low: 0.1, high: 0.2}, lr: {low: 1, high: 2}"
    space = load_space(write(f"space: {{loss: {{choices: [mcce, class_tilt, stochastic_tilt]}}, {ranges}}}"))
    assert [space.space[name].when for name in ("t", "gamma", "lr")] == [
        {"loss": ["class_tilt", "stochastic_tilt"]},
        {"loss": ["stochastic_tilt"]},
        {},
    ]
    stated = "space: {loss: {choices: [mcce, class_tilt]}, t: {low: 1, high: 2, when: {loss: mcce}}}"
    assert load_space(write(stated)).space["t"].when == {"loss": "mcce"}
    all_take_it = "space: {loss: {choices: [image_tilt, class_tilt]}, t: {low: 1, high: 2}}"
    assert load_space(write(all_take_it)).space["t"].when == {}


def test_focused_draws_are_searched_for_every_loss_without_draws_of_its_own(write):
    """Every point of the grid is a valid configuration."""
    losses, focus = "loss: {choices: [class_tilt, stochastic_tilt]}", "focus_share: {low: 0.1, high: 0.5, points: 2}"
    temperature = "focus_temperature: {low: 0.01, high: 1, log: true, points: 2}"
    space = load_space(write(f"space: {{{losses}, {focus}, {temperature}}}"))
    drawn = [space.config(point) for point in space.grid()]
    assert [(one.loss, one.focus_share) for one in drawn if one.loss == "stochastic_tilt"] == [("stochastic_tilt", 0)]
    assert {(one.focus_share, one.focus_temperature) for one in drawn if one.loss == "class_tilt"} == {
        (share, temperature) for share in (0.1, 0.5) for temperature in (0.01, 1)
    }
    message = refusal(write(f"{{trial: {{focus_share: 0.3}}, space: {{{losses}}}}}"))
    assert "focus_share = 0.3: loss 'stochastic_tilt' has draws of its own; give it 0" in message


def test_a_setting_that_no_searched_loss_has_is_refused(write):
    message = refusal(write("space: {loss: {choices: [mcce, dice]}, gamma: {low: 0.1, high: 0.2}}"))
    assert (
        "space.gamma: no loss of this space has this setting (mcce, dice); losses with it: class_tilt, stochastic_tilt"
        in message
    )


def test_searching_what_the_loss_ignores_is_refused(write):
    """It would train the same configuration again and again."""
    message = refusal(write("trial: {loss: focal}\nspace: {t: {low: 1, high: 2}}"))
    assert "space.t: no loss of this space has this setting (focal); losses with it: image_tilt, class_tilt" in message
    assert load_space(write("trial: {loss: focal}\nspace: {focal_gamma: {low: 1, high: 2}}"))
    late = "space: {t: {low: 1, high: 2}, loss: {choices: [mcce, class_tilt]}}"
    assert "space.t: only some losses have this setting; put it after 'loss'" in refusal(write(late))


GAMMA = "gamma: {low: 0.1, high: 0.2, points: 2}"


def where_gamma_is_searched(space):
    """The pairs of loss and scope, searched or fixed, at which the grid varies gamma."""
    return {(point.get("loss"), point.get("over")) for point in space.grid() if "gamma" in point}


@pytest.mark.parametrize(
    ("text", "searched"),
    [
        (f"trial: {{loss: class_tilt, over: data}}\nspace: {{{GAMMA}}}", {(None, None)}),
        (f"trial: {{loss: class_tilt}}\nspace: {{over: {{choices: [image, data]}}, {GAMMA}}}", {(None, "data")}),
        (f"trial: {{loss: class_tilt}}\nspace: {{{GAMMA}, over: {{choices: [image, data]}}}}", {(None, "data")}),
        (
            f"space: {{loss: {{choices: [mcce, class_tilt, stochastic_tilt]}}, {GAMMA}}}",
            {("stochastic_tilt", None)},
        ),
        (
            f"trial: {{over: data}}\nspace: {{loss: {{choices: [mcce, class_tilt, stochastic_tilt]}}, {GAMMA}}}",
            {("class_tilt", None), ("stochastic_tilt", None)},
        ),
        (
            "space: {loss: {choices: [mcce, class_tilt, stochastic_tilt]}, "
            f"over: {{choices: [image, batch, data]}}, {GAMMA}}}",
            {("class_tilt", "data"), ("stochastic_tilt", None)},
        ),
    ],
)
def test_gamma_is_searched_only_where_it_changes_the_loss(write, text, searched):
    space = load_space(write(text))
    assert where_gamma_is_searched(space) == searched
    recorded = parse_space(space.model_dump(mode="json", exclude_defaults=True), "the record")
    assert where_gamma_is_searched(recorded) == searched


@pytest.mark.parametrize("over", ["trial: {loss: class_tilt, over: batch}", "trial: {loss: class_tilt}"])
def test_searching_gamma_where_the_class_tilt_ignores_it_is_refused(write, over):
    message = refusal(write(f"{over}\nspace: {{{GAMMA}}}"))
    assert "space.gamma: changes nothing in class_tilt at over = " in message


def test_a_space_says_where_a_setting_is_not_searched(write):
    space = load_space(write(f"trial: {{loss: class_tilt}}\nspace: {{over: {{choices: [image, data]}}, {GAMMA}}}"))
    assert space.size().endswith("gamma 0.1 to 0.2 unless over = image")


def test_a_condition_needs_an_active_dimension(write):
    """A condition on an inactive choice does not hold."""
    space = load_space(
        write(
            """
            space:
              loss: {choices: [mcce, stochastic_tilt]}
              level: {choices: [class, image], when: {loss: stochastic_tilt}}
              estimator: {choices: [batch, class], when: {level: class}}
            """
        )
    )
    assert [set(point) for point in space.grid()].count({"loss"}) == 1
    assert len(space.grid()) == 1 + 1 + 2


def test_the_size_in_words_names_every_dimension_and_condition():
    words = load_space("tce").size()
    assert "t 0.1 to 10 (log)" in words
    assert "loss of 3: class_tilt, image_tilt, stochastic_tilt" in words
    assert "gamma 0.01 to 0.5 (log) if loss = stochastic_tilt" in words


# Bad files

VALID = "space: {lr: {low: 0.1, high: 0.2}}\n"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        # unknown keys, at each level, with those that are known
        (VALID + "spaces: {}", ["unknown key 'spaces'", "extends", "baselines"]),
        (VALID + "search: {trails: 3}", ["unknown key 'search.trails'", "trials", "confirm"]),
        (VALID + "trial: {learning_rate: 3}", ["trial: unknown key 'learning_rate'", "lr, momentum"]),
        ("space: {learning_rate: {low: 1, high: 2}}", ["space.learning_rate: unknown key", "lr, momentum"]),
        (
            "space: {lr: {low: 0.1, high: 0.2, logarithmic: true}}",
            ["unknown key 'space.lr.logarithmic'", "low, high, log"],
        ),
        ("space: {loss: {choices: [mcce], log: true}}", ["unknown key 'space.loss.log'", "choices"]),
        (VALID + "baselines: {a: {losss: mcce}}", ["baselines.a: unknown key 'losss'", "loss, lr"]),
        # ranges and choices that are not valid
        ("space: {lr: {low: 0.2, high: 0.1}}", ["space.lr", "low 0.2 is not below high 0.1"]),
        ("space: {lr: {low: 0.2, high: 0.2}}", ["space.lr", "low 0.2 is not below high 0.2"]),
        ("space: {t: {low: 0, high: 1, log: true}}", ["space.t", "a log range needs low > 0, not 0"]),
        ("space: {t: {low: 0, high: .inf}}", ["space.t.high", "inf", "finite"]),
        ("space: {t: {low: .nan, high: 1}}", ["space.t.low", "nan", "finite"]),
        ("space: {t: {low: few, high: 1}}", ["space.t.low", "'few'", "number"]),
        ("space: {t: {low: 1}}", ["space.t.high", "required", "low and high"]),
        ("space: {t: {}}", ["space.t.low", "required", "choices"]),
        ("space: {t: 3}", ["space.t", "3", "low and high"]),
        ("space: {t: {low: 1, high: 2, points: 1}}", ["space.t.points", "1", "greater than or equal to 2"]),
        ("space: {loss: {choices: []}}", ["space.loss.choices", "[]", "at least 1 item"]),
        ("space: {loss: {choices: mcce}}", ["space.loss.choices", "'mcce'", "list"]),
        ("space: {crop: {choices: [[32, 32]]}}", ["space.crop.choices", "[32, 32]"]),
        # values that `TrialConfig` refuses
        ("space: {lr: {low: -1, high: 1}}", ["space.lr: lr = -1.0", "greater than 0"]),
        ("space: {gamma: {low: 0.1, high: 1.5}}", ["space.gamma: gamma = 1.5", "less than or equal to 1"]),
        ("space: {batch_size: {low: 2, high: 8}}", ["space.batch_size: batch_size = ", "valid integer"]),
        ("space: {loss: {choices: [mcce, hinge]}}", ["space.loss: loss = 'hinge'", "'mcce', 'weighted_ce'"]),
        (VALID + "trial: {epochs: 0}", ["trial: epochs = 0", "greater than 0"]),
        (VALID + "trial: {crop: [100, 100]}", ["trial: crop = [100, 100]", "multiples of 16"]),
        (VALID + "trial: {encoder_weights: no-such.pt}", ["trial: encoder_weights", "no-such.pt", "'imagenet'"]),
        (VALID + "baselines: {a: {t: high}}", ["baselines.a: t = 'high'", "number"]),
        (VALID + "search: {rungs: [0]}", ["search.rungs.0 = 0", "greater than or equal to 1"]),
        (VALID + "search: {rungs: 3}", ["search.rungs = 3", "list"]),
        (VALID + "search: {rungs: [1.5]}", ["search.rungs.0 = 1.5", "integer"]),
        (VALID + "search: {keep: 0}", ["search.keep = 0", "greater than 0"]),
        (VALID + "search: {keep: 1.1}", ["search.keep = 1.1", "less than or equal to 1"]),
        (VALID + "search: {keep: .nan}", ["search.keep = nan", "finite"]),
        (VALID + "search: {trials: 0}", ["search.trials = 0", "greater than or equal to 1"]),
        (VALID + "search: {confirm: -1}", ["search.confirm = -1", "greater than or equal to 0"]),
        (VALID + "search: {sampler: annealing}", ["search.sampler = 'annealing'", "'tpe', 'gp', 'nsga2'"]),
        (VALID + "version: 2", ["version = 2", "1"]),
        # conditions that cannot hold
        (
            "space: {loss: {choices: [mcce]}, t: {low: 1, high: 2, when: {loss: class_tilt}}}",
            ["space.t.when.loss = 'class_tilt' can never hold", "['mcce']"],
        ),
        (
            "space: {t: {low: 1, high: 2, when: {loss: mcce}}, loss: {choices: [mcce]}}",
            ["space.t.when.loss = 'mcce' can never hold", "earlier"],
        ),
        (
            "space: {lr: {low: 0.1, high: 1}, t: {low: 1, high: 2, when: {lr: 0.1}}}",
            ["space.t.when.lr = 0.1 can never hold"],
        ),
        (
            "space: {loss: {choices: [mcce]}, t: {low: 1, high: 2, when: {loss: [mcce, dice]}}}",
            ["space.t.when.loss = 'dice' can never hold"],
        ),
        (
            "space: {loss: {choices: [mcce, dice]}, lr: {low: 1, high: 2, unless: {loss: focal}}}",
            ["space.lr.unless.loss = 'focal' can never hold", "['mcce', 'dice']"],
        ),
        # files that are not a space
        ("trial: {}", ["space", "required"]),
        ("space: []", ["space = []", "dictionary"]),
        (VALID + "baselines: {a: 3}", ["baselines.a = 3", "dictionary"]),
        (VALID + "1: 2", ["1 = 1", "Keys should be strings"]),
        ("- space", ["must be a mapping", "space"]),
        ("", ["must be a mapping"]),
        ("space: {", ["not YAML"]),
        ("space: \t{}", ["not YAML"]),
    ],
)
def test_a_bad_space_is_refused_in_one_line_naming_file_key_and_what_is_allowed(write, text, named):
    file = write(text)
    message = refusal(file)
    assert message.startswith(f"{file}")
    for part in named:
        assert part in message


def test_a_space_does_not_change():
    space = load_space("tce")
    with pytest.raises(ValueError, match="frozen"):
        space.version = 1


def test_other_settings_keep_their_defaults():
    space = Space(trial={"epochs": 3}, space={"lr": Range(low=0.1, high=0.2)})
    config = space.config({"lr": 0.15}, seed=4)
    assert (config.epochs, config.lr, config.seed) == (3, 0.15, 4)
    assert config == TrialConfig(epochs=3, lr=0.15, seed=4)


def test_a_dimension_that_depends_on_a_moved_one_follows_it(write):
    space = load_space(
        write(
            "trial: {loss: class_tilt}\nspace: {gamma: {choices: [0.1, 0.2]}, "
            "momentum: {choices: [0.8, 0.9], when: {gamma: 0.1}}, over: {choices: [image, data]}}"
        )
    )
    assert list(space.space) == ["over", "gamma", "momentum"]
    momenta = {(point.get("gamma"), point.get("momentum")) for point in space.grid()}
    assert momenta == {(None, None), (0.1, 0.8), (0.1, 0.9), (0.2, None)}
