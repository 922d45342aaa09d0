"""Capture: what a batch reads and why, what was deleted, and reading it into the lake."""
