"""Every tuned number of the engines, with what was measured.

Multiplications are those of the matrix products in the forward pass. Measured on two cores of an AMD EPYC unless said.
"""

from __future__ import annotations

__all__ = ["parts"]

# Which engine ---------------------------------------------------------------------------------------------------------

# Seconds that the compiled engine takes off a step, and off a step for each parameter.
SAVED_PER_STEP, SAVED_PER_PARAMETER = 20e-6, 4e-9
# Seconds that a fit has to save for compiled code to be loaded, which takes half a second once in a process: a search
# is made of some fifty fits.
WORTH_LOADING = 0.01
# Seconds to compile what a fit needs, with some reserve for slower machines.
COMPILE_SECONDS = 10.0

# Threads of the compiled engine ---------------------------------------------------------------------------------------

# Multiplications of a step for each part, some 20 microseconds: threads meet twice in a step, for about one.
PER_PART = 2**17
# Rows of a minibatch for each part. On sixteen cores, 784-256-128-10 with 200 rows gains up to sixteen parts.
ROWS_PER_PART = 12


def parts(batch_size: int, n_weights: int, n_threads: int) -> int:
    """Return into how many parts the steps of a job are cut."""
    return max(1, min(n_threads, batch_size // ROWS_PER_PART, batch_size * n_weights // PER_PART))
