"""What the tests of a search share: a small plan, results whose measures are known, and a trial's way to its end."""

import copy

import optuna

from sweeps.storage.plan import Plan
from sweeps.storage.record import Record
from sweeps.strategy.search import Search
from tce_core.results import EpochResult

EPOCHS = 4
SPACE = {
    "trial": {"epochs": EPOCHS, "crop": [32, 48]},
    "space": {"loss": {"choices": ["class_tilt"]}, "t": {"low": 0.1, "high": 10, "log": True}},
    "baselines": {"mcce": {"loss": "mcce"}, "focal": {"loss": "focal"}},
}
ALONE = {**SPACE, "baselines": {}}
TINY = ["trial.encoder=tu-mobilenetv3_small_050", "trial.decoder_channels=16", "trial.crop=[32,48]"]
"""For `--set`: a model that is made at once."""
PLAN = Plan("one", "worst_iou", 0.01, "random", 5, 3, 2, "d", "f", SPACE, "own.yaml", 1, 1, 0.0, keep=0.5)


def result(epoch, miou=0.5, worst=0.1):
    """Four classes; one of them has the worst IoU and the others share the rest of the mean."""
    high = (4 * miou - worst) / 3
    return ious(epoch, high, worst, high, high)


def ious(epoch, *values):
    return EpochResult(epoch, 0.5, 0.01, values, {}, None, 1.0, 0.1)


def train(search, trial, *measures):
    """Run a trial until the search ends it; epoch i has the i-th (mIoU, worst IoU), or the last. Gives its record."""
    epoch = trial.epoch + 1
    while search.record_epoch(trial.number, result(epoch, *measures[min(epoch, len(measures)) - 1])):
        epoch += 1
    search.record_end(trial.number)
    return search.record[trial.number]


def told(search):
    """What the sampler is told of the trials so far, when it is asked for the next one."""
    heard, ask = [], search.proposer.next
    search.proposer.next = lambda earlier: heard.extend(earlier) or ask(earlier)
    search.next()
    search.proposer.next = ask
    return heard


def reopened(search):
    """As after the program was killed: what is not in the SQLite file is gone."""
    store = copy.copy(search.record.store)
    store.backend = optuna.storages.get_storage(store.backend._backend)  # without what the old one remembers
    return Search.resume(Record(store, optuna.load_study(study_name=search.plan.name, storage=store.backend)))
