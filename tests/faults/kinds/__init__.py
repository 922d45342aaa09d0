"""All kinds of failure of the campaign. Each is a function that makes one failure of it for a site."""

from __future__ import annotations

from tests.faults.kinds import clocks, databases, full, processes, restores, storage
from tests.faults.kinds.fault import Fault, Kind, Maker, kind

__all__ = ["KINDS", "LOSING_BATCHES", "NAMES", "REBUILD", "STAGES", "Fault", "Kind", "Maker"]

STAGES = "process killed at a stage's end"
REBUILD = "rebuild killed at a batch's end"

KINDS = [
    # The process
    kind(STAGES, processes.killed_at_a_stage),
    kind("process killed at random", processes.killed_at_random),
    kind("process killed half-way through a file", processes.killed_half_way_through_a_file, "folders"),
    kind("two runs started together", processes.two_runs, "Prefect"),
    kind("run paused while another ran", processes.paused, "Prefect"),
    kind("result storage wiped", processes.results_wiped, "Prefect"),
    # The databases
    kind("source killed", databases.killed("reading")),
    kind("source stopped with -m immediate", databases.stopped("reading")),
    kind("source restarted with -m fast", databases.restarted("reading", "fast")),
    kind("source restarted with -m immediate", databases.restarted("reading", "immediate")),
    kind("source: sessions terminated", databases.sessions_ended("reading")),
    kind("source: connection cut", databases.connection_cut("reading")),
    kind("warehouse killed", databases.killed("warehouse")),
    kind("warehouse stopped with -m immediate", databases.stopped("warehouse")),
    kind("warehouse restarted with -m fast", databases.restarted("warehouse", "fast")),
    kind("warehouse restarted with -m immediate", databases.restarted("warehouse", "immediate")),
    kind("warehouse: sessions terminated", databases.sessions_ended("warehouse")),
    kind("warehouse: connection cut", databases.connection_cut("warehouse")),
    kind("source lost and its standby promoted", databases.failed_over, "a standby"),
    kind("standby behind the last batch", databases.standby_behind, "a standby"),
    kind("standby cancels a read", databases.read_cancelled, "a standby"),
    # Disks
    kind("worker: files cannot grow", full.files_cannot_grow, "folders"),
    kind("worker: no space left on device", full.no_space, "folders"),
    kind("worker: disk full", full.disk_of_worker, "a small disk"),
    kind("source: disk full", full.disk_of("reading"), "small disks"),
    kind("warehouse: disk full", full.disk_of("warehouse"), "small disks"),
    # S3
    kind("S3 answers 500", storage.answers(500), "S3"),
    kind("S3 answers 503", storage.answers(503), "S3"),
    kind("S3 slow", storage.slow, "S3"),
    kind("S3: connection cut", storage.cut, "S3"),
    kind("S3 lists late", storage.lists_late, "S3"),
    # Clocks
    kind("source's clock moved", clocks.of_source),
    kind("worker's clock moved", clocks.of_worker),
    kind("warehouse's clock moved", clocks.of_warehouse),
    # Restores
    kind("warehouse lost", restores.warehouse_lost, "all batches"),
    kind("warehouse restored", restores.restored("all"), "all batches", "a backup"),
    kind("schema etl lost", restores.etl_lost, "all batches"),
    kind("schema etl restored alone", restores.restored("etl"), "all batches", "a backup"),
    kind("tables restored without etl", restores.restored("public"), "all batches", "a backup"),
    kind("processed bucket lost, or half of it", restores.processed_lost),
]

# After one of these the warehouse cannot be rebuilt as it was, so a scenario ends with them.
LOSING_BATCHES = [
    kind("raw bucket lost", restores.raw_lost, "all batches"),
    kind("raw bucket restored", restores.raw_restored, "all batches", "a backup"),
    kind("raw bucket and warehouse lost", restores.raw_and_warehouse_lost, "all batches"),
]

NAMES = [each.name for each in (*KINDS, *LOSING_BATCHES)] + [REBUILD]
