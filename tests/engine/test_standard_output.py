"""A command ends its work whatever becomes of its output."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("package", ["tasks", "flows", "dashboard"])
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_what_nobody_reads_is_dropped(package: str, stream: str, tmp_path: Path) -> None:
    end = tmp_path / "end"
    code = (
        f"import sys, {package}\nprint('a' * 100_000, file=sys.{stream}, flush=True)\nopen({str(end)!r}, 'w')"
    )
    unread, written = os.pipe()
    os.close(unread)
    outputs = [written if stream == name else subprocess.PIPE for name in ("stdout", "stderr")]
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, cwd=ROOT, stdout=outputs[0], stderr=outputs[1]
    )
    os.close(written)
    assert (done.returncode, done.stdout or b"", done.stderr or b"") == (0, b"", b"")
    assert end.exists()


def test_what_is_read_is_as_it_was_printed() -> None:
    code = "import sys, tasks; print('ä…'); print('line', file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT, capture_output=True)
    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, "ä…\n", b"line\n")


@pytest.mark.parametrize("package", ["tasks", "flows", "dashboard"])
def test_a_character_that_the_encoding_lacks_is_escaped(package: str) -> None:
    code = f"import sys, {package}; print('ä…'); print('ä…', file=sys.stderr)"
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, cwd=ROOT, capture_output=True, env=environment
    )
    assert (done.returncode, done.stdout) == (0, "ä\\u2026\n".encode("latin-1"))


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_an_unbuffered_line_arrives_before_the_next_step(stream: str) -> None:
    code = f"import sys, tasks; print('step', file=sys.{stream}); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:  # fmt: skip
        output = process.stdout if stream == "stdout" else process.stderr
        assert output is not None
        ready, _, _ = select.select([output], [], [], 60)
        assert ready, "the line waits for the end of the command"
        assert output.readline() == b"step\n"
        process.communicate(b"")


def test_a_closed_output_is_left_alone() -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f"exec {sys.executable} -c 'import tasks; print(1)' >&-"],
        check=False, cwd=ROOT, capture_output=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
