"""Recovery: filling tables and warehouses again, trying that, and what the lake may lose meanwhile."""
