"""Reference tables that every model may read beside the source's: published standards."""

import pyarrow as pa
import pycountry

ISO_4217 = "iso_4217"
NAMES = frozenset({ISO_4217})
# Names that no source table can have: no schema of the source that models name is called like this.
SCHEMA = "reference"
BATCH = f"{SCHEMA}.batch"
QUALIFIED = frozenset({BATCH, *(f"{SCHEMA}.{name}" for name in NAMES)})
# The key of each table; reference.batch has one row.
KEYS = {ISO_4217: ("code",), f"{SCHEMA}.{ISO_4217}": ("code",), BATCH: ()}


def table(name: str) -> pa.Table:
    """A reference table by name; ``iso_4217`` has the columns code and name. Raises KeyError."""
    if name.removeprefix(f"{SCHEMA}.") not in NAMES:
        raise KeyError(name)
    entries = sorted(pycountry.currencies, key=lambda entry: entry.alpha_3)
    return pa.table({"code": [entry.alpha_3 for entry in entries], "name": [entry.name for entry in entries]})
