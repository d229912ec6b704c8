"""scripts/check_rooms.py finds what is in the wrong room, and nothing else."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "scripts" / "check_rooms.py"


def check(project: Path, place: str, source: str) -> tuple[int, str]:
    module = project / "clento_engine" / place
    module.parent.mkdir(parents=True)
    module.write_text(source)
    done = subprocess.run(
        [sys.executable, SCRIPT, project], capture_output=True, text=True, check=False
    )
    assert not done.stderr
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("place", "source", "told"),
    [
        ("runtime/x.py", "import psycopg", "1: import of psycopg: only store/"),
        ("interface/x.py", "from psycopg.rows import dict_row", "1: import of psycopg.rows.dict_r"),
        ("runtime/x.py", "from sqlalchemy import text", "1: import of sqlalchemy.text: only"),
        ("runtime/x.py", "a = 1\nq = 'select id from leads'", "2: SQL (select id from leads …)"),
        ("runtime/x.py", 'q = "SELECT id\\nFROM leads"', "1: SQL"),
        ("domain/x.py", 'q = f"insert into {1} values (2)"', "1: SQL (insert into x values (2)"),
        ("runtime/x.py", "q = 'update leads set a = 1'", "1: SQL"),
        ("runtime/x.py", "q = 'update leads l set a = 1'", "1: SQL"),
        ("runtime/x.py", "q = ' delete from leads'", "1: SQL"),
        ("runtime/x.py", "q = 'with a as (select 1) table a'", "1: SQL"),
        ("runtime/x.py", "q = 'create unique index a on b (c)'", "1: SQL"),
        ("runtime/x.py", "q = ('select 1 '\n 'from leads')", "1: SQL"),
        ("runtime/x.py", "def f():\n    import httpx", "2: import of httpx: only provider/"),
        ("domain/x.py", "from urllib.request import urlopen", "1: import of urllib.request.url"),
        ("domain/x.py", "from urllib import request", "1: import of urllib.request"),
        ("store/x.py", "import urllib.request", "1: import of urllib.request"),
        ("store/x.py", "import aiohttp as a", "1: import of aiohttp"),
        ("store/x.py", "import datetime\na = datetime.datetime.now()", "2: use of datetime.datet"),
        ("store/x.py", "from datetime import datetime as d\nd.now()", "2: use of datetime.datetim"),
        ("domain/x.py", "from datetime import date\nf = date.today", "2: use of datetime.date.tod"),
        ("store/x.py", "e = 'run `clento db upgrade`'", "1: a command (`clento ): carry"),
        ("runtime/x.py", "e = 'pass --skip-unready'", "1: a command (--skip-unready): carry"),
        ("runtime/x.py", "import time\ntime.time_ns()", "2: use of time.time_ns: take `now`"),
        ("runtime/x.py", "from time import time\ntime()", "2: use of time.time: take `now`"),
    ],
)
def test_what_is_in_the_wrong_room_is_told_with_its_place(
    tmp_path: Path, place: str, source: str, told: str
) -> None:
    status, said = check(tmp_path, place, source)
    assert status == 1
    assert said.startswith(f"clento_engine/{place}:{told}")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("place", "source"),
    [
        ("store/x.py", "import psycopg\nq = 'select id from leads'"),
        ("migrations/x.py", "import sqlalchemy\nq = 'create table a ()'"),
        ("provider/transport.py", "import httpx, aiohttp"),
        ("runtime/outbox.py", "import httpx"),
        ("runtime/clock.py", "from datetime import datetime\ndatetime.now()"),
        ("runtime/x.py", "import time\ntime.monotonic()\ntime.perf_counter()"),
        ("runtime/x.py", "from urllib.parse import urlsplit\nfrom http import HTTPStatus"),
        ("interface/x.py", '"""select what is due from the lanes"""'),
        ("interface/x.py", "help = 'Select the leads from a list'"),
        ("interface/x.py", "help = 'Update the leads set aside', 'with the leads as they are'"),
        ("interface/x.py", "datetime = object()\ndatetime.now()"),
    ],
)
def test_what_is_in_its_room_passes(tmp_path: Path, place: str, source: str) -> None:
    assert check(tmp_path, place, source) == (0, "")
