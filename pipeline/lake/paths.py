"""Paths in a bucket: where objects lie, and patterns that keep every path inside the bucket."""

import re
from typing import Annotated
from urllib.parse import quote

from pydantic import StringConstraints

from pipeline.source.table_names import parts

# No segment starts with a dot, so none is "..".
_SEGMENT = r"[A-Za-z0-9_~%= -][A-Za-z0-9_.~%= -]*"
_PATH = rf"^{_SEGMENT}(?:/{_SEGMENT})*$"
_UNFINISHED = rf"^(?:{_SEGMENT}/)*\.{_SEGMENT}$"
# Not those in an escape.
_CAPITAL = re.compile(r"(?<!%)(?<!%.)[A-Z]")
_MANIFEST = r"^_(?:manifests|resumed)/after=[0-9A-Za-z-]+/[0-9A-Za-z-]+\.json$"

ObjectPath = Annotated[str, StringConstraints(pattern=_PATH)]
BatchId = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z]+(?:-[0-9A-Za-z]+)*$")]
Checksum = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


def is_path(path: str) -> bool:
    """Whether a path stays below the root of a bucket."""
    return re.fullmatch(_PATH, path) is not None


def is_unfinished(path: str) -> bool:
    """Whether a path below the root of a bucket is that of a file which a killed run may have left there."""
    return re.fullmatch(_UNFINISHED, path) is not None


def is_manifest(path: str) -> bool:
    """Whether a path is that of a manifest."""
    return re.fullmatch(_MANIFEST, path) is not None


def table_folder(name: str) -> str:
    """The folder of a table's rows, for a table of any name (see pipeline.source.table_names).

    A table of another schema than the main one has a folder in that of its schema.
    """
    schema, table = parts(name)
    if schema is None:
        return _segment(table)
    # A file system may ignore case.
    return f"schema={_CAPITAL.sub(_escaped, _segment(schema))}/{_CAPITAL.sub(_escaped, _segment(table))}"


def _segment(name: str) -> str:
    """A name, percent-encoded where it has unusual characters.

    So is the start of one that begins like an internal folder or like ``..``.
    """
    encoded = quote(name, safe=" ")
    return _escaped(encoded[0]) + encoded[1:] if encoded[:1] in {".", "_"} else encoded


def _escaped(character: str | re.Match[str]) -> str:
    return f"%{ord(str(character[0])):02X}"


def batch_folder(name: str, batch_id: str) -> str:
    """The folder of a table's rows in a batch."""
    return f"{table_folder(name)}/batch={batch_id}"


def rejected_folder(folder: str) -> str:
    """The folder of a model's rejected rows, from the folder of its other rows."""
    return f"_rejected/{folder}"


def deleted_folder(folder: str) -> str:
    """The folder of the keys that a batch deletes from a model's result, from the folder of its rows."""
    return f"_gone/{folder}"
