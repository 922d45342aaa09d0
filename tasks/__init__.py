"""Thin Prefect wrappers: names, caching, retries, artifacts. The work is in ``pipeline``."""

from pipeline import interrupts, standard_output

interrupts.show_in_one_line()  # before the imports, which take seconds
standard_output.keep_printing()

from pipeline import postgres  # noqa: E402
from tasks import engine_log, prefect_settings  # noqa: E402

postgres.application_name = "totesys-etl"
engine_log.forward()
prefect_settings.explain()
