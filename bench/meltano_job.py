"""A copy by Meltano's Singer programs, ``tap-postgres | target-postgres``, in the folder of the job.

The databases are named by the variables that both programs read. The first run writes a catalog, in which
each table is read incrementally by ``last_updated``; later runs continue from the last run's state.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    """Run the job once; the arguments are the folder of the programs and that of the job."""
    programs, folder = map(Path, sys.argv[1:])
    tap: list[str | Path] = [programs / "tap-postgres", "--config=ENV"]
    catalog, state = folder / "catalog.json", folder / "state.json"
    if not catalog.exists():
        found = subprocess.run([*tap, "--discover"], stdout=subprocess.PIPE, check=True).stdout
        catalog.write_text(json.dumps(by_last_updated(json.loads(found))))
    reading: list[str | Path] = [
        *tap,
        f"--catalog={catalog}",
        *([f"--state={state}"] if state.exists() else []),
    ]
    with subprocess.Popen(reading, stdout=subprocess.PIPE) as tapped:
        loading: list[str | Path] = [programs / "target-postgres", "--config=ENV"]
        states = subprocess.run(loading, stdin=tapped.stdout, stdout=subprocess.PIPE, check=True).stdout
    if tapped.returncode:
        sys.exit(f"tap-postgres failed with status {tapped.returncode}")
    if lines := states.splitlines():
        state.write_bytes(lines[-1])


def by_last_updated(catalog: dict[str, Any]) -> dict[str, Any]:
    """The catalog of the tables that have ``last_updated``, each selected and read by it."""
    chosen = {"replication-method": "INCREMENTAL", "replication-key": "last_updated", "selected": True}
    streams = [stream for stream in catalog["streams"] if "last_updated" in stream["schema"]["properties"]]
    for stream in streams:
        stream |= {"replication_method": "INCREMENTAL", "replication_key": "last_updated"}
        for entry in stream["metadata"]:
            if not entry["breadcrumb"]:
                entry["metadata"] |= chosen
    return {"streams": streams}


if __name__ == "__main__":
    main()
