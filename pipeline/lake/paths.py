"""Names that become paths in a bucket: whoever wrote them down, they lead to nothing outside of it."""

import re
from typing import Annotated

from pydantic import StringConstraints

# Nothing begins with a dot, so no part of a path is "..".
_PART = r"[A-Za-z0-9_~%= -][A-Za-z0-9_.~%= -]*"
_PATH = rf"^{_PART}(?:/{_PART})*$"
_MANIFEST = r"^_(?:manifests|resumed)/after=[0-9A-Za-z-]+/[0-9A-Za-z-]+\.json$"

ObjectPath = Annotated[str, StringConstraints(pattern=_PATH)]
BatchId = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z]+(?:-[0-9A-Za-z]+)*$")]
Checksum = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


def is_path(path: str) -> bool:
    """Whether a path leads to something below a bucket's root."""
    return re.fullmatch(_PATH, path) is not None


def is_manifest(path: str) -> bool:
    """Whether a manifest of a batch may lie there."""
    return re.fullmatch(_MANIFEST, path) is not None
