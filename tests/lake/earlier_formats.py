"""Manifests in the formats of earlier releases."""

from __future__ import annotations

from typing import Any


def as_format_2(manifest: dict[str, Any]) -> dict[str, Any]:
    """A manifest's JSON with the field names of format 2, which has no digest either."""
    chunks = [{"part": each["chunk"], "files": each["files"]} for each in manifest["chunks"]]
    tables = {
        name: {"gone" if field == "deleted" else field: value for field, value in table.items()}
        for name, table in manifest["tables"].items()
    }
    rest = {field: value for field, value in manifest.items() if field not in {"chunks", "digest"}}
    return rest | {"format": 2, "landed": chunks, "tables": tables}
