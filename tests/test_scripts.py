"""What is handed to systemd and cron is accepted by them."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parent.parent / "scripts"
UNITS = sorted([*SCRIPTS.glob("*.service"), *SCRIPTS.glob("*.timer")])


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not here")
def test_systemd_finds_no_fault_with_the_units(tmp_path: Path) -> None:
    for unit in UNITS:
        # The program need not be installed where the tests run.
        text = unit.read_text().replace("/usr/local/bin/clento", "/bin/true")
        (tmp_path / unit.name).write_text(text)
    for unit in UNITS:
        verified = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit.name],
            cwd=tmp_path,
            env={"SYSTEMD_UNIT_PATH": f"{tmp_path}:", "PATH": "/usr/bin:/bin", "LC_ALL": "C"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")


def test_the_units_start_the_daemon_and_the_tick() -> None:
    started = [
        line.removeprefix("ExecStart=")
        for unit in UNITS
        for line in unit.read_text().splitlines()
        if line.startswith("ExecStart=")
    ]
    assert started == ["/usr/local/bin/clento run", "/usr/local/bin/clento tick --budget 50s"]


def test_the_crontab_has_one_job_each_minute() -> None:
    lines = (SCRIPTS / "clento.crontab").read_text().splitlines()
    jobs = [line for line in lines if line[:1] in {"*", *"0123456789"}]
    assert [job.split()[:6] for job in jobs] == [["*"] * 5 + ["clento"]]
    assert not re.search(r"(?<!\\)%", jobs[0])  # cron takes a bare % for the end of the command
