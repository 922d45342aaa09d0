"""Invalid settings are refused in one line before anything is touched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from prefect.filesystems import LocalFileSystem
from prefect_sqlalchemy import SqlAlchemyConnector

import flows.command
from tasks import save_blocks
from tests.flows.attempts import WRONG, Try, nothing_changes
from tests.flows.support import World

# What the settings say, and what the line says of it.
SETTINGS: dict[str, tuple[Mapping[str, str], list[str]]] = {
    "unknown name": (
        {"TOTESYS_SORCE_URL": "postgresql://a@b/c"},
        ["TOTESYS_SORCE_URL", "did you mean TOTESYS_SOURCE_URL"],
    ),
    "another database's URL": (
        {"TOTESYS_SOURCE_URL": f"mysql://someone:{WRONG}@host/shop"},
        ["TOTESYS_SOURCE_URL", "postgresql://"],
    ),
    "no database in the URL": (
        {"TOTESYS_WAREHOUSE_URL": f"postgresql://someone:{WRONG}@host"},
        ["TOTESYS_WAREHOUSE_URL", "postgresql://.*/database"],
    ),
    "a port that is no number": (
        {"TOTESYS_SOURCE_URL": f"postgresql://someone:{WRONG}@host:x1/shop"},
        ["TOTESYS_SOURCE_URL", "postgresql://"],
    ),
    "a bracket that stays open": (
        {"TOTESYS_SOURCE_URL": f"postgresql://someone:{WRONG}@[::1/shop"},
        ["TOTESYS_SOURCE_URL", "postgresql://"],
    ),
    "no URL at all": ({"TOTESYS_SOURCE_URL": "the shop"}, ["TOTESYS_SOURCE_URL", "postgresql://"]),
    "another store's URI": ({"TOTESYS_RAW_URI": "gs://bucket/raw"}, ["TOTESYS_RAW_URI", "s3://"]),
    "no bucket in the URI": ({"TOTESYS_PROCESSED_URI": "s3://"}, ["TOTESYS_PROCESSED_URI", "s3://"]),
    "a setting that is empty": ({"TOTESYS_RAW_URI": ""}, ["TOTESYS_RAW_URI", "not set"]),
    "values that are none": (
        {
            "TOTESYS_READERS": "many",
            "TOTESYS_LOCK_TIMEOUT": "-1",
            "TOTESYS_MAX_REJECTED_SHARE": "50%",
            "TOTESYS_MAX_DELETED_SHARE": "2",
            "TOTESYS_SHOW_VALUES": "perhaps",
        },
        [
            "TOTESYS_READERS: write a whole number",
            "TOTESYS_LOCK_TIMEOUT: write a number of at least 1",
            "TOTESYS_MAX_REJECTED_SHARE: write a number",
            "TOTESYS_MAX_DELETED_SHARE: write a number of at most 1",
            "TOTESYS_SHOW_VALUES: write true or false",
        ],
    ),
    "two that are empty": (
        {"TOTESYS_SOURCE_URL": "", "TOTESYS_PROCESSED_URI": ""},
        ["TOTESYS_SOURCE_URL", "TOTESYS_PROCESSED_URI"],
    ),
}


@pytest.mark.parametrize("mistake", SETTINGS)
def test_settings_are_refused_before_a_block_is_saved(
    loaded: World, attempt: Try, monkeypatch: pytest.MonkeyPatch, mistake: str
) -> None:
    said, words = SETTINGS[mistake]
    world = replace(loaded, more=said)

    def saved(*_: object, **__: object) -> None:
        raise AssertionError("a block was saved")

    monkeypatch.setattr(SqlAlchemyConnector, "save", saved)
    monkeypatch.setattr(LocalFileSystem, "save", saved)
    attempt(world, save_blocks.main).fails_with(*words)


def test_a_misspelt_name_in_the_env_file_is_refused(loaded: World, attempt: Try) -> None:
    file = loaded.home / ".env"
    file.write_text("TOTESYS_SOURCE_SHEMA=public\n")
    try:
        words = ["TOTESYS_SOURCE_SHEMA", r"\.env", "TOTESYS_SOURCE_SCHEMA"]
        attempt(loaded, save_blocks.main).fails_with(*words)
    finally:
        file.unlink()


def test_settings_are_refused_before_a_run_touches_anything(loaded: World, attempt: Try) -> None:
    world = replace(loaded, more={"TOTESYS_SORCE_URL": "postgresql://a@b/c"})
    with nothing_changes(loaded):
        attempt(world, flows.command.main).fails_with("TOTESYS_SORCE_URL", "TOTESYS_SOURCE_URL")
