"""The warehouse: its tables, their history, and the one transaction that loads a batch."""
