"""The lake: buckets, Parquet files, manifests, and the states of source tables."""
