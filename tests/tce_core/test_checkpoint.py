"""`tce_core.checkpoint`: what is refused, what a failed write leaves behind, and the export of weights."""

import errno
import io
import json
import os
import pickle

import pytest
import safetensors
import torch

from tce_core.checkpoint import CannotSave, export_weights, read_checkpoint, save_checkpoint
from tce_core.data.streets.dataset import make_streets
from tce_core.errors import BAD_INPUT, TEMPORARY, UserError
from tce_core.training import train
from tests.tce_core.states import Hostile, different

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def checkpoint(fast_config, streets, tmp_path_factory):
    """The checkpoint of one finished epoch of `fast_config()`."""
    path = tmp_path_factory.mktemp("runs") / "run.pt"
    run = train(fast_config(), streets, checkpoint=path, device=CPU)
    next(run)
    run.close()
    return path


@pytest.mark.parametrize(("key", "value"), [("lr", 0.5), ("loss", "class_tilt"), ("seed", 7), ("crop", (48, 48))])
def test_a_checkpoint_of_other_settings_is_refused_naming_them(fast_config, streets, checkpoint, key, value):
    with pytest.raises(UserError, match=rf"run\.pt: written with {key} = .*, not .*; use another file"):
        next(train(fast_config(**{key: value}), streets, checkpoint=checkpoint, device=CPU))


def test_a_checkpoint_of_other_data_is_refused(fast_config, checkpoint, tmp_path):
    other = make_streets(tmp_path / "other", seed=1, train=16, val=2, test=1, size=(64, 96))
    with pytest.raises(UserError, match=r"run\.pt: written with other data than .*other; use another file"):
        next(train(fast_config(), other, checkpoint=checkpoint, device=CPU))


def test_a_checkpoint_of_an_earlier_version_is_refused(fast_config, streets, checkpoint, tmp_path):
    """An earlier version wrote no format, and `iou` in the place of `curve`."""
    state, path = read_checkpoint(checkpoint), tmp_path / "earlier.pt"
    del state["format"]
    result = json.loads(state["result"])
    state["result"] = json.dumps({**result, "iou": result.pop("curve")[0]["iou"], "intervals": {}})
    torch.save(state, path)
    with pytest.raises(
        UserError, match=r"^[^\n]*earlier\.pt: written by another version of this program \(format 1, not"
    ):
        next(train(fast_config(), streets, checkpoint=path, device=CPU))


def test_a_checkpoint_of_other_taus_is_refused(fast_config, streets, checkpoint):
    with pytest.raises(UserError, match=r"written with taus \(0.0, 0.25, 0.5, 0.75, 1.0\), not \(0.0, 0.1\); use"):
        next(train(fast_config(), streets, checkpoint=checkpoint, device=CPU, taus=(0.0, 0.1)))


def flip_a_bit(content):
    weights = torch.load(io.BytesIO(content), weights_only=True)["model"]["segmentation_head.0.weight"]
    place = content.index(bytes(weights.untyped_storage())) + 5  # the file stays well-formed, but one weight changes
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda _: b"",
        lambda _: b"hello",
        flip_a_bit,
    ],
    ids=["half", "short of a byte", "empty", "text", "one bit"],
)
def test_a_damaged_checkpoint_is_refused(fast_config, streets, checkpoint, tmp_path, damage):
    path = tmp_path / "damaged.pt"
    path.write_bytes(damage(checkpoint.read_bytes()))
    with pytest.raises(UserError, match=r"damaged\.pt: (not a|a damaged) checkpoint[^\n]+$"):
        next(train(fast_config(), streets, checkpoint=path, device=CPU))


@pytest.mark.parametrize(
    ("save", "trusting_load"),
    [
        (torch.save, lambda path: torch.load(path, weights_only=False)),
        (lambda value, path: path.write_bytes(pickle.dumps(value)), lambda path: pickle.loads(path.read_bytes())),
    ],
    ids=["torch", "pickle"],
)
def test_code_in_a_checkpoint_is_not_run(fast_config, streets, tmp_path, save, trusting_load):
    path, trace = tmp_path / "run.pt", tmp_path / "executed"
    save({"config": fast_config().model_dump_json(), "epoch": 1, "model": Hostile(trace)}, path)
    with pytest.raises(UserError, match=r"run\.pt: not a checkpoint that can be read safely"):
        next(train(fast_config(), streets, checkpoint=path, device=CPU))
    assert not trace.exists()
    trusting_load(path)  # a load that trusts the file does run the code
    assert trace.exists()


def test_some_other_file_of_tensors_is_not_a_checkpoint(tmp_path):
    torch.save({"weight": torch.zeros(1)}, tmp_path / "weights.pt")
    with pytest.raises(UserError, match=r"weights\.pt: not a checkpoint of this program"):
        read_checkpoint(tmp_path / "weights.pt")


# Writing


def test_a_failed_write_leaves_the_earlier_checkpoint(tmp_path):
    path = tmp_path / "run.pt"
    save_checkpoint(path, {"config": "{}", "epoch": 1, "model": {}})
    with pytest.raises(AttributeError):  # the second value cannot be pickled
        save_checkpoint(path, {"config": "{}", "epoch": 2, "model": lambda: None})
    assert read_checkpoint(path)["epoch"] == 1
    assert list(tmp_path.iterdir()) == [path]


def test_a_checkpoint_that_cannot_be_written_is_answered_with_the_reason(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CannotSave, match=r"run\.pt: the checkpoint cannot be written: (File exists|Not a directory)$"):
        save_checkpoint(tmp_path / "file" / "run.pt", {"config": "{}", "epoch": 1, "model": {}})


@pytest.mark.parametrize(
    ("number", "code"), [(errno.ENOSPC, TEMPORARY), (errno.EDQUOT, TEMPORARY), (errno.EACCES, BAD_INPUT)]
)
def test_only_a_full_disk_is_temporary(checkpoint, tmp_path, monkeypatch, number, code):
    """Both for a checkpoint and for the exported weights; the operating system's error is the only thing replaced."""

    def refused(*_):
        raise OSError(number, os.strerror(number))

    state = read_checkpoint(checkpoint)
    monkeypatch.setattr("tce_core.files.os.replace", refused)
    for write in (
        lambda: save_checkpoint(tmp_path / "a.pt", state),
        lambda: export_weights(state["model"], tmp_path / "a", {}),
    ):
        with pytest.raises(CannotSave, match=os.strerror(number)) as caught:
            write()
        assert caught.value.exit_code == code
    assert not list(tmp_path.glob("*a*"))


def test_exported_weights_are_the_checkpoint_s(checkpoint, tmp_path):
    target = tmp_path / "model.safetensors"
    export_weights(read_checkpoint(checkpoint)["model"], target, {"classes": "road, wall"})
    with safetensors.safe_open(target, "pt") as file:
        assert file.metadata() == {"classes": "road, wall"}
        exported = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    assert different(exported, read_checkpoint(checkpoint)["model"]) == []
    assert list(tmp_path.iterdir()) == [target]
