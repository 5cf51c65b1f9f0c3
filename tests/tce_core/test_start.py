"""A training that starts from a model that exists: its classes, its adjustment, its architecture, what is refused."""

import json
import math
import re

import numpy as np
import pytest
import safetensors.torch
import segmentation_models_pytorch as smp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tce_core.checkpoint import export_weights
from tce_core.errors import UserError
from tce_core.evaluation import predict
from tce_core.model import build_model
from tce_core.run import Run
from tce_core.start import ARCHITECTURE, ClassMatch, digest, match_classes, model_to_train, settings_of
from tce_core.training import train
from tests.tce_core.states import different

CPU = torch.device("cpu")
NAMES = ("road", "wall", "pole", "rider", "sky")
IMAGES = torch.randint(256, (2, 3, 32, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def model(fast_config):
    """A model of `NAMES` that predicts all of them somewhere."""
    torch.manual_seed(3)
    model = build_model(fast_config(), len(NAMES)).eval()
    with torch.no_grad():
        model.segmentation_head[0].weight.mul_(20)
        model.segmentation_head[0].bias.copy_(torch.linspace(-0.5, 0.5, len(NAMES)))
    return model


@pytest.fixture(scope="module")
def weights(model, fast_config, tmp_path_factory):
    """Write the model's weights with metadata: `weights(tau="0.5")`; None leaves a key out."""
    folder = tmp_path_factory.mktemp("weights")

    def write(state=None, **changes):
        metadata = {"config": fast_config().model_dump_json(), "classes": json.dumps(NAMES), **changes}
        path = folder / f"{len(list(folder.iterdir()))}.safetensors"
        kept = {key: text for key, text in metadata.items() if text is not None}
        export_weights(state or model.state_dict(), path, kept)
        return path

    return write


def started(config, path, names, **changes):
    return model_to_train(config(start=str(path), **changes), names).eval()


def refusal(call, *arguments, **changes):
    with pytest.raises(UserError) as caught:
        call(*arguments, **changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Classes


@settings(max_examples=8)
@given(order=st.permutations(range(len(NAMES))))
def test_the_predictions_of_permuted_classes_are_the_permuted_predictions(model, weights, fast_config, order):
    names = [NAMES[i] for i in order]
    found = predict(started(fast_config, weights(), names), IMAGES)
    wanted = torch.tensor(np.argsort(order))[predict(model, IMAGES).long()]
    assert torch.equal(found.long(), wanted)
    assert len(found.unique()) > 2  # or a permutation would hardly show


def test_unknown_classes_are_new_and_classes_without_data_are_dropped(model, weights, fast_config):
    names = ("sky", "lamp", "road", "bus")
    torch.manual_seed(7)
    fresh = build_model(fast_config(), len(names))
    torch.manual_seed(7)
    made = started(fast_config, weights(), names)
    for part in ("weight", "bias"):
        row, new = (getattr(one.segmentation_head[0], part) for one in (made, fresh))
        old = getattr(model.segmentation_head[0], part)
        assert [torch.equal(row[k], old[i]) for k, i in ((0, 4), (2, 0))] == [True, True]
        assert [torch.equal(row[k], new[k]) for k in (1, 3)] == [True, True]
    body = {key: value for key, value in made.state_dict().items() if "segmentation_head" not in key}
    assert different(body, {key: model.state_dict()[key] for key in body}) == []
    assert str(match_classes(weights(), names)) == "2 classes by name; new: lamp, bus; dropped: wall, pole, rider"


def test_weights_that_share_no_class_with_the_data_are_refused(weights, fast_config):
    said = refusal(started, fast_config, weights(), ("class_0", "class_1"))
    assert "none of its classes (road, wall, pole, …) is in the data set (class_0, class_1, …); rename them" in said


def test_without_names_the_classes_are_taken_in_order(model, weights, fast_config):
    path = weights(classes=None)
    others = [name.upper() for name in NAMES]
    assert different(started(fast_config, path, others).state_dict(), model.state_dict()) == []
    assert str(match_classes(path, others)) == "5 classes in their order, because the file has no names"
    assert "5 classes without names, but the data set has 3" in refusal(started, fast_config, path, NAMES[:3])


def test_names_that_do_not_fit_the_weights_are_refused(weights):
    path = weights(classes=json.dumps(NAMES[:3]))
    assert "it names 3 different classes, but has weights for 5" in refusal(match_classes, path, NAMES)
    assert ClassMatch((0,), ("a",)).dropped == ()


# Logit adjustment


def folds():
    shares = st.sampled_from([(0.4, 0.3, 0.2, 0.05, 0.05), (0.2,) * 5])
    return st.lists(st.tuples(st.sampled_from([0.25, 0.5, 1.0]), shares), min_size=1, max_size=4)


@settings(max_examples=12)
@given(folds=folds())
def test_every_folded_adjustment_is_undone(model, weights, fast_config, folds):
    """The metadata is that of `tilted-sweeps adjust`: equal shares add up, the earlier ones are listed."""
    bias, before, tau, last = model.segmentation_head[0].bias.detach().double(), [], 0.0, None
    for strength, shares in folds:
        bias = bias - strength * torch.tensor([math.log(share) for share in shares], dtype=torch.float64)
        if last is not None:
            before.append({"tau": str(tau), "class_shares": json.dumps(last)})
        tau, last = strength + (tau if shares == last else 0.0), shares
    state = {**model.state_dict(), "segmentation_head.0.bias": bias.float()}
    metadata = {"tau": str(tau), "class_shares": json.dumps(last), "adjusted_before": json.dumps(before)}
    order = NAMES[::-1]
    path = weights(state, **metadata)
    assert str(match_classes(path, order)) == "5 classes by name; without its logit adjustment"
    found = started(fast_config, path, order).segmentation_head[0].bias
    assert torch.allclose(found.flip(0), model.segmentation_head[0].bias, atol=1e-6)


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"tau": "0.5"}, "class_shares is missing"),
        ({"tau": "0.5", "class_shares": "[0.5, 0.5]"}, "class_shares are of 2 classes, not 5"),
        ({"tau": "much"}, "could not convert"),
    ],
)
def test_an_adjustment_that_cannot_be_undone_is_refused(weights, fast_config, metadata, said):
    line = refusal(started, fast_config, weights(**metadata), NAMES)
    assert "its logit adjustment cannot be undone" in line
    assert said in line


