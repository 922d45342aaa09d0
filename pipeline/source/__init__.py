"""The source: one exported snapshot, its catalogue, which rows have changed, and tables as Arrow."""
