"""Look at every image and mask of a split once."""

from typing import NamedTuple

import torch

from tce_core.data.dataset import Split
from tce_core.diagnosis.fingerprints import Fingerprint, fingerprint_of
from tce_core.diagnosis.occurrence import MaskStatistics, Occurrence, occurrence, statistics_of
from tce_core.threads import single_threaded_pool


class Survey(NamedTuple):
    """What a split shows."""

    occurrence: Occurrence
    fingerprints: list[Fingerprint]
    """Of its N images."""


def survey(split: Split) -> Survey:
    """Look at a split, with as many threads as torch uses: the work is in libraries that release Python's lock."""

    def look(index: int) -> tuple[MaskStatistics, Fingerprint]:
        return statistics_of(split.mask(index)), fingerprint_of(split.image(index))

    with single_threaded_pool(torch.get_num_threads(), "survey") as pool:
        looks = list(pool.map(look, range(len(split))))
    masks, fingerprints = zip(*looks, strict=True)
    return Survey(occurrence(split.pixel_counts, masks), list(fingerprints))
