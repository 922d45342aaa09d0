"""A web page on the warehouse's reporting views."""

from pipeline import interrupts

interrupts.show_in_one_line()
