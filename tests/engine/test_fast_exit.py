"""A process that ends fast still waits for its threads, runs exit handlers and flushes its output."""

from __future__ import annotations

import subprocess
import sys

from demo.home import PROJECT

PROGRAM = """
import atexit, sys, threading, time
from pipeline.fast_exit import fast_exit
atexit.register(print, "exit handler")
threading.Thread(target=lambda: (time.sleep(0.2), print("thread"))).start()
sys.stdout.write("output\\n")
fast_exit(7)
"""


def test_a_fast_exit_waits_for_threads_and_runs_exit_handlers() -> None:
    completed = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (completed.returncode, completed.stderr) == (7, "")
    assert completed.stdout.splitlines() == ["output", "thread", "exit handler"]


def test_the_command_collects_garbage_once_its_modules_are_imported() -> None:
    program = "import gc, flows.__main__; assert gc.isenabled()"
    subprocess.run([sys.executable, "-c", program], cwd=PROJECT, check=True, timeout=120)
