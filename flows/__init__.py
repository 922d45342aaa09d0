"""Prefect flows: the order of the steps. The work is in ``tasks`` and ``pipeline``."""

import tasks  # noqa: F401  before Prefect, so that an interrupt or a wrong setting is one line