# Files


def test_every_kind_of_weights_starts_the_same_model(model, weights, fast_config, streets, tmp_path):
    names, state = streets.class_names, tmp_path / "state.pt"
    run = Run(fast_config(), streets, CPU)
    run.save(tmp_path / "run.pt", run.next_epoch())
    run.close()
    wanted = run.model.state_dict()
    torch.save({"state_dict": {f"module.{key}": value for key, value in wanted.items()}}, state)
    folder = tmp_path / "saved"
    arguments = {"decoder_channels": 16, "decoder_atrous_rates": (6, 12, 18), "classes": len(names)}
    saved = smp.DeepLabV3Plus("tu-mobilenetv3_small_050", encoder_weights=None, **arguments)
    saved.load_state_dict(wanted)
    saved.save_pretrained(folder)
    for path in (tmp_path / "run.pt", state, folder):
        assert different(started(fast_config, path, names).state_dict(), wanted) == [], path
    config = fast_config()
    stated = {key: getattr(config, key) for key in ARCHITECTURE}
    assert settings_of(tmp_path / "run.pt") == settings_of(folder) == settings_of(weights()) == stated
    assert settings_of(state) == {}
    assert str(match_classes(tmp_path / "run.pt", names[::-1])) == "10 classes by name"  # a checkpoint names them
    before = digest(folder)
    (folder / "README.md").write_text("no weights")
    assert digest(folder) == before
    (folder / "config.json").write_text("{}")
    assert digest(folder) != before


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"decoder_channels": 32}, "decoder_channels 16, not 32; give --set trial.decoder_channels=16"),
        ({"output_stride": 8}, "output_stride 16, not 8; give --set trial.output_stride=16"),
        ({"atrous_rates": (3, 6, 9)}, "atrous_rates 6 12 18, not 3 6 9; give --set trial.atrous_rates=[6,12,18]"),
        (
            {"encoder": "resnet18"},
            "encoder tu-mobilenetv3_small_050, not resnet18; give --set trial.encoder=tu-mobilenetv3_small_050",
        ),
    ],
)
def test_another_architecture_is_refused_with_its_remedy(weights, fast_config, changes, said):
    assert said in refusal(started, fast_config, weights(), NAMES, **changes)


def test_files_that_hold_no_such_model_are_refused(weights, fast_config, tmp_path):
    (tmp_path / "text.pt").write_text("hello")
    assert "not weights that can be read safely" in refusal(settings_of, tmp_path / "text.pt")
    assert "no such file" in refusal(settings_of, tmp_path / "none.pt")
    assert re.search("cannot be read: No such file", refusal(digest, tmp_path / "none.pt"))
    bare = weights({"segmentation_head.0.weight": torch.zeros(5, 16, 1, 1)})
    assert "segmentation_head.0.bias is missing" in refusal(match_classes, bare, NAMES)
    state = build_model(fast_config(decoder_channels=32), 5).state_dict()
    torch.save(state, tmp_path / "wide.pt")
    assert "the weights do not fit the model" in refusal(started, fast_config, tmp_path / "wide.pt", NAMES)
    line = refusal(started, fast_config, tmp_path / "wide.pt", NAMES, encoder="resnet18")
    assert 'Missing key(s) in state_dict: "encoder.conv1.weight", …; the file does not say what it is: give' in line
    assert "--set trial.encoder=NAME, not resnet18" in line
    assert len(line) < 400


# Training


def test_a_training_starts_from_the_file_and_can_be_resumed(weights, fast_config, streets, tmp_path):
    path = weights()
    config = fast_config(start=str(path), epochs=2)
    run = Run(config, streets, CPU)
    run.close()
    stored = safetensors.torch.load_file(path)
    body = {key: value for key, value in run.model.state_dict().items() if "segmentation_head" not in key}
    assert different(body, {key: stored[key] for key in body}) == []
    unbroken = list(train(config, streets, checkpoint=tmp_path / "whole.pt", device=CPU))
    broken = train(config, streets, checkpoint=tmp_path / "broken.pt", device=CPU)
    next(broken)
    broken.close()
    resumed = list(train(config, streets, checkpoint=tmp_path / "broken.pt", device=CPU))
    assert repr(resumed[-1].curve) == repr(unbroken[-1].curve)
    assert resumed[-1].train_loss == unbroken[-1].train_loss


def test_a_trunk_starts_from_the_file_too(weights, fast_config, streets):
    started, random = (
        next(train(fast_config(trunk=0.5, **changes), streets, device=CPU))
        for changes in ({"start": str(weights())}, {})
    )
    assert started.train_loss != random.train_loss
