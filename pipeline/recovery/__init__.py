"""Recovery: refill tables, rebuild and verify warehouses, and remove batches that no rebuild needs."""
