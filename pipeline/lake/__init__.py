"""The lake: buckets, Parquet files, manifests, and the state of source tables that is carried in them."""
