"""Messages of Prefect that are matched by their words, because Prefect raises no class of its own for them.

As Prefect 3.8.8 writes them; tests/flows/test_access.py and test_blocks.py fail where they change.
"""

NO_SERVER = "Failed to reach API at "
NO_BLOCK = "Unable to find block"
