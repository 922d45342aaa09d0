"""How fast it is, against the floor, dlt and an empty flow: ``make bench``."""
