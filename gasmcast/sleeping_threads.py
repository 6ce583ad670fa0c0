"""Let idle threads of OpenMP sleep, so that training leaves room for other processes.

PyTorch computes with GNU OpenMP, whose threads spin while they wait for each other. Beside another
busy process the spinning takes the processor from the thread that is waited for (evidence:
docs/experiments/training.md).
"""

from __future__ import annotations

import os

__all__ = ["let_threads_sleep"]


def let_threads_sleep() -> None:
    """Make threads of OpenMP sleep while they wait, in this process and its children.

    It works only before PyTorch is imported. What the user has set in `OMP_WAIT_POLICY` or
    `GOMP_SPINCOUNT` stays.
    """
    if "GOMP_SPINCOUNT" not in os.environ:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
