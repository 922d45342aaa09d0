"""Erasure: what is personal of a row leaves the warehouse and the lake, for good."""
