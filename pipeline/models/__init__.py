"""Models: their files, what DuckDB's parser and planner tell of them, and what they make of a batch."""
