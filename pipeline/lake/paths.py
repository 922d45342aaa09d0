"""Paths in a bucket: where objects lie, and patterns that keep every path inside the bucket."""

import re
from typing import Annotated
from urllib.parse import quote

from pydantic import StringConstraints

# No segment starts with a dot, so none is "..".
_SEGMENT = r"[A-Za-z0-9_~%= -][A-Za-z0-9_.~%= -]*"
_PATH = rf"^{_SEGMENT}(?:/{_SEGMENT})*$"
_MANIFEST = r"^_(?:manifests|resumed)/after=[0-9A-Za-z-]+/[0-9A-Za-z-]+\.json$"

ObjectPath = Annotated[str, StringConstraints(pattern=_PATH)]
BatchId = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z]+(?:-[0-9A-Za-z]+)*$")]
Checksum = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


def is_path(path: str) -> bool:
    """Whether a path stays below the root of a bucket."""
    return re.fullmatch(_PATH, path) is not None


def is_manifest(path: str) -> bool:
    """Whether a path is that of a manifest."""
    return re.fullmatch(_MANIFEST, path) is not None


def table_folder(name: str) -> str:
    """The folder of a table's rows, for a table of any name.

    A name is percent-encoded where it has unusual characters, or starts like an internal folder or like
    ``..``.
    """
    encoded = quote(name, safe=" ")
    if encoded[:1] in {".", "_"}:
        encoded = f"%{ord(encoded[0]):02X}{encoded[1:]}"
    return encoded


def batch_folder(name: str, batch_id: str) -> str:
    """The folder of a table's rows in a batch."""
    return f"{table_folder(name)}/batch={batch_id}"


def rejected_folder(folder: str) -> str:
    """The folder of a model's rejected rows, from the folder of its other rows."""
    return f"_rejected/{folder}"


def deleted_folder(folder: str) -> str:
    """The folder of the keys that a batch deletes from a model's result, from the folder of its rows."""
    return f"_gone/{folder}"
