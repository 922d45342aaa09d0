"""Prefect flows: the order of the steps. The work is in ``tasks`` and ``pipeline``."""

from pipeline import interrupts

interrupts.show_in_one_line()
