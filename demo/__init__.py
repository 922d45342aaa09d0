"""A made-up Totesys to try the pipeline on: an embedded Postgres and a shop that trades."""
