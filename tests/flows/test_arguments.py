"""Mistakes among the arguments of commands: one line each, and nothing is run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flows import command
from pipeline.errors import SettingsError
from tasks import save_automations, trial
from tasks.arguments import written_to

MISTAKES: dict[str, tuple[Callable[[], int], str, str]] = {
    "a negative limit": (command.main, "--max-rejected=-1", "'-1' is not a whole number of at least 0"),
    "text": (command.main, "--max-rejected=few", "'few' is not a whole number of at least 0"),
    "a share over 1": (command.main, "--max-deleted-share=2", "'2' is not a number from 0 to 1"),
    "no number": (command.main, "--max-deleted-share=nan", "'nan' is not a number from 0 to 1"),
    "a time without zone": (command.main, "--rebuild --until=2026-11-20", "is not a time with its zone"),
    "a word": (command.main, "--rebuild --until=yesterday", "write it like 2026-11-20T12:00:00Z"),
    "a run with a moment": (
        command.main,
        "--until=2026-11-20T12:00:00Z",
        "argument --until: only goes with --rebuild",
    ),
    "a run that removes": (command.main, "--yes", "argument --yes: only goes with --retain"),
    "a full rebuild": (command.main, "--rebuild --full", "argument --full: does not go with --rebuild"),
    "two commands": (command.main, "--retain=9d --rebuild", "argument --rebuild: does not go with --retain"),
    "an unknown option": (command.main, "--bogus", "unrecognized arguments: --bogus"),
    "no model": (trial.main, "", "the following arguments are required: model"),
    "rows below 0": (trial.main, "--rows=-1 x.sql", "'-1' is not a whole number of at least 0"),
    "minutes without end": (save_automations.main, "--max-age=1e300", "is not a number from 0 to 1000000"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main, given, words = MISTAKES[name]
    monkeypatch.setattr(sys, "argv", ["command", *given.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert words in line


def test_what_cannot_be_written_is_named_with_its_option(tmp_path: Path) -> None:
    page = tmp_path / "missing" / "page.html"
    mistake = f"^--file: {page} cannot be written: No such file or directory; name another$"
    with pytest.raises(SettingsError, match=mistake), written_to("--file", page):
        page.write_text("")
