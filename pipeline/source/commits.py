"""When rows were committed in the source, where its server keeps that (``track_commit_timestamp``)."""

from pipeline.columns import Column

# What a row is read with, beside its own columns: never a name that a table's column has by chance.
COMMITTED = Column(name="commit time by xmin", type="timestamptz")
EXPRESSION = "pg_xact_commit_timestamp(xmin)"
