"""How manifests are written, under a digest of their own text, and how those of earlier formats are read.

Format 2 has keys of rows that went, and counts rows. Format 3 has checksums of objects, and the digest.
"""

import json
import re
from hashlib import sha256
from typing import Any

from pipeline.errors import BucketError

FORMAT = 3
_SEALED = re.compile(r'\{\n "digest": "([0-9a-f]{64})",(.+)', re.DOTALL)


def sealed(text: str) -> str:
    """A manifest's JSON, which begins a line after its brace, with the digest of it all at its head."""
    return f'{{\n "digest": "{sha256(text.encode()).hexdigest()}",{text[1:]}'


def unsealed(text: str, where: str) -> Any:  # noqa: ANN401  JSON
    """What a manifest says, in today's format; ``where`` it lies is named in errors.

    Raises ValueError where it is not what was written, BucketError where a later release wrote it.
    """
    match = _SEALED.fullmatch(text)
    body = f"{{{match[2]}" if match else text
    if match and sha256(body.encode()).hexdigest() != match[1]:
        raise ValueError("it was altered, as its digest says")
    manifest = json.loads(body)
    found = manifest.get("format") if isinstance(manifest, dict) else None
    if isinstance(found, int) and found > FORMAT:
        raise BucketError(
            f"{where} has format {found}, made by a later release than this one, which knows format {FORMAT};"
            " update the pipeline"
        )
    if found == FORMAT and not match:
        raise ValueError("it has no digest")
    if found in {1, 2} and match:
        raise ValueError(f"it has a digest, and format {found} has none")
    return _of_today(manifest, found)


def _of_today(manifest: Any, found: object) -> Any:  # noqa: ANN401  JSON
    if found == 1:
        tables = {name: _with_state(table) for name, table in manifest["tables"].items()}
        manifest = manifest | {"tables": tables}
    return manifest | {"format": FORMAT} if found in {1, 2} else manifest


def _with_state(table: dict[str, Any]) -> dict[str, Any]:
    """A table of format 1, which has no keys of rows that went."""
    runs = table.get("state")
    if runs is None and table["mode"] == "full":
        runs = [table["files"]]
    state = None if runs is None else [{"files": run} for run in runs]
    return {key: value for key, value in table.items() if key != "before"} | {"state": state}
