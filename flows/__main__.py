"""One local run of a flow: ``python -m flows``."""

import gc

# Objects that imports create live until the end; collecting among them takes a sixth of the start.
gc.disable()

from flows.command import main  # noqa: E402
from pipeline.fast_exit import fast_exit  # noqa: E402

gc.enable()

if __name__ == "__main__":
    fast_exit(main())
