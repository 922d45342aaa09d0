"""Write manifests with a digest of their text, and upgrade manifests of earlier formats on reading.

Format 2 adds the keys of deleted rows, and row counts. Format 3 adds checksums of objects and the digest,
and renames two fields: ``landed`` to ``chunks`` and ``gone`` to ``deleted``. Manifests without the main
schema of the source, as earlier releases wrote, have the names of tables as they are, not as
pipeline.source.table_names spells them.
"""

import json
import re
from hashlib import sha256
from typing import Any

from pipeline.errors import BucketError
from pipeline.source.table_names import spelled

FORMAT = 3
_WITH_DIGEST = re.compile(r'\{\n "digest": "([0-9a-f]{64})",(.+)', re.DOTALL)


def with_digest(text: str) -> str:
    """The text of a manifest with its digest as the first field; ``text`` is JSON with one field per line."""
    return f'{{\n "digest": "{sha256(text.encode()).hexdigest()}",{text[1:]}'


def parse(text: str, path: str) -> Any:  # noqa: ANN401  JSON
    """The JSON of a manifest in the present format; ``path`` names it in errors.

    Raises ValueError where the text differs from what was written, BucketError where a later release wrote
    it.
    """
    match = _WITH_DIGEST.fullmatch(text)
    body = f"{{{match[2]}" if match else text
    if match and sha256(body.encode()).hexdigest() != match[1]:
        raise ValueError("it was altered, as its digest says")
    manifest = json.loads(body)
    format_ = manifest.get("format") if isinstance(manifest, dict) else None
    if isinstance(format_, int) and format_ > FORMAT:
        raise BucketError(
            f"{path} has format {format_}, made by a later release; this one knows up to format {FORMAT};"
            " update the pipeline"
        )
    if format_ == FORMAT and not match:
        raise ValueError("it has no digest")
    if format_ in {1, 2} and match:
        raise ValueError(f"it has a digest, and format {format_} has none")
    upgraded = _upgraded(manifest, format_)
    is_earlier = isinstance(upgraded, dict) and "source_schema" not in upgraded
    return _with_spelled_names(upgraded) if is_earlier else upgraded


def _with_spelled_names(manifest: dict[str, Any]) -> dict[str, Any]:
    """A manifest of an earlier release, whose tables are all of the main schema."""
    tables = manifest.get("tables")
    if not isinstance(tables, dict) or all(spelled(name) == name for name in tables):
        return manifest
    for each in [*tables.values(), *(read["chunk"] for read in manifest["chunks"])]:
        each["table"] = spelled(each["table"])
    proof = manifest.get("continuity") or {}
    for witness in proof.get("witnesses", ()):
        witness["table"] = spelled(witness["table"])
    proof["unproven"] = [spelled(name) for name in proof.get("unproven", ())]
    return manifest | {"tables": {spelled(name): each for name, each in tables.items()}}


def _upgraded(manifest: Any, format_: object) -> Any:  # noqa: ANN401  JSON
    if format_ not in {1, 2}:
        return manifest
    upgrade = _table_of_format_1 if format_ == 1 else _table_of_format_2
    tables = {name: upgrade(table) for name, table in manifest["tables"].items()}
    chunks = [{"chunk": each["part"], "files": each["files"]} for each in manifest["landed"]]
    rest = {key: value for key, value in manifest.items() if key != "landed"}
    return rest | {"format": FORMAT, "chunks": chunks, "tables": tables}


def _table_of_format_1(table: dict[str, Any]) -> dict[str, Any]:
    """A table of format 1, whose state is lists of files, and which has no keys of deleted rows."""
    files = table.get("state")
    if files is None and table["mode"] == "full":
        files = [table["files"]]
    state = None if files is None else [{"files": each} for each in files]
    return {key: value for key, value in table.items() if key != "before"} | {"state": state}


def _table_of_format_2(table: dict[str, Any]) -> dict[str, Any]:
    """A table of format 2; the deltas of its state read ``gone`` themselves."""
    return {"deleted" if key == "gone" else key: value for key, value in table.items()}
