"""Reference tables that every model may read beside the source's: standards, not data."""

import pyarrow as pa
import pycountry

ISO_4217 = "iso_4217"
NAMES = frozenset({ISO_4217})


def table(name: str) -> pa.Table:
    """A reference table by name; ``iso_4217`` has the columns code and name."""
    if name != ISO_4217:
        raise KeyError(name)
    entries = sorted(pycountry.currencies, key=lambda entry: entry.alpha_3)
    return pa.table(
        {
            "code": [entry.alpha_3 for entry in entries],
            "name": [entry.name for entry in entries],
        }
    )
