"""Prediction at any image size, and the counts of a split against scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix
from torch import nn

from tce_core import VOID
from tce_core.colours import normalise
from tce_core.evaluation import evaluate, predict
from tce_core.model import build_model

CLASSES = 7


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
    assert torch.equal(predict(model, images), expected)


@pytest.mark.parametrize("images_at_a_time", [1, 4, 8])
def test_a_split_s_counts_are_scikit_learn_s(streets, images_at_a_time):
    model, split, k, pixels = ByPixel(10), streets.val, 10, int(streets.val.sizes[0].prod())
    confusion, counts = evaluate(model, split, torch.device("cpu"), batch_pixels=images_at_a_time * pixels)
    expected = np.zeros((k, k), np.int64)
    for i in range(len(split)):
        image = torch.tensor(split.image(i)).permute(2, 0, 1)[None]
        guess, truth = predict(model, image)[0].numpy().ravel(), split.mask(i).ravel()
        one = confusion_matrix(truth[truth != VOID], guess[truth != VOID], labels=range(k))
        tp = one.diagonal()
        assert counts[i].tolist() == [tp.tolist(), (one.sum(0) - tp).tolist(), (one.sum(1) - tp).tolist()]
        expected += one
    assert (confusion.numpy() == expected).all()


def test_evaluation_does_not_change_the_model(streets, fast_config):
    trained = build_model(fast_config(), 10).train()
    before = {key: value.clone() for key, value in trained.state_dict().items()}
    one, _ = evaluate(trained, streets.val, torch.device("cpu"))
    again, _ = evaluate(trained, streets.val, torch.device("cpu"))
    assert torch.equal(one, again)  # no dropout
    after = trained.state_dict()  # parameters and BatchNorm statistics
    assert all(torch.equal(value, before[key]) for key, value in after.items())
