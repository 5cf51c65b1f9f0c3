"""Measure how long the samplers take to propose, and simulate what that means for many slots.

    python benchmarks/proposals.py [--slots 50] [--live 60]

Two ways are compared. On demand: the driver waits for each proposal when a slot asks for it, so that the other slots
wait for the driver, too. Ahead: as in a sweep, a thread makes some proposals ahead, and a GP takes turns with TPE if
many trials run. The time of a proposal is measured with all other slots at work. The simulation runs trials of a minute
(7 epochs; standard deviation 20%) with these times and with the measured time to record an epoch. `--live` runs both
ways in real time: the search, the sampler, its thread and SQLite are real, only the training is replaced by waiting.
"""

import argparse
import heapq
import itertools
import statistics
import tempfile
import time
from dataclasses import replace

import numpy as np
from records import EPOCHS, begin, lengthen, plan, result, run_some

from sweeps.strategy import ahead, proposals
from sweeps.strategy.search import Search

SECONDS = 60.0
"""Mean duration of a trial."""
USUAL = ahead.MOST, proposals.GP_SERVES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slots", type=int, default=50, help="trials at a time (default: %(default)s)")
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 500, 1000], help="ended trials")
    parser.add_argument("--samplers", nargs="+", default=["gp", "tpe"], choices=["gp", "tpe", "nsga2", "random"])
    parser.add_argument("--live", type=float, help="run in real time for so many seconds, with the first `--trials`")
    options = parser.parse_args()
    print(f"{options.slots} slots, trials of {SECONDS:g} s", flush=True)
    if options.live:
        for sampler, made_ahead in itertools.product(options.samplers, (False, True)):
            switch(made_ahead)
            share, asked = live(sampler, options.trials[0], options.slots, options.live)
            print(f"{sampler}, {'ahead' if made_ahead else 'on demand'}: {share:.1%} busy, {asked:.2f} s per proposal")
        return
    event = seconds_per_epoch(options.slots)
    print(f"Recording an epoch takes {1000 * event:.1f} ms.\n")
    print("| sampler | ended trials | on demand: seconds | busy | ahead: seconds | busy |\n|---|---|---|---|---|---|")
    for sampler in options.samplers:
        search = begin("memory", plan(sampler))
        for trials in options.trials:
            search = lengthen(search, trials)
            search.proposer.next(search.observations.all())  # imports torch
            cells = []
            for made_ahead in (False, True):
                switch(made_ahead)
                asks = ask_seconds(search, options.slots)
                share = simulate(asks, event, options.slots, ahead.MOST)
                cells += [f"{statistics.mean(asks):.2f}", f"{share:.1%}"]
            print(f"| {sampler} | {trials} | " + " | ".join(cells) + " |", flush=True)


def switch(made_ahead: bool) -> None:
    """Let the search make proposals ahead, and the GP take turns; or neither."""
    ahead.MOST, proposals.GP_SERVES = USUAL if made_ahead else (0, 10**6)


def ask_seconds(search: Search, slots: int, rounds: int = 6) -> list[float]:
    """Return the seconds of some proposals that follow one another, with one slot free."""
    run_some(search, slots - 1 - len(search.record.running))
    observed, seconds = search.observations.all(), []
    for _ in range(rounds):
        started = time.perf_counter()
        proposal = search.proposer.next(observed)
        seconds.append(time.perf_counter() - started)
        # The trial at this place begins, and an older one ends.
        oldest = next(i for i, one in enumerate(observed) if one.values is None)
        observed[oldest] = replace(observed[oldest], values=(0.5, 0.2), shortfalls={"miou": -0.1})
        observed.append(proposals.Observation(proposal.params))
    return seconds


