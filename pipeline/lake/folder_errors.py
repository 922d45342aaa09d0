"""What to do about errors of a bucket's folder."""

import errno

ANOTHER = "set TOTESYS_RAW_URI or TOTESYS_PROCESSED_URI to another folder"
_HINTS = {
    "Permission denied": "permission denied; the pipeline's user needs {action} rights on this folder",
    "Operation not permitted": "the system allows nobody to {action} here; " + ANOTHER,
    "Not a directory": "this is not a folder; " + ANOTHER,
    "File name too long": "its name is too long; " + ANOTHER,
    "Too many levels of symbolic links": "its links lead in a circle; " + ANOTHER,
    "Read-only file system": "the file system is read-only",
}
_TEMPORARY = {
    errno.ENOSPC: "the disk is full; free some room",
    errno.EDQUOT: "the quota of the pipeline's user is reached; free some room, or raise it",
    errno.EFBIG: "the system allows no file of this size; raise the limit (ulimit -f)",
    errno.EIO: "the disk fails; look at the system's log",
}


def hint_of(error: OSError, action: str) -> str | None:
    """What to do about an error of a folder; None for an error that a retry may resolve."""
    for text, hint in _HINTS.items():
        if text in str(error):
            return hint.format(action=action)
    return None


def temporary(error: OSError) -> str | None:
    """What to do about an error that may be gone when the task is retried; None for any other."""
    return _TEMPORARY.get(error.errno or 0)


def first_line(error: OSError) -> str:
    """The first line of an error's text."""
    return str(error).splitlines()[0]
