"""Shared by the tests of a search: a small plan, results with known objectives, and functions that run trials."""

import copy
from dataclasses import replace

import optuna

from sweeps.storage.plan import Plan
from sweeps.storage.record import Record
from sweeps.strategy.search import Search
from tce_core.results import EpochResult, Scores

EPOCHS = 4
SPACE = {
    "trial": {"epochs": EPOCHS, "crop": [32, 48]},
    "space": {"loss": {"choices": ["class_tilt"]}, "t": {"low": 0.1, "high": 10, "log": True}},
    "baselines": {"mcce": {"loss": "mcce"}, "focal": {"loss": "focal"}},
}
ALONE = {**SPACE, "baselines": {}}
TINY = ["trial.encoder=tu-mobilenetv3_small_050", "trial.decoder_channels=16", "trial.crop=[32,48]"]
"""Settings for `--set`: a model that is built quickly."""
PLAN = Plan("one", "worst_iou", 0.01, "random", 5, 3, 2, "d", "f", SPACE, "own.yaml", 1, 1, 0.0, keep=0.5)


def result(epoch, miou=0.5, worst=0.1):
    """A result of four classes: one has the worst IoU, and the others are equal, so that the mean is `miou`."""
    high = (4 * miou - worst) / 3
    return ious(epoch, high, worst, high, high)


def ious(epoch, *values):
    """A result with these IoUs, one for each class."""
    return EpochResult(epoch, 0.5, 0.01, (Scores(0.0, values),), None, 1.0, 0.1)


def curved(epoch, curve):
    """A result with several strengths of logit adjustment.

    `curve`: by tau, the IoUs of all classes, or mIoU and worst IoU as in `result`.
    """
    plain = [(tau, (ious(epoch, *row) if len(row) > 2 else result(epoch, *row)).plain) for tau, row in curve.items()]
    return replace(result(epoch), curve=tuple(replace(scores, tau=tau) for tau, scores in plain))


def train(search, trial, *measures):
    """Run a trial until the search ends it, and return its record.

    `measures`: epoch i has the i-th pair (mIoU, worst IoU) or curve (see `curved`), or the last one.
    """
    epoch = trial.epoch + 1
    while True:
        row = measures[min(epoch, len(measures)) - 1]
        made = curved(epoch, row) if isinstance(row, dict) else result(epoch, *row)
        if not search.record_epoch(trial.number, made):
            break
        epoch += 1
    search.record_end(trial.number)
    return search.record[trial.number]


def told(search):
    """Ask for the next trial, and return the observations that the sampler is given."""
    heard, ask = [], search.proposer.next
    search.proposer.next = lambda earlier: heard.extend(earlier) or ask(earlier)
    search.next()
    search.proposer.next = ask
    return heard


def reopened(search):
    """The search of a new process after this one was killed: only the SQLite file remains."""
    store = copy.copy(search.record.store)
    store.backend = optuna.storages.get_storage(store.backend._backend)  # without the cache of the old storage
    return Search.resume(Record(store, optuna.load_study(study_name=search.plan.name, storage=store.backend)))
