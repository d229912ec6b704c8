"""The event loop that our processes run on."""

import asyncio
import gc

# Objects that came and stayed, looks at those, and looks at the ones that stayed then, before
# Python looks for cycles.  At its own pace (700, 10, 10), made for small programs, that takes a
# sixth of a ticker's CPU and finds nothing: what a step makes is freed by its last reference.
SELDOM = (50_000, 20, 50)


def new_runner() -> asyncio.Runner:
    """Return a runner on uvloop, where there is one, in a process that seldom looks for cycles."""
    gc.set_threshold(*SELDOM)
    try:
        import uvloop  # noqa: PLC0415 - not there on Windows
    except ImportError:
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)
