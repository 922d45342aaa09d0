"""Reference tables that every model may read beside the source's: published standards."""

import pyarrow as pa
import pycountry

ISO_4217 = "iso_4217"
NAMES = frozenset({ISO_4217})
# Names that no source table can have.
BATCH = "reference.batch"
QUALIFIED = frozenset({BATCH, *(f"reference.{name}" for name in NAMES)})
# The key of each table; reference.batch has one row.
KEYS = {ISO_4217: ("code",), f"reference.{ISO_4217}": ("code",), BATCH: ()}


def table(name: str) -> pa.Table:
    """A reference table by name; ``iso_4217`` has the columns code and name. Raises KeyError."""
    if name.removeprefix("reference.") not in NAMES:
        raise KeyError(name)
    entries = sorted(pycountry.currencies, key=lambda entry: entry.alpha_3)
    return pa.table(
        {
            "code": [entry.alpha_3 for entry in entries],
            "name": [entry.name for entry in entries],
        }
    )
