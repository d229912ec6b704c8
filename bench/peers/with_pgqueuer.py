"""PgQueuer: one worker, batches of five hundred, drained; asyncpg, uvloop."""

import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.domain.types import QueueExecutionMode
from pgqueuer.models import Job
from pgqueuer.queries import Queries

from bench.peers.runner import Watch, run

BATCH = 500


async def prepare(url: str, jobs: int) -> None:
    """Make the schema and the jobs."""
    conn = await asyncpg.connect(url)
    queries = Queries(AsyncpgDriver(conn))
    await queries.install()
    for first in range(0, jobs, 1000):
        count = min(1000, jobs - first)
        await queries.enqueue(["noop"] * count, [b"{}"] * count, [0] * count)
    await conn.close()


async def work(url: str, jobs: int) -> dict[str, float]:
    """Work until nothing is left; ends with the last batch's end committed."""
    conn = await asyncpg.connect(url)
    queuer = PgQueuer(AsyncpgDriver(conn))
    watch = Watch(jobs)

    @queuer.entrypoint("noop")
    async def noop(job: Job) -> None:  # noqa: ARG001
        watch.tick()

    await queuer.qm.run(batch_size=BATCH, mode=QueueExecutionMode.drain)
    watch.stop()
    await conn.close()
    return watch.told()


if __name__ == "__main__":
    run(prepare, work)
