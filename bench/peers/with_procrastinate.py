"""Procrastinate: one worker, a hundred jobs at once, in its own database schema."""

from procrastinate import App, PsycopgConnector

from bench.peers.runner import Watch, run

BATCH = 1000


def app_at(url: str) -> App:
    """Return the app with its one task."""
    app = App(connector=PsycopgConnector(conninfo=url, min_size=4, max_size=20))

    @app.task(name="noop")
    async def noop(number: int) -> None:  # noqa: ARG001
        watch.tick()

    return app


watch: Watch


async def prepare(url: str, jobs: int) -> None:
    """Make the schema and the jobs."""
    app = app_at(url)
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        for first in range(0, jobs, BATCH):
            numbers = range(first, min(first + BATCH, jobs))
            await app.tasks["noop"].batch_defer_async(*({"number": n} for n in numbers))


async def work(url: str, jobs: int) -> dict[str, float]:
    """Work until nothing is left; ends with the last job's end committed."""
    global watch  # noqa: PLW0603  the task is found by name and takes only its arguments
    app = app_at(url)
    async with app.open_async():
        watch = Watch(jobs)
        await app.run_worker_async(wait=False, concurrency=100, install_signal_handlers=False)
        watch.stop()
    return watch.told()


if __name__ == "__main__":
    run(prepare, work)
