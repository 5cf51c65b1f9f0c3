"""`sweeps.execution.mailbox` without Ray: every order gets exactly one answer, even if workers die."""

import asyncio

import pytest

from sweeps.execution.mailbox import STOP, Answer, Check, Mailbox, Order


def order(serial, trial=0, epoch=1):
    return Order(serial, trial, {"lr": 0.1}, epoch)


def run(scenario):
    """Run a coroutine, and fail if it hangs."""
    return asyncio.run(asyncio.wait_for(scenario, timeout=20))


async def settle():
    """Let every task run until it waits for something."""
    for _ in range(20):
        await asyncio.sleep(0)


def test_an_order_reaches_the_worker_and_its_answer_reaches_the_slot():
    async def scenario():
        box = Mailbox(retries=2)
        asked = asyncio.create_task(box.ask(order(1)))
        taken = await box.take(0)
        assert taken == order(1)
        await settle()
        assert not asked.done()
        await box.reply(1, Answer(result="done"))
        assert await asked == Answer(result="done")

    run(scenario())


def test_a_worker_may_ask_before_there_is_an_order():
    async def scenario():
        box = Mailbox(retries=2)
        await box.join()
        waiting = asyncio.create_task(box.take(0))
        await settle()
        assert not waiting.done()
        asked = asyncio.create_task(box.ask(order(1)))
        assert await waiting == order(1)
        await box.reply(1, Answer(result="done"))
        await asked

    run(scenario())


