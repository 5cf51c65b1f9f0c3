"""`sweeps.strategy.warm_start`: an earlier front or a file is tried first; invalid input is refused."""

import pytest
import yaml

from search_spaces.loading import FOLDER, load_space
from search_spaces.space import parse_space
from sweeps.reporting.export_file import export_of, write_export
from sweeps.strategy.warm_start import params_in_space, warm_start
from tce_core.errors import UserError
from tests.sweeps.searching import SPACE, reopened, train

CONDITIONAL = {
    "trial": {"epochs": 2, "crop": [32, 48]},
    "space": {
        "loss": {"choices": ["class_tilt", "stochastic_tilt"]},
        "t": {"low": 0.1, "high": 10, "log": True},
        "gamma": {"low": 0.01, "high": 0.5, "when": {"loss": "stochastic_tilt"}},
    },
}
SEARCHED = parse_space(CONDITIONAL, "own.yaml")


@pytest.fixture
def write(tmp_path):
    """A function that writes a file and returns its path: `write("- {t: 1}")`."""

    def make(text, name="first.yaml"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return str(tmp_path / name)

    return make


def refusal(source, storage="sqlite:///:memory:"):
    with pytest.raises(UserError) as caught:
        warm_start(source, storage, SEARCHED)
    message = str(caught.value)
    assert "\n" not in message
    return message


# An earlier sweep


@pytest.fixture
def earlier(begin):
    """A finished search with fixed measures. The first trial is the baseline, which is on the front, too."""

    def make(**changes):
        space = {**SPACE, "baselines": {"mcce": {"loss": "mcce"}}}
        search = begin(space=space, trials=5, confirm=0, rungs=(1,), keep=0.75, allowance=0.15, **changes)
        for measures in ((0.7, 0.05), (0.4, 0.1), (0.5, 0.3), (0.6, 0.2), (0.65, 0.1), (0.3, 0.0)):
            train(search, search.next(), measures)
        return search

    return make


@pytest.mark.parametrize(("objective", "wanted"), [("worst_iou", [4, 3, 2]), ("miou", [2, 3, 4])])
def test_the_front_of_an_earlier_sweep_is_tried_first_with_the_highest_guard_first(earlier, objective, wanted):
    search = earlier(objective=objective)
    assert [trial.number for trial in search.record.trials() if trial.stopped] == [5]
    found = warm_start("one", search.record.store.url, search.space)
    assert found == [search.record[number].params for number in wanted]


def test_a_trial_with_several_points_on_the_front_is_tried_once_in_the_place_of_its_highest_guard(begin):
    """Trial 2 is on the front by its adjusted models alone, trial 3 not at all."""
    search = begin(space={**SPACE, "baselines": {"mcce": {"loss": "mcce"}}}, trials=3, confirm=0)
    for curve in (
        {0.0: (0.1, 0.05)},
        {0.0: (0.50, 0.30), 0.5: (0.40, 0.40)},
        {0.0: (0.45, 0.10), 0.5: (0.55, 0.20), 1.0: (0.30, 0.50)},
        {0.0: (0.35, 0.10), 0.5: (0.35, 0.20)},
    ):
        train(search, search.next(), curve)
    found = warm_start("one", search.record.store.url, search.space)
    assert found == [search.record[number].params for number in (2, 1)]


def test_a_sweep_without_a_searched_front_is_refused(begin):
    search = begin(trials=1, confirm=0)
    train(search, search.next(), (0.5, 0.1))
    assert refusal("one", search.record.store.url) == (
        "--warm-start one: no searched configuration is on that sweep's front"
    )


def test_a_missing_sweep_is_refused_and_the_existing_ones_are_listed(earlier, tmp_path):
    assert refusal("gone", earlier().record.store.url).endswith("; it holds one")
    assert "no sweep 'gone'" in refusal("gone", f"sqlite:///{tmp_path}/none.db")
    assert not (tmp_path / "none.db").exists()


def test_a_sweep_of_another_space_is_refused(earlier):
    """The earlier sweep allows `t` up to 10."""
    search = earlier()
    narrow = parse_space({"trial": {"loss": "class_tilt"}, "space": {"t": {"low": 0.1, "high": 0.11}}}, "own.yaml")
    with pytest.raises(UserError, match=r"^--warm-start one: configuration 1: t = .* is outside the space: t 0\.1 to"):
        warm_start("one", search.record.store.url, narrow)


# A file


def test_an_exported_file_is_tried_first(earlier, tmp_path):
    search = earlier()
    choice = search.outcome.choose()
    write_export(tmp_path / "best.yaml", export_of(search.outcome, choice, list("abcd")))
    found = warm_start(str(tmp_path / "best.yaml"), "sqlite:///none.db", search.space)
    assert found == [choice.trial.params]


def test_a_list_of_settings_is_tried_in_its_order_without_settings_that_are_not_searched(write):
    text = """
    - {loss: class_tilt, t: 1}
    - {loss: stochastic_tilt, t: 10, gamma: 0.01, lr: 3}
    - {loss: class_tilt, t: 1.0, gamma: 99}
    """
    assert warm_start(write(text), "", SEARCHED) == [
        {"loss": "class_tilt", "t": 1},
        {"loss": "stochastic_tilt", "t": 10, "gamma": 0.01},
    ]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("- {loss: class_tilt}", "configuration 1: 't' is missing; the space searches loss of 2: class_tilt, sto"),
        ("- {loss: class_tilt, t: 1}\n- {t: 1}", "configuration 2: 'loss' is missing"),
        ("- {loss: stochastic_tilt, t: 1}", "'gamma' is missing"),
        ("- {loss: mcce, t: 1}", "loss = 'mcce' is outside the space: loss of 2"),
        ("- {loss: class_tilt, t: 10.01}", "t = 10.01 is outside the space"),
        ("- {loss: class_tilt, t: 0}", "t = 0 is outside"),
        ("- {loss: class_tilt, t: .nan}", "t = nan is outside"),
        ("- {loss: class_tilt, t: .inf}", "t = inf is outside"),
        ("- {loss: class_tilt, t: true}", "t = True is outside"),
        ("- {loss: class_tilt, t: '1'}", "t = '1' is outside"),
        ("- {loss: class_tilt, t: [1]}", "t = [1] is outside"),
        ("- {loss: class_tilt, t: null}", "t = None is outside"),
        ("- {loss: [class_tilt], t: 1}", "loss = ['class_tilt'] is outside"),
        ("- {loss: class_tilt, t: 1, gama: 3}", "configuration 1: unknown key 'gama'"),
        ("- {loss: class_tilt, t: 1, lr: fast}", "configuration 1: lr = 'fast'"),
        ("trial: {loss: class_tilt}", "configuration 1: 't' is missing"),
        ("trial: 3", "neither an exported configuration nor a list of settings"),
        ("loss: class_tilt", "neither an exported"),
        ("[]", "neither an exported"),
        ("- 3", "neither an exported"),
        ("", "neither an exported"),
        ("just text", "neither an exported"),
        ("- {", "not YAML: while parsing"),
        ("- a\n b: [", "not YAML"),
    ],
)
def test_an_invalid_file_is_refused_with_its_place_and_reason(write, text, named):
    file = write(text)
    message = refusal(file)
    assert message.startswith(f"--warm-start {file}: ")
    assert named in message


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch {witness}']",
        "- {{loss: class_tilt, t: !!python/object/apply:os.system ['touch {witness}']}}",
        "trial: !!python/object/new:os.system ['touch {witness}']",
    ],
)
def test_a_file_cannot_run_code(write, tmp_path, text):
    witness = tmp_path / "witness"
    file = write(text.format(witness=witness))
    assert "not YAML: could not determine a constructor for the tag" in refusal(file)
    assert not witness.exists()
    yaml.unsafe_load((tmp_path / "first.yaml").read_text())
    assert witness.exists()  # an unsafe loader does run the code


