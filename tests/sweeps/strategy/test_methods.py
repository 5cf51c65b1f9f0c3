"""Methods of a comparison: how they are written, and what is refused."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import yaml

from search_spaces.space import parse_space
from sweeps.storage.plan import Method, Plan
from sweeps.strategy.comparing import comparison_plan
from sweeps.strategy.methods import with_methods
from sweeps.strategy.options import CompareOptions
from tce_core.config import TrialConfig
from tce_core.data.dataset import ClassInfo, SplitWriter, open_dataset
from tce_core.data.streets.dataset import make_streets
from tce_core.errors import UserError

SPACE = parse_space(
    {
        "trial": {"epochs": 4, "lr": 0.05},
        "space": {},
        "baselines": {"weighted_ce": {"loss": "weighted_ce", "weight_power": 0.5}},
    },
    "own.yaml",
)
CLASSES = ("road", "wall")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_streets(tmp_path_factory.mktemp("data") / "tiny", 0, 8, 4, 4, (48, 64))


def exported(path, trial, classes=CLASSES, **more):
    content = {"dataset": {"classes": list(classes)}, "trial": TrialConfig(**trial).model_dump(mode="json"), **more}
    path.write_text(yaml.safe_dump(content))
    return str(path)


def test_each_method_becomes_a_baseline(tmp_path):
    best = exported(tmp_path / "best.yaml", {"loss": "dice", "lr": 0.2, "epochs": 9, "seed": 3}, logit_adjustment=0.5)
    texts = ("mcce", "mcce+adjusted", "tce@t=0.1", "class-uniform", "weighted_ce@lr=0.3", "focal", best)
    space, methods = with_methods(SPACE, texts, CLASSES)
    assert [method.name for method in methods] == list(texts)
    assert methods[:2] == (Method("mcce", ("mcce",), 0.0), Method("mcce+adjusted", ("mcce",), None))
    assert methods[-1].tau == 0.5
    configs = {name: space.config(settings) for name, settings in space.baselines.items()}
    assert list(configs) == ["mcce", "tce@t=0.1", "class-uniform", "weighted_ce@lr=0.3", "focal", best]
    assert (configs["tce@t=0.1"].loss, configs["tce@t=0.1"].t) == ("stochastic_tilt", 0.1)
    assert (configs["class-uniform"].loss, configs["class-uniform"].t) == ("stochastic_tilt", 0)
    assert (configs["weighted_ce@lr=0.3"].weight_power, configs["weighted_ce@lr=0.3"].lr) == (0.5, 0.3)
    assert (configs[best].loss, configs[best].lr) == ("dice", 0.2)
    assert {(config.epochs, config.seed) for config in configs.values()} == {(4, 0)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("crossentropy", "'crossentropy' is no method; give an exported file or one of weighted_ce, tce"),
        ("mcce@t=1", "t changes nothing in mcce; it is a setting of image_tilt"),
        ("tce@t", "'t' is no setting; write tce@KEY=VALUE"),
        ("tce@t=high", "t = 'high': Input should be a valid number"),
        ("tce@t=[1", r"'\[1' is not a value"),
        ("tce@tilt=1", "unknown key 'tilt'"),
        ("mcce@epochs=3", "all methods use the same epochs; use --epochs"),
        ("mcce@seed=3", "all methods use the same seed; use --seed"),
        ("mcce", "it is given twice"),
        ("mcce@lr=0.05@lr=0.1", "lr is given twice"),
        ("gone.yaml", "gone.yaml: No such file"),
    ],
)
def test_a_method_that_cannot_be_used_is_named(text, message):
    with pytest.raises(UserError, match=rf"^--methods .*{message}"):
        with_methods(SPACE, ("mcce", text), CLASSES)


def test_the_same_method_by_another_name_is_refused():
    with pytest.raises(UserError, match=r"^--methods tce@t=0.10: it is the same as stochastic_tilt@t=0.1$"):
        with_methods(SPACE, ("mcce", "stochastic_tilt@t=0.1", "tce@t=0.10"), CLASSES)
    with_methods(SPACE, ("mcce", "tce", "tce+adjusted"), CLASSES)


def test_files_of_another_kind_are_refused(tmp_path):
    other = exported(tmp_path / "other.yaml", {}, classes=("sky", "road", "car"))
    with pytest.raises(
        UserError, match=r"other.yaml: found for a data set of 3 classes \(sky, road, car, …\), not for these 2"
    ):
        with_methods(SPACE, (other,), CLASSES)
    trunk = exported(tmp_path / "trunk.yaml", {"trunk": 0.5, "epochs": 4})
    with pytest.raises(UserError, match=r"its trunk is 0.5, not 0; give --trunk 0.5"):
        with_methods(SPACE, (trunk,), CLASSES)
    late = parse_space({"trial": {"epochs": 4, "lr": 0.05, "trunk": 0.5}, "space": {}}, "own.yaml")
    with pytest.raises(UserError, match=r"its trunk has lr 0.01, not 0.05; give --set trial.trunk_lr=0.01"):
        with_methods(late, (trunk,), CLASSES)
    odd = exported(tmp_path / "odd.yaml", {}, logit_adjustment=0.33)
    with pytest.raises(UserError, match=r"logit_adjustment = 0.33: give one of 0, 0.25"):
        with_methods(SPACE, (odd,), CLASSES)
    for text in ("[1, 2]", "trial: {loss: mcce}\nspace: {}"):
        (tmp_path / "another.yaml").write_text(text)
        with pytest.raises(UserError, match="not a configuration that a sweep exported"):
            with_methods(SPACE, (str(tmp_path / "another.yaml"),), CLASSES)


def test_the_plan_of_a_comparison_survives_json(data):
    options = CompareOptions(dataset=data.path, methods=("mcce", "tce@t=1", "mcce+adjusted"), seeds=3, space="streets")
    plan = comparison_plan(options, data)
    assert (plan.trials, plan.confirm, plan.confirmation_runs, plan.rungs) == (0, 2, 4, ())
    assert Plan.from_json(json.loads(json.dumps(asdict(plan)))) == plan


def test_each_method_has_a_baseline_for_every_fold(data):
    options = CompareOptions(dataset=data.path, methods=("mcce", "tce@t=1", "mcce+adjusted"), seeds=2, folds=3)
    plan = comparison_plan(options, data)
    labels = [f"{name} fold {number}/3" for number in (1, 2, 3) for name in ("mcce", "tce@t=1")]
    assert list(plan.space["baselines"]) == labels
    assert [method.baselines for method in plan.methods] == [tuple(labels[i::2]) for i in (0, 1, 0)]
    space = parse_space(plan.space, "own.yaml")
    configs = [space.config(settings) for settings in space.baselines.values()]
    assert [(config.loss, config.fold) for config in configs[2:4]] == [("mcce", "2/3"), ("stochastic_tilt", "2/3")]
    assert plan.confirmation_runs == 6
    assert Plan.from_json(json.loads(json.dumps(asdict(plan)))) == plan


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"folds": 13}, "fold 1/13 cannot be held out: .*12 images for 13 folds"),
        ({"folds": 2, "trunk": 0.5}, "--folds with a trunk of 0.5: each fold would need its own"),
        ({"folds": 3, "group_by": "_"}, r"2 groups \(train, val\) for 3 folds"),
        ({"group_by": "drive"}, "test.arrow: image 'test_00000' has no group"),
        ({"group_by": "_"}, "test.arrow: all images are of one group, 'test'"),
        ({"overrides": ("trial.loss=focal",)}, "--set trial.loss: each method has a loss of its own"),
        ({"folds": 1}, "folds = 1"),
        ({"methods": ("mcce@fold=1/2",)}, "all methods use the same fold; use --folds"),
    ],
)
def test_folds_that_cannot_be_held_out_are_refused(data, changes, message):
    with pytest.raises(UserError, match=message):
        comparison_plan(CompareOptions(**{"dataset": data.path, "methods": ("mcce",), "epochs": 4} | changes), data)


def test_a_class_that_only_one_fold_shows_is_named(tmp_path):
    classes = (ClassInfo(0, "road", (1, 2, 3)), ClassInfo(1, "rider", (4, 5, 6)))
    for name, labels in (("train", (1, 0, 0)), ("val", (0, 0, 0))):
        with SplitWriter(tmp_path / f"{name}.arrow", classes, "made up", name) as writer:
            for i, label in enumerate(labels):
                mask = np.array([[0] * 8, [label] * 8], np.uint8)
                writer.add(f"{name}{i}", np.zeros((2, 8, 3), np.uint8), mask)
    data = open_dataset(tmp_path)
    data.require_trainable()
    with pytest.raises(UserError, match=r"^fold ./3 cannot be held out: .*no pixel of class rider"):
        comparison_plan(CompareOptions(dataset=data.path, methods=("mcce",), folds=3), data)


def test_a_plan_from_before_there_were_folds_is_read(data):
    plan = comparison_plan(CompareOptions(dataset=data.path, methods=("mcce", "mcce+adjusted")), data)
    saved = json.loads(json.dumps(asdict(plan)))
    for method in saved["methods"]:
        (method["baseline"],) = method.pop("baselines")
    del saved["group_by"]
    assert Plan.from_json(saved) == plan


def test_a_class_that_leads_is_in_every_fold(data):
    options = CompareOptions(dataset=data.path, methods=("mcce",), folds=12, objective="iou:rider")
    with pytest.raises(UserError, match=r"fold ./12 cannot be held out: .*rider"):
        comparison_plan(options, data)


def test_one_seed_and_no_method(data):
    assert comparison_plan(CompareOptions(dataset=data.path, methods=("mcce",), seeds=1), data).confirm == 0
    with pytest.raises(UserError, match="methods"):
        CompareOptions(dataset=data.path, methods=())
