"""Plan a batch, find deleted rows, and read the batch into the lake."""
