"""The benchmark: the pipeline compared with the floor, dlt and an empty flow: ``make bench``."""
