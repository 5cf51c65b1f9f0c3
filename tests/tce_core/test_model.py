"""DeepLabv3+ has the configured decoder and encoder, and loads encoder weights from local files."""

import pickle
from pathlib import Path

import pytest
import safetensors.torch
import segmentation_models_pytorch as smp
import torch
from torch import nn

from tce_core.errors import UserError
from tce_core.model import build_model, check_encoder
from tests.tce_core.states import Hostile, parameters

CLASSES = 7
IMAGENET = Path(__file__).parents[3] / "shared" / "weights" / "mobilenet_v2-smp-encoder.pt"


@pytest.fixture(scope="module")
def model(fast_config):
    torch.manual_seed(0)
    return build_model(fast_config(), CLASSES).eval()


@pytest.mark.parametrize("size", [(32, 48), (64, 16)])
def test_it_gives_one_logit_per_class_and_pixel(model, size):
    assert model(torch.randn(2, 3, *size)).shape == (2, CLASSES, *size)


def dilations(module):
    """Return the dilations of the convolutions that have one."""
    return [m.dilation for m in module.modules() if isinstance(m, nn.Conv2d) and m.dilation != (1, 1)]


@pytest.mark.parametrize(
    ("settings", "rates", "dropout"),
    [({}, (6, 12, 18), 0.1), ({"atrous_rates": (2, 3, 5), "dropout": 0.3}, (2, 3, 5), 0.3)],
)
def test_the_decoder_has_the_configured_rates_and_dropout(fast_config, settings, rates, dropout):
    decoder = build_model(fast_config(**settings), CLASSES).decoder
    assert dilations(decoder) == [(rate, rate) for rate in rates]
    assert [m.p for m in decoder.modules() if isinstance(m, nn.Dropout)] == [dropout]


def test_smp_s_own_decoder_is_not_the_paper_s():
    # This is why `build_model` passes them. The test fails if the defaults of smp become those of the paper.
    decoder = smp.DeepLabV3Plus("tu-mobilenetv3_small_050", encoder_weights=None).decoder
    assert dilations(decoder) == [(12, 12), (24, 24), (36, 36)]
    assert [m.p for m in decoder.modules() if isinstance(m, nn.Dropout)] == [0.5]


@pytest.mark.parametrize("stride", [8, 16])
def test_the_encoder_has_the_configured_output_stride(fast_config, stride):
    encoder = build_model(fast_config(output_stride=stride), CLASSES).encoder
    assert encoder(torch.zeros(1, 3, 64, 64))[-1].shape[-2:] == (64 // stride, 64 // stride)


def test_the_seed_decides_the_weights(fast_config, model):
    for seed, same in ((0, True), (1, False)):
        torch.manual_seed(seed)
        other = build_model(fast_config(), CLASSES)
        assert torch.equal(parameters(other), parameters(model)) is same


# Encoders


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("mobilnet_v2", "mobilenet_v2"),
        ("resnet-18", "resnet18"),
        ("tu-mobilenetv3_smal_050", "tu-mobilenetv3_small_050"),
    ],
)
def test_an_unknown_encoder_is_answered_with_the_nearest(name, near):
    with pytest.raises(UserError, match=f"unknown encoder '{name}'; did you mean .*{near}"):
        check_encoder(name)


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18", "tu-resnet18", "tu-resnet18.a1_in1k"])
def test_a_known_encoder_is_accepted(name):
    check_encoder(name)


@pytest.mark.parametrize("name", ["densenet121", "tu-vgg11", "tu-vovnet39a", "tu-swiftformer_xs", "tu-hiera_tiny_224"])
def test_an_encoder_that_cannot_be_dilated_is_refused(fast_config, name):
    # These families raise different types of exceptions, one of them without a message.
    with pytest.raises(UserError, match=rf"^encoder '{name}' cannot be used: [^\n]+$"):
        build_model(fast_config(encoder=name), CLASSES)


def save_as(path, state):
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save(state, path)
    return path


@pytest.mark.parametrize("name", ["encoder.pt", "encoder.safetensors"])
def test_encoder_weights_come_from_a_local_file(fast_config, model, tmp_path, name):
    path = save_as(tmp_path / name, model.encoder.state_dict())
    torch.manual_seed(1)  # parameters that are not loaded will differ
    loaded = build_model(fast_config(encoder_weights=str(path)), CLASSES)
    for key, value in model.encoder.state_dict().items():
        assert torch.equal(loaded.encoder.state_dict()[key], value)
    assert not torch.equal(parameters(loaded.decoder), parameters(model.decoder))


@pytest.mark.parametrize("name", ["encoder.pt", "encoder.safetensors"])
@pytest.mark.parametrize("fault", ["another encoder's", "a missing tensor", "a wrong shape", "half of it", "empty"])
def test_a_file_of_other_weights_is_refused(fast_config, model, tmp_path, name, fault):
    state = dict(model.encoder.state_dict())
    key = next(iter(state))
    match fault:
        case "another encoder's":
            state = {"layer.weight": torch.zeros(2)}
        case "a missing tensor":
            del state[key]
        case "a wrong shape":
            state[key] = torch.zeros(1, 2, 3)
    path = save_as(tmp_path / name, state)
    if fault in ("half of it", "empty"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 if fault == "half of it" else 0])
    with pytest.raises(UserError, match=rf"{name}: not a state dict of this encoder: [^\n]+$"):
        build_model(fast_config(encoder_weights=str(path)), CLASSES)


@pytest.mark.parametrize(
    ("save", "trusting_load"),
    [
        (torch.save, lambda path: torch.load(path, weights_only=False)),
        (lambda value, path: path.write_bytes(pickle.dumps(value, 2)), lambda path: pickle.loads(path.read_bytes())),
    ],
    ids=["torch", "pickle"],
)
def test_code_in_a_weights_file_is_not_run(fast_config, tmp_path, save, trusting_load):
    path, trace = tmp_path / "encoder.pt", tmp_path / "executed"
    save({"weight": Hostile(trace)}, path)
    with pytest.raises(UserError, match="not a state dict of this encoder"):
        build_model(fast_config(encoder_weights=str(path)), CLASSES)
    assert not trace.exists()
    trusting_load(path)  # a load that trusts the file does run the code
    assert trace.exists()


@pytest.mark.skipif(not IMAGENET.is_file(), reason="the ImageNet weights of MobileNetV2 are not on this machine")
def test_imagenet_weights_of_mobilenet_v2_fit(fast_config):
    config = fast_config(encoder="mobilenet_v2", encoder_weights=str(IMAGENET))
    loaded, file = build_model(config, CLASSES).encoder.state_dict(), torch.load(IMAGENET, weights_only=True)
    assert set(loaded) == set(file)
    assert all(torch.equal(loaded[key], file[key]) for key in file)
