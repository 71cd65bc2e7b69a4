"""How trainings are handed to a group of workers."""

import asyncio

from raypipe.cluster.worker_group import RETRIES, Desk


def test_all_workers_get_each_training_and_its_end_is_that_of_the_last():
    async def trainings():
        desk = Desk(2, idle=60)
        waiting = asyncio.create_task(desk.next(0))
        assert await desk.post(["first"]) == 1
        assert await waiting == await desk.next(0) == (1, ["first"])
        outcome = asyncio.create_task(desk.outcome())
        await desk.finish("start", 0)
        await asyncio.sleep(0)
        assert not outcome.done(), "the other worker still trains"
        await desk.finish("start", 1)
        assert await outcome is None
        assert await desk.post(["second"]) == 2
        assert await desk.next(1) == (2, ["second"])

    asyncio.run(trainings())


def test_after_a_loss_every_worker_gets_the_training_again_and_must_finish_it_again():
    async def trainings():
        desk = Desk(2, idle=60)
        await desk.post(["body"])
        await desk.finish("first start", 0)
        await desk.fail(["worker 1 was lost"])
        assert await desk.next(0) == (1, ["body"])
        outcome = asyncio.create_task(desk.outcome())
        await desk.finish("second start", 1)
        await asyncio.sleep(0)
        assert not outcome.done(), "what worker 0 did before the loss does not count"
        await desk.finish("second start", 0)
        assert await outcome is None

    asyncio.run(trainings())


def test_after_too_many_losses_the_training_fails_and_the_next_one_can_start():
    async def trainings():
        desk = Desk(1, idle=60)
        await desk.post(["body"])
        for loss in range(RETRIES + 1):
            await desk.fail([f"loss {loss}"])
        assert await desk.outcome() == f"loss {RETRIES}"
        assert await desk.post(["next"]) == 2
        assert await desk.next(0) == (2, ["next"])
        await desk.finish("start", 0)
        assert await desk.outcome() is None

    asyncio.run(trainings())


def test_workers_end_when_they_have_waited_long_enough_but_not_beside_a_training():
    async def trainings():
        desk = Desk(2, idle=0.05)
        await desk.post(["body"])
        ahead = asyncio.create_task(desk.next(1))
        await asyncio.sleep(0.2)
        assert not ahead.done(), "worker 0 waits, because worker 1 still trains"
        for rank in range(2):
            await desk.finish("start", rank)
        assert await ahead is None
        assert await desk.next(1) is None
        assert await desk.post(["late"]) is None, "another group must be started"

    asyncio.run(trainings())
