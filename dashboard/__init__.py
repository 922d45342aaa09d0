"""A web page on the warehouse's reporting views."""

from pipeline import interrupts, standard_output

interrupts.show_in_one_line()
standard_output.keep_printing()
