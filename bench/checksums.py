"""What checksums cost: ``python -m bench.checksums [ROWS]``."""

import sys
import tempfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from time import process_time

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.lake.buckets import Bucket, File, folder

_ROUNDS = 5
_ROWS = 2_000_000


def main() -> None:
    """Write and read an object of as many rows, and print what of that is checksums."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else _ROWS
    table = _sales(rows)
    with tempfile.TemporaryDirectory() as home:
        bucket = folder(home)
        file = _write(bucket, table)
        writing = _seconds(lambda: _write(bucket, table))
        whole = Path(bucket.root, file.path).read_bytes()
        hashing = _seconds(lambda: sha256(whole))
        reading = _seconds(lambda: _read(bucket, file))
        unchecked = file.model_copy(update={"checksums": None})
        without = _seconds(lambda: _read(bucket, unchecked))
    print(f"{rows:,} sales, {file.bytes / 1e6:,.0f} MB, seconds of CPU")
    bare = writing - hashing
    print(f"written: {writing:.3f}, without checksums {bare:.3f} ({writing / bare:.2f} x)")
    print(f"read: {reading:.3f}, without comparing {without:.3f} ({reading / without:.2f} x)")


def _sales(rows: int) -> pa.Table:
    """Columns of the kinds that orders have, in which little repeats."""
    number = pa.array(range(rows), pa.int32())
    noise = pc.random(rows, initializer=1)
    moment, units, staff, cents = (
        pc.cast(pc.multiply(noise, most), pa.int64(), safe=False) for most in (1e15, 1e5, 20, 400)
    )
    return pa.table(
        {
            "id": number,
            "created_at": pc.cast(moment, pa.timestamp("us")),
            "units": units,
            "staff_id": staff,
            "price": pc.cast(cents, pa.string()),
        }
    )


def _write(bucket: Bucket, table: pa.Table) -> File:
    (file,) = bucket.write_rows("t", table.schema, table.to_batches(max_chunksize=10_000))
    if file is None:
        sys.exit("no rows, nothing to measure")
    return file


def _read(bucket: Bucket, file: File) -> int:
    return sum(batch.num_rows for batch in bucket.dataset([file]).to_batches())


def _seconds(act: Callable[[], object]) -> float:
    """The least CPU that one of some rounds took, threads included."""
    taken = []
    for _ in range(_ROUNDS):
        begun = process_time()
        act()
        taken.append(process_time() - begun)
    return min(taken)


if __name__ == "__main__":
    main()
