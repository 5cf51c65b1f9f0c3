"""Prediction at any image size, and the counts of a split against scikit-learn."""

import threading

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix
from torch import nn

from tce_core import VOID
from tce_core.adjust import TAUS, class_shares, offsets
from tce_core.colours import normalise
from tce_core.evaluation import evaluate, predict
from tce_core.model import build_model

CLASSES = 7
CPU = torch.device("cpu")


class ByPixel(nn.Module):
    """A model whose scores depend on one pixel only, so that padding and batching change nothing."""

    def __init__(self, classes):
        super().__init__()
        torch.manual_seed(2)
        self.scores = nn.Conv2d(3, classes, 1)

    def forward(self, x):
        assert x.shape[-2] % 16 == x.shape[-1] % 16 == 0
        return self.scores(x)


@pytest.mark.parametrize("size", [(1, 1), (16, 32), (17, 40), (33, 5)])
def test_any_size_can_be_predicted(size):
    images, model = torch.randint(256, (2, 3, *size), dtype=torch.uint8), ByPixel(CLASSES)
    expected = model.scores(normalise(images)).argmax(1)
    prediction = predict(model, images)
    assert prediction.dtype == torch.uint8
    assert torch.equal(prediction.long(), expected)


@pytest.mark.parametrize("images_at_a_time", [1, 4, 8])
def test_a_split_s_counts_are_scikit_learn_s(streets, images_at_a_time):
    model, split, k, pixels = ByPixel(10), streets.val, 10, int(streets.val.sizes[0].prod())
    (confusion,), (counts,) = evaluate(model, split, CPU, batch_pixels=images_at_a_time * pixels)
    expected = np.zeros((k, k), np.int64)
    for i in range(len(split)):
        image = torch.tensor(split.image(i)).permute(2, 0, 1)[None]
        guess, truth = predict(model, image)[0].numpy().ravel(), split.mask(i).ravel()
        one = confusion_matrix(truth[truth != VOID], guess[truth != VOID], labels=range(k))
        tp = one.diagonal()
        assert counts[i].tolist() == [tp.tolist(), (one.sum(0) - tp).tolist(), (one.sum(1) - tp).tolist()]
        expected += one
    assert (confusion.numpy() == expected).all()


@pytest.mark.parametrize("images_at_a_time", [1, 4])
def test_the_counts_of_every_adjustment_are_scikit_learn_s(streets, images_at_a_time):
    model, split, k, pixels = ByPixel(10), streets.val, 10, int(streets.val.sizes[0].prod())
    moved = torch.from_numpy(offsets(class_shares(streets.train.pixel_counts), TAUS))
    confusion, counts = evaluate(model, split, CPU, batch_pixels=images_at_a_time * pixels, offsets=moved)
    assert confusion.shape == (len(TAUS), k, k)
    assert counts.shape == (len(TAUS), len(split), 3, k)
    expected = np.zeros((len(TAUS), k, k), np.int64)
    for i in range(len(split)):
        with torch.no_grad():
            logits = model.scores(normalise(torch.tensor(split.image(i)).permute(2, 0, 1)[None]))[0].numpy()
        for t in range(len(TAUS)):
            guess = (logits - moved[t].float().numpy()[:, None, None]).argmax(0).ravel()
            truth = split.mask(i).ravel()
            one = confusion_matrix(truth[truth != VOID], guess[truth != VOID], labels=range(k))
            tp = one.diagonal()
            assert counts[t, i].tolist() == [tp.tolist(), (one.sum(0) - tp).tolist(), (one.sum(1) - tp).tolist()]
            expected[t] += one
    assert (confusion.numpy() == expected).all()
    assert len({one.tobytes() for one in expected}) == len(TAUS)  # each strength predicts something else
    plain, plain_counts = evaluate(model, split, CPU)
    assert torch.equal(confusion[:1], plain)
    assert torch.equal(counts[:1], plain_counts)


def test_evaluation_does_not_change_the_model(streets, fast_config):
    trained = build_model(fast_config(), 10).train()
    before = {key: value.clone() for key, value in trained.state_dict().items()}
    one, _ = evaluate(trained, streets.val, CPU)
    again, _ = evaluate(trained, streets.val, CPU)
    assert torch.equal(one, again)  # no dropout
    after = trained.state_dict()  # parameters and BatchNorm statistics
    assert all(torch.equal(value, before[key]) for key, value in after.items())


@pytest.mark.parametrize("world", [2, 4, 5, 7])
def test_each_image_is_read_once_by_one_rank(streets, world, monkeypatch):
    """Six images: 2 ranks share them evenly, 4 and 5 do not, and with 7 ranks one has none."""
    model, split = ByPixel(10), streets.val
    moved = torch.from_numpy(offsets(class_shares(streets.train.pixel_counts), TAUS))
    alone = evaluate(model, split, CPU, offsets=moved)
    read = []
    image = split.image
    monkeypatch.setattr(split, "image", lambda i: (read.append(i), image(i))[1])
    monkeypatch.setattr("tce_core.distributed.world_size", lambda: world)
    monkeypatch.setattr("tce_core.distributed.global_sum", lambda values: values)
    parts = []
    for rank in range(world):
        monkeypatch.setattr("tce_core.distributed.rank", lambda rank=rank: rank)
        parts.append(evaluate(model, split, CPU, batch_pixels=2 * int(split.sizes[0].prod()), offsets=moved))
    assert sorted(read) == list(range(len(split)))
    for whole, shares in zip(alone, zip(*parts, strict=True), strict=True):
        assert torch.equal(torch.stack(shares).sum(0), whole)


def test_a_label_that_is_no_class_is_named_at_the_end(streets, monkeypatch):
    split = streets.val
    mask = split.mask
    monkeypatch.setattr(split, "mask", lambda i: np.where(mask(i) == 0, 77, mask(i)).astype(np.uint8))
    with pytest.raises(ValueError, match=r"label id 77 is outside 0\.\.9"):
        evaluate(ByPixel(10), split, CPU)


def test_the_next_batch_is_read_while_the_model_computes(streets, monkeypatch):
    split, pixels = streets.val, int(streets.val.sizes[0].prod())
    read, seen = [threading.Event() for _ in range(len(split))], []
    mask = split.mask
    monkeypatch.setattr(split, "mask", lambda i: (mask(i), read[i].set())[0])

    class Waiting(ByPixel):
        def forward(self, x):
            following = min(len(seen) + 1, len(split) - 1)
            seen.append(read[following].wait(timeout=30))
            return super().forward(x)

    evaluate(Waiting(10), split, CPU, batch_pixels=pixels)
    assert seen == [True] * len(split)