def test_a_worker_gets_each_order_once_and_in_order():
    async def scenario():
        box, served = Mailbox(retries=2), []

        async def worker():
            done = 0
            while (one := await box.take(done)) != STOP:
                done = one.serial
                served.append(one)
                await box.reply(one.serial, {"epoch": one.epoch})

        serving = asyncio.create_task(worker())
        answers = [await box.ask(order(serial, trial=serial // 2, epoch=serial)) for serial in range(1, 7)]
        await box.stop()
        await serving
        assert served == [order(serial, trial=serial // 2, epoch=serial) for serial in range(1, 7)]
        assert answers == [{"epoch": serial} for serial in range(1, 7)]

    run(scenario())


def test_all_ranks_get_the_same_orders():
    async def scenario():
        box, seen = Mailbox(retries=2), {0: [], 1: [], 2: []}

        async def worker(rank):
            if rank == 0:
                await box.join()
            done = 0
            while (one := await box.take(done)) != STOP:
                done = one.serial
                seen[rank].append(one)
                if seen[0] == seen[1] == seen[2]:  # answer when all ranks have the order, as after a collective
                    await box.reply(one.serial, {})

        workers = [asyncio.create_task(worker(rank)) for rank in seen]
        for serial in range(1, 5):
            await box.ask(order(serial, epoch=serial))
        await box.stop()
        await asyncio.gather(*workers)
        assert seen[0] == seen[1] == seen[2] == [order(serial, epoch=serial) for serial in range(1, 5)]

    run(scenario())


def test_a_group_that_replaces_a_lost_one_gets_its_order():
    async def scenario():
        box = Mailbox(retries=2)
        asked = asyncio.create_task(box.ask(order(1)))
        assert await box.take(0) == order(1)  # then this group dies
        for _ in range(2):
            await box.join()
            assert await box.take(0) == order(1)
        await box.reply(1, Answer(result="done"))
        assert await asked == Answer(result="done")

    run(scenario())


@pytest.mark.parametrize("retries", [0, 1, 2])
def test_an_order_that_loses_more_groups_than_allowed_is_answered_with_an_error(retries):
    async def scenario():
        box = Mailbox(retries)
        asked = asyncio.create_task(box.ask(order(1, epoch=7)))
        await settle()
        for _ in range(retries):
            await box.take(0)
            await box.join()
            await settle()
            assert not asked.done()
        await box.take(0)
        await box.join()
        answer = await asked
        assert answer == Answer(error=f"its workers died {retries + 1} times in epoch 7", temporary=True)
        # The last group serves the next trial, whose count of lost groups starts at 0.
        following = asyncio.create_task(box.ask(order(2, trial=1)))
        assert await box.take(0) == order(2, trial=1)
        await box.reply(2, Answer(result="fine"))
        assert await following == Answer(result="fine")
        assert box.groups_lost == 0

    run(scenario())


def test_lost_groups_are_counted_per_epoch():
    async def scenario():
        box = Mailbox(retries=1)
        for serial in range(1, 4):
            asked = asyncio.create_task(box.ask(order(serial, epoch=serial)))
            await box.take(serial - 1)
            await box.join()  # one group lost in every epoch
            await box.take(0)
            await box.reply(serial, {"epoch": serial})
            assert await asked == {"epoch": serial}

    run(scenario())


def test_a_group_that_never_took_the_order_is_not_counted():
    """A group that is replaced while it is idle does not count against the trial: even with 0 retries it succeeds."""

    async def scenario():
        box = Mailbox(retries=0)
        await box.join()
        await box.join()
        asked = asyncio.create_task(box.ask(order(1)))
        await settle()
        await box.join()
        assert await box.take(0) == order(1)
        await box.reply(1, Answer(result="done"))
        assert await asked == Answer(result="done")
        await box.join()

    run(scenario())


def test_a_late_or_second_reply_is_dropped():
    async def scenario():
        box = Mailbox(retries=0)
        first = asyncio.create_task(box.ask(order(1)))
        await box.take(0)
        await box.join()  # the order is given up
        assert (await first).error is not None
        await box.reply(1, Answer(result="late"))
        second = asyncio.create_task(box.ask(order(2, trial=1)))
        await box.take(1)
        await box.reply(1, Answer(result="very late"))
        await settle()
        assert not second.done()
        await box.reply(2, Answer(result="right"))
        await box.reply(2, Answer(result="again"))
        assert await second == Answer(result="right")

    run(scenario())


def test_stop_releases_workers_that_wait_and_workers_that_come_later():
    async def scenario():
        box = Mailbox(retries=2)
        waiting = [asyncio.create_task(box.take(done)) for done in (0, 0, 5)]
        await settle()
        await box.stop()
        assert await asyncio.gather(*waiting) == [STOP] * 3
        assert await box.take(0) == STOP

    run(scenario())


def test_an_answer_survives_ray_tune_which_adds_to_it_and_knows_no_classes():
    for answer in (Answer(result="{}"), Answer(error="diverged", seconds=1.5), Answer(fatal="gone", temporary=True)):
        assert Answer.from_dict({**answer.as_dict(), "training_iteration": 3, "done": False}) == answer


def test_two_callers_of_the_same_order_get_the_same_answer_and_it_is_done_once():
    """The sweep asks when it proposes a trial, and the trial's slot asks again, at any moment."""

    async def scenario():
        box = Mailbox(retries=2)
        first = asyncio.create_task(box.ask(order(0)))
        assert await box.take(0) == order(1)
        second = asyncio.create_task(box.ask(order(0)))
        waiting = asyncio.create_task(box.take(1))
        await settle()
        assert not waiting.done()
        first.cancel()  # one caller may die
        await settle()
        await box.reply(1, Answer(result="done"))
        assert await second == Answer(result="done")
        assert await box.ask(order(0)) == Answer(result="done")
        await settle()
        assert not waiting.done()
        following = asyncio.create_task(box.ask(order(0, epoch=2)))
        assert await waiting == order(2, epoch=2)
        await box.reply(2, Answer(result="more"))
        assert await following == Answer(result="more")

    run(scenario())


def test_an_order_replaces_one_whose_caller_has_died():
    async def scenario():
        box = Mailbox(retries=0)
        abandoned = asyncio.create_task(box.ask(order(0, trial=3)))
        assert (await box.take(0)).trial == 3
        abandoned.cancel()
        asked = asyncio.create_task(box.ask(order(0, trial=4)))
        await settle()
        await box.reply(1, Answer(result="of trial 3"))
        assert (await box.take(1)).trial == 4
        assert not asked.done()
        await box.reply(2, Answer(result="of trial 4"))
        assert await asked == Answer(result="of trial 4")

    run(scenario())


def test_a_check_that_kills_its_workers_is_answered_with_an_error():
    async def scenario():
        box = Mailbox(retries=1)
        asked = asyncio.create_task(box.ask(Check(0, {"name": "a"})))
        for _ in range(2):
            assert await box.take(0) == Check(1, {"name": "a"})
            await box.join()
        assert await asked == Answer(error="its workers died 2 times while they built the models", temporary=True)

    run(scenario())


def test_once_the_workers_are_given_up_every_order_is_answered():
    async def scenario():
        box, lost = Mailbox(retries=2), Answer(fatal="the workers cannot be kept running", temporary=True)
        waiting = asyncio.create_task(box.ask(order(0)))
        await settle()
        await box.give_up(lost)
        assert await waiting == lost
        assert await box.ask(order(0, epoch=2)) == lost

    run(scenario())
