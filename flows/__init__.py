"""Prefect flows: the order of the steps. The work is in ``tasks`` and ``pipeline``."""

from pipeline import interrupts, standard_output

interrupts.show_in_one_line()
standard_output.keep_printing()
