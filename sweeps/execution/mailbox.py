"""The mailbox between a Tune slot and its Ray Train workers: one order at a time, one answer to each."""

import asyncio
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

STOP = "stop"


@dataclass(frozen=True)
class Order:
    """Bring a trial to the end of `epoch`."""

    serial: int
    """The mailbox numbers its orders from 1."""
    trial: int
    config: dict[str, Any]
    """A `TrialConfig` as JSON values."""
    epoch: int
    trunk: int | None = None
    """The trial whose checkpoint is the trunk of this one; None: it has none, or trains its own."""
    test: bool = False
    """Whether the last epoch evaluates the test split, too."""

    @property
    def what(self) -> str:
        return f"in epoch {self.epoch}"


@dataclass(frozen=True)
class Check:
    """Check a plan before the first trial: see `preflight`."""

    serial: int
    plan: dict[str, Any]
    """A `Plan` as JSON values."""

    @property
    def what(self) -> str:
        return "while they built the models"


@dataclass(frozen=True)
class Answer:
    """What became of an order: exactly one of `result`, `error` and `fatal` is set; none after a `Check`
    without a fault."""

    result: str | None = None
    """An `EpochResult` as JSON."""
    error: str | None = None
    """Why the trial failed."""
    fatal: str | None = None
    """Why no trial can continue."""
    temporary: bool = False
    """Whether the trouble may pass, so that the same command can succeed later."""
    seconds: float = 0.0
    """From the order to the answer."""

    def as_dict(self) -> dict[str, Any]:
        """The fields that are set, as a result for Ray Tune."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Answer":
        """From Ray Tune's result, which holds more than the answer."""
        return cls(**{field.name: values[field.name] for field in fields(cls) if field.name in values})


class Mailbox:
    """A Ray actor that outlives the workers it serves. It is async: every waiting call is a coroutine.

    A group of workers that dies leaves its order here, and the group that replaces it finds the order again. An order
    that has cost more than `retries` groups is answered with the error instead, so that one deadly trial cannot stop
    the others.
    """

    def __init__(self, retries: int) -> None:
        self.retries = retries
        self.order: Order | Check | None = None
        """The order that waits for its answer."""
        self.asked: Order | Check | None = None
        """The last order."""
        self.stopped = False
        self.given_up: Answer | None = None
        """The answer to every order, once the workers cannot be kept running."""
        self.groups_lost = 0
        self.taken = False
        self.answer: asyncio.Future[Answer] | None = None
        self.changed = asyncio.Condition()

    async def ask(self, order: Order | Check) -> Answer:
        """Hand out `order` and wait for its answer. The same order again, of another caller, waits for the same answer.

        The serial of `order` does not matter.
        """
        last = self.asked.serial if self.asked is not None else 0
        if self.answer is None or replace(order, serial=last) != self.asked:
            self.asked = replace(order, serial=last + 1)
            self.answer = asyncio.get_running_loop().create_future()
            if self.given_up is not None:
                self.answer.set_result(self.given_up)
                return self.given_up
            async with self.changed:
                self.order, self.groups_lost, self.taken = self.asked, 0, False
                self.changed.notify_all()
        return await asyncio.shield(self.answer)

    async def join(self) -> None:
        """Count a lost group if the order was taken before. Rank 0 of a new group calls this before it takes any."""
        if self.order is None or not self.taken:
            return
        self.groups_lost += 1
        self.taken = False
        if self.groups_lost > self.retries:
            reason = f"its workers died {self.groups_lost} times {self.order.what}"
            await self.reply(self.order.serial, Answer(error=reason, temporary=True))

    async def take(self, done: int) -> Order | Check | str:
        """Wait for the next order after serial `done`, or STOP. Every rank calls this."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.stopped or (self.order and self.order.serial > done))
        if self.stopped or self.order is None:
            return STOP
        self.taken = True
        return self.order

    async def reply(self, serial: int, answer: Answer) -> None:
        """Answer an order. Rank 0 calls this. A late answer to an order that was given up is dropped."""
        if self.order is not None and self.order.serial == serial and self.answer is not None:
            self.order = None
            self.answer.set_result(answer)

    async def give_up(self, answer: Answer) -> None:
        """Answer the order that waits, and every later one: there are no workers any more."""
        self.given_up = answer
        if self.order is not None:
            await self.reply(self.order.serial, answer)

    async def stop(self) -> None:
        """Let every rank that waits, or will ask, receive STOP."""
        async with self.changed:
            self.stopped = True
            self.changed.notify_all()
