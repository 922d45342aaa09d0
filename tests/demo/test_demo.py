"""The demo as a user runs it: its report is correct, it can be interrupted, no process keeps running."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from demo.home import IN_USE, PROJECT, Home, InUse
from demo.interrupts import STOPPED

ROOT = PROJECT
ORDERS = 300


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder for demos that every user may enter, unlike pytest's own under root."""
    made = Path(tempfile.mkdtemp(prefix="demo-test-"))
    made.chmod(0o755)
    yield made / "demo"
    shutil.rmtree(made)


@contextmanager
def ctrl_c_not_ignored() -> Iterator[None]:
    """Let processes started meanwhile be interrupted, as not those of a shell's background jobs."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Demo:
    """A demo in a process group of its own, under settings that would break it if it took them."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.mark = uuid.uuid4().hex
        hostile = {"PREFECT_API_URL": "http://127.0.0.1:9/api", "TOTESYS_WRONG": "1", "PGHOST": "nowhere"}
        inherited = {name: value for name, value in os.environ.items() if name != "HOME"}
        with ctrl_c_not_ignored():
            self.process = subprocess.Popen(
                [sys.executable, "-m", "demo", "--folder", folder, *arguments],
                cwd=ROOT,
                env=inherited | hostile | {"DEMO_TEST": self.mark},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )

    def read_until(self, words: str) -> str:
        assert self.process.stdout
        said = ""
        while words not in said:
            sign = self.process.stdout.read(1)
            assert sign, said
            said += sign
        return said

    def say(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def answer(self, query: str) -> str:
        """What psql answers while it stays open."""
        self.say(query)
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def press_ctrl_c(self) -> None:
        os.killpg(self.process.pid, signal.SIGINT)

    def end(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=120)
        return self.process.returncode, out, err

    @property
    def left(self) -> list[str]:
        """Command lines of processes that it started and that still run after a moment to die in."""
        deadline = time.monotonic() + 10
        while (found := self._running) and time.monotonic() < deadline:
            time.sleep(0.05)
        return found

    @property
    def _running(self) -> list[str]:
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if self.mark.encode() in (process / "environ").read_bytes():
                    found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
        return found


def numbers(story: str, what: str) -> list[int]:
    """The numbers in the line of the story that says this."""
    line = next(line for line in story.splitlines() if what in line)
    return [
        int(number.replace(",", "")) for number in re.findall(r"(?<!\S)[\d,]+(?!\S)", line.split(what)[1])
    ]


@pytest.mark.parametrize(
    "moment", ["Start Postgres", "Start Prefect", pytest.param("First run", marks=pytest.mark.campaign)]
)
def test_ctrl_c_leaves_nothing_behind(folder: Path, moment: str) -> None:
    demo = Demo(folder, "--orders", str(ORDERS))
    demo.read_until(moment)
    demo.press_ctrl_c()
    status, out, err = demo.end()
    assert (status, out.strip(), err) == (130, STOPPED, "")
    assert demo.left == []


def test_an_interrupted_demo_is_completed_and_its_report_is_correct(folder: Path) -> None:
    demo = Demo(folder)
    status, story, err = demo.end()
    assert (status, err) == (0, "")
    assert demo.left == []

    assert f"kept from before: {ORDERS:,}" in story or f"kept from before: {ORDERS + 1:,}" in story
    assert numbers(story, "9 silent edits: last_updated stays as it was") == [9, 0, 9]
    assert numbers(story, "a sale from before the first run commits late") == [3, 0, 3]
    assert numbers(story, "an order and its payment are deleted") == [2, 0, 2]
    rows, seen, recorded = numbers(story, "total")
    assert recorded == rows > seen
    assert re.search(r"^  fact_sales_order .* 4 changed, 1 deleted$", story, re.MULTILINE)
    assert re.search(r"^  agreed_delivery_date .*<- edited$", story, re.MULTILINE)
    assert max(map(len, story.splitlines())) <= 110

    as_of = story.split("before the second run\n")[1].split('"')[1]
    asked = subprocess.run(
        [sys.executable, "-m", "demo", "--folder", folder, "psql", "-At", "-c", as_of],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    edited = re.search(r"agreed_delivery_date +(\S+)", story)
    assert edited
    assert len(asked.stdout.splitlines()) == 2, "the deleted order was there at that time"
    assert f"|{edited[1]}\n" in asked.stdout

    assert f"-m demo --folder {folder} status\n" in story
    status, said, err = Demo(folder, "status").end()
    assert (status, err) == (0, "")
    assert said.startswith("OK: the warehouse is as of ")
    # The command starts the stopped server, and the last batch found deleted rows.
    pending = re.search(
        r"^Pending in the source: .*; all of (.*) \((.*)\); (.*); nothing new in", said, re.MULTILINE
    )
    assert pending, said
    assert set(pending[1].split(", ")) >= {"payment", "sales_order"}
    assert pending[2] == "its server was restarted, and rows that were deleted before may be back"
    assert pending[3] == "rows of the last batch are read again, as the source's server was restarted"
    assert re.search(r"^  raw +\d+ +[\d.]+ (kB|MB)$", said, re.MULTILINE)


def test_the_server_runs_as_long_as_a_command_uses_it(folder: Path) -> None:
    """The demo is that of the test before."""
    first = Demo(folder, "psql", "-At")
    assert first.answer("SELECT 1;") == "1"
    second = Demo(folder, "psql", "-At")
    assert second.answer("SELECT 2;") == "2"
    first.say("\\q")
    assert first.process.stderr
    assert first.process.stderr.readline() == f"{IN_USE}\n"
    assert second.answer("SELECT 3;") == "3"
    assert second.end() == (0, "", "")
    assert first.end() == (0, "", "")
    assert (first.left, second.left) == ([], [])


@pytest.mark.campaign
def test_the_live_demo_runs_until_ctrl_c(folder: Path) -> None:
    demo = Demo(folder, "--every", "5", "live")
    said = demo.read_until("Completed: ") + demo.read_until(" new row")
    demo.press_ctrl_c()
    status, _, err = demo.end()
    assert (status, err) == (0, "")
    assert demo.left == []
    assert re.search(r"^Open http://127\.0\.0\.1:\d+/deployments ", said, re.MULTILINE)
    assert numbers(said, "Completed: ")[0] > 0


def test_an_error_is_one_line_that_names_the_log(folder: Path) -> None:
    shutil.rmtree(folder / "postgres", ignore_errors=True)
    (folder / "postgres").write_text("in the way")
    status, _, err = Demo(folder).end()
    assert status == 1
    assert len(err.splitlines()) == 1
    assert "demo.log" in err
    assert "--fresh" in err


def test_a_folder_in_use_is_refused(folder: Path) -> None:
    with Home(folder).locked():
        with pytest.raises(InUse), Home(folder).locked():
            pass
        status, out, err = Demo(folder).end()
    assert (status, out) == (1, "")
    assert err == f"error: {folder} is in use by another demo: let it end first\n"


def test_an_interrupted_removal_is_completed(tmp_path: Path) -> None:
    (tmp_path / "raw" / "payment").mkdir(parents=True)
    (tmp_path / "lock").touch()
    (tmp_path / "removing").touch()
    Home(tmp_path).finish_removal()
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


@pytest.mark.parametrize("look", ["psql", "status"])
def test_opening_without_a_demo_says_what_to_do(tmp_path: Path, look: str) -> None:
    status, out, err = Demo(tmp_path / "none", look).end()
    assert (status, out) == (1, "")
    assert err.endswith("run make demo first\n")
