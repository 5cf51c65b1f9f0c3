"""`tce_core.seeding`: the key alone decides the numbers."""

import pytest
import torch

from tce_core.seeding import Stream, numpy_generator, torch_generator, torch_seed

KEYS = [(0, Stream.DRAW, 5), (1, Stream.DRAW, 5), (0, Stream.CROP, 5), (0, Stream.DRAW, 6), (0, Stream.DRAW, 5, 1)]


@pytest.mark.parametrize(
    "draw",
    [
        torch_seed,
        lambda *key: tuple(numpy_generator(*key).random(4)),
        lambda *key: tuple(torch.rand(4, generator=torch_generator(*key)).tolist()),
    ],
    ids=["torch_seed", "numpy_generator", "torch_generator"],
)
def test_equal_keys_give_equal_numbers_and_other_keys_give_others(draw):
    assert [draw(*key) for key in KEYS] == [draw(*key) for key in KEYS]
    assert len({draw(*key) for key in KEYS}) == len(KEYS)
