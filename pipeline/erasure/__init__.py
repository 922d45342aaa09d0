"""Erasure: removes the personal values of a row from the warehouse and the lake, permanently."""