def seconds_per_epoch(slots: int) -> float:
    """Return the seconds that the driver takes to record an epoch in SQLite and to decide."""
    with tempfile.TemporaryDirectory() as folder:
        search = begin(f"sqlite:///{folder}/sweeps.db", plan("random"))
        numbers, seconds = run_some(search, slots), []
        for number in numbers:
            started = time.perf_counter()
            search.record_epoch(number, result({}, number, 1))
            seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def simulate(asks: list[float], event: float, slots: int, made_ahead: int, hours: float = 4.0) -> float:
    """Return the share of the time in which slots train.

    Args:
        asks: seconds of proposals, which take these times in turn.
        event: seconds to record an epoch, or the end or the begin of a trial.
        slots: trials at a time.
        made_ahead: proposals that are kept ready.
        hours: simulated time.
    """
    rng, order, durations = np.random.default_rng(0), itertools.count(), itertools.cycle(asks)
    driver = sampler = trained = 0.0  # until when each is at work
    made: list[float] = []  # when each proposal is ready
    # (time, order, epochs left, seconds of an epoch): at this time a slot reports an epoch.
    queue: list[tuple[float, int, int, float]] = []
    for _ in range(slots):
        epoch = SECONDS / EPOCHS
        heapq.heappush(queue, (rng.uniform(0, epoch), next(order), int(rng.integers(1, EPOCHS + 1)), epoch))
    while queue[0][0] < 3600 * hours:
        now, _, left, epoch = heapq.heappop(queue)
        trained += epoch
        driver = max(driver, now) + event
        if left == 1:
            driver += event
            for wanted in (1, made_ahead):  # the slot's own, then those for later
                while len(made) < wanted:
                    sampler = max(sampler, driver) + next(durations)
                    made.append(sampler)
                if wanted == 1:
                    driver = max(driver, made.pop(0)) + event
            left, epoch = EPOCHS + 1, max(1.0, rng.normal(SECONDS, 0.2 * SECONDS)) / EPOCHS
        heapq.heappush(queue, (driver + epoch, next(order), left - 1, epoch))
    return trained / (slots * 3600 * hours)


def live(sampler: str, trials: int, slots: int, seconds: float) -> tuple[float, float]:
    """Run the search in real time. Return the share of the time in which slots train, and the seconds per proposal."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        whole = replace(plan(sampler), rungs=(), keep=1.0)  # each trial takes a minute
        search = lengthen(begin(f"sqlite:///{folder}/sweeps.db", whole), trials)
        search.proposer.next(search.observations.all())  # imports torch
        asks, propose = [], search.proposer.next

        def timed(earlier: list[proposals.Observation]) -> proposals.Proposal | None:
            started = time.monotonic()
            proposal = propose(earlier)
            asks.append(time.monotonic() - started)
            return proposal

        search.proposer.next = timed
        # (time, trial, epoch, seconds of an epoch): at this time a trial reports this epoch.
        queue: list[tuple[float, int, int, float]] = []

        def train(number: int, epoch: int, length: float) -> None:
            heapq.heappush(queue, (time.monotonic() + length, number, epoch, length))

        running = run_some(search, slots)
        begun, trained = time.monotonic(), 0.0
        for number in running:
            train(number, int(rng.integers(1, EPOCHS + 1)), rng.uniform(0, SECONDS / EPOCHS))
        while (now := time.monotonic()) < begun + seconds:
            if queue and queue[0][0] <= now:
                _, number, epoch, length = heapq.heappop(queue)
                trained += length
                if search.record_epoch(number, result(search.record[number].params, number, epoch)):
                    train(number, epoch + 1, max(length, 0.5 * SECONDS / EPOCHS))
                else:
                    search.record_end(number)
            if len(queue) < slots and (trial := search.next()) is not None:
                train(trial.number, 1, max(1.0, rng.normal(SECONDS, 0.2 * SECONDS)) / EPOCHS)
            elif not queue or queue[0][0] > time.monotonic():
                time.sleep(0.01)
        trained += sum(max(0.0, now - (due - length)) for due, _, _, length in queue if due > now)
        trained += sum(length for due, _, _, length in queue if due <= now)
    return trained / (slots * seconds), statistics.mean(asks)


if __name__ == "__main__":
    main()
