"""A bench that is told to end leaves nothing behind."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.server import stat_of
from bench.worker import PROJECT


def test_sigterm_ends_a_bench_with_its_server_and_whoever_is_measured() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # short: a socket lies below it
        command = [sys.executable, "-u", "-m", "bench", "core", "--leads", "200000"]
        with subprocess.Popen(
            command, cwd=PROJECT, env={**os.environ, "TMPDIR": folder}, stderr=subprocess.PIPE
        ) as bench:
            postmaster = _postmaster(Path(folder), bench)
            bench.send_signal(signal.SIGTERM)
            assert bench.wait(60) == 128 + signal.SIGTERM
        assert stat_of(postmaster)[:1] in ([], ["Z"])  # gone, or dead and not collected yet
        assert list(Path(folder).glob("clento-*")) == []


def _postmaster(folder: Path, bench: "subprocess.Popen[bytes]") -> int:
    """Wait until the server that the bench starts takes connections; its process id."""
    while bench.poll() is None:
        for file in folder.glob("clento-*/postgresql/postmaster.pid"):
            lines = file.read_text().splitlines()
            if lines and lines[-1].strip() == "ready":
                return int(lines[0])
    raise AssertionError(f"the bench ended with {bench.returncode}")