def test_an_unreadable_file_is_refused(tmp_path):
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "bytes.yml").write_bytes(b"\xff\xfe\x00")
    for name, reason in (("gone.yaml", "No such file"), ("folder.yaml", "Is a directory"), ("bytes.yml", "not YAML")):
        assert refusal(str(tmp_path / name)).startswith(f"--warm-start {tmp_path / name}: {reason}")


@pytest.mark.parametrize("name", sorted(file.stem for file in FOLDER.glob("*.yaml")))
def test_every_point_of_a_built_in_grid_is_in_its_space(name):
    space = load_space(name)
    for params in space.grid()[:500]:
        assert params_in_space(space, params, "") == params
        assert params_in_space(space, space.config(params).model_dump(mode="json"), "") == params


# In a sweep


@pytest.mark.parametrize("sampler", ["gp", "tpe", "random", "nsga2"])
def test_a_sweep_tries_them_first_and_then_others_even_after_interruptions(begin, sampler):
    first = {"loss": "stochastic_tilt", "t": 2, "gamma": 0.5}, {"loss": "class_tilt", "t": 10}
    search = begin(space=CONDITIONAL, trials=3, confirm=0, sampler=sampler, warm_start=first)
    for _ in range(3):
        search = reopened(search)
        train(search, search.next(), (0.5, 0.1))
    tried = [trial.params for trial in search.record.trials("search")]
    assert tried[:2] == list(first)
    assert tried[2] not in first
    assert [trial.config["t"] for trial in search.record.trials("search")[:2]] == [2, 10]


def test_no_more_of_them_are_tried_than_trials_are_planned(begin):
    first = tuple({"loss": "class_tilt", "t": t} for t in (1, 2, 3))
    search = begin(space=CONDITIONAL, trials=2, confirm=0, warm_start=first)
    for _ in range(2):
        train(search, search.next(), (0.5, 0.1))
    assert search.finished
    assert [trial.params for trial in search.record.trials()] == list(first[:2])
