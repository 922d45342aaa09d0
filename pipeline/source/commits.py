"""The commit time of rows, where the source keeps it (``track_commit_timestamp``)."""

from pipeline.columns import Column

# Read beside a row's own columns, under a name that no table is likely to use.
COMMITTED = Column(name="commit time by xmin", type="timestamptz")
EXPRESSION = "pg_xact_commit_timestamp(xmin)"
