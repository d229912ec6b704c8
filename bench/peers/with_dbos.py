"""DBOS: workflows of one step, a hundred at once, begun and finished in one process."""

import asyncio

from dbos import DBOS, DBOSConfig

from bench.peers.runner import Watch, run

AT_ONCE = 100


def launch(url: str) -> None:
    """Start DBOS on its system database, which is made if it is not there."""
    config: DBOSConfig = {
        "name": "bench",
        "system_database_url": url,
        "log_level": "ERROR",
        "sys_db_pool_size": 20,
    }
    DBOS(config=config)
    DBOS.launch()


@DBOS.step()
async def step(number: int) -> int:
    """Do nothing, durably."""
    return number


@DBOS.workflow()
async def workflow(number: int) -> int:
    """Take the one step."""
    return await step(number)


async def prepare(url: str, jobs: int) -> None:  # noqa: ARG001
    """Make the schema; a workflow is begun by calling it."""
    launch(url)
    DBOS.destroy()


async def work(url: str, jobs: int) -> dict[str, float]:
    """Run workflows; ends with the last one's result committed."""
    launch(url)
    watch = Watch(jobs)
    rest = iter(range(jobs))

    async def one_after_another() -> None:
        for number in rest:
            await workflow(number)
            watch.tick()

    await asyncio.gather(*(one_after_another() for _ in range(AT_ONCE)))
    watch.stop()
    DBOS.destroy()
    return watch.told()


if __name__ == "__main__":
    run(prepare, work)
