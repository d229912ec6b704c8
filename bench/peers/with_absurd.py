"""Absurd: one worker, a hundred tasks at once, each of one durable step."""

import os
import subprocess
import sys
from pathlib import Path

from absurd_sdk import AsyncAbsurd, AsyncTaskContext

from bench.peers.runner import Watch, run


async def prepare(url: str, jobs: int) -> None:
    """Make the schema and the tasks."""
    subprocess.run(  # noqa: ASYNC221, S603  nothing else runs here
        [str(Path(sys.executable).parent / "absurdctl"), "init"],
        env={**os.environ, "ABSURD_DATABASE_URL": url},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    app = AsyncAbsurd(url)
    await app.create_queue()

    @app.register_task("noop")
    async def noop(params: object, ctx: AsyncTaskContext) -> None:
        """Be known by name."""

    for number in range(jobs):
        await app.spawn("noop", {"number": number})
    await app.close()


async def work(url: str, jobs: int) -> dict[str, float]:
    """Work until the last task is done; ends with its end committed."""
    app = AsyncAbsurd(url)
    watch = Watch(jobs)

    async def nothing() -> bool:
        return True

    @app.register_task("noop")
    async def noop(params: object, ctx: AsyncTaskContext) -> None:  # noqa: ARG001
        await ctx.step("nothing", nothing)
        watch.tick()
        if watch.done == jobs:
            app.stop_worker()

    await app.start_worker(concurrency=100)
    watch.stop()
    await app.close()
    return watch.told()


if __name__ == "__main__":
    run(prepare, work)
