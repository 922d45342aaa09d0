"""Read the source: one exported snapshot, its catalogue, changed rows, and tables as Arrow."""
