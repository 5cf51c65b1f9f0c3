"""The mailbox between a Tune slot and its Ray Train workers: one order at a time, one answer to each."""

import asyncio
from dataclasses import dataclass
from typing import Any

STOP = "stop"


@dataclass(frozen=True)
class Order:
    """Bring a trial to `epoch`. `serial` numbers a slot's orders from 1."""

    serial: int
    trial: int
    config: dict[str, Any]
    epoch: int


class Mailbox:
    """A Ray actor (async: every waiting call is a coroutine) that outlives the workers it serves.

    A group of workers that dies leaves its order here, and the group that replaces it finds it again. An order
    that has cost more than `retries` groups is answered with the error instead, so that one deadly trial cannot
    stop the others.
    """

    def __init__(self, retries: int) -> None:
        self.retries = retries
        self.order: Order | None = None
        self.stopped = False
        self.groups_lost = 0
        self.taken = False
        self.answer: asyncio.Future[dict[str, Any]] | None = None
        self.changed = asyncio.Condition()

    async def ask(self, order: Order) -> dict[str, Any]:
        """Called by the slot: hand out `order`, wait for its answer."""
        self.answer = asyncio.get_running_loop().create_future()
        async with self.changed:
            self.order, self.groups_lost, self.taken = order, 0, False
            self.changed.notify_all()
        return await self.answer

    async def join(self) -> None:
        """Called by rank 0 of a new group of workers, before it takes anything."""
        if self.order is None or not self.taken:
            return
        self.groups_lost += 1
        self.taken = False
        if self.groups_lost > self.retries:
            await self.reply(
                self.order.serial, {"error": f"its workers died {self.groups_lost} times in epoch {self.order.epoch}"}
            )

    async def take(self, done: int) -> Order | str:
        """Called by every rank: the next order after serial `done`, or STOP."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.stopped or (self.order and self.order.serial > done))
        if self.stopped or self.order is None:
            return STOP
        self.taken = True
        return self.order

    async def reply(self, serial: int, answer: dict[str, Any]) -> None:
        """Called by rank 0. A late answer to an order that was given up is dropped."""
        if self.order is not None and self.order.serial == serial and self.answer is not None:
            self.order = None
            self.answer.set_result(answer)

    async def stop(self) -> None:
        async with self.changed:
            self.stopped = True
            self.changed.notify_all()
