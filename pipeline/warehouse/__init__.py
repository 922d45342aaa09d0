"""The warehouse: its tables and their history, and the load of a batch.

A statement of more than a few lines is a file in ``sql/``; its head lists the names that are filled in and
the values that are bound.
"""
