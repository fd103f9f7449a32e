"""The interpreter ends after the calls that daemon threads have under way (src/unlocked.hpp)."""

import atexit
import os
import time

from . import _core


def _wait_for_calls() -> None:
    _core.close_calls()
    while _core.calls_under_way() > 0:
        time.sleep(0.002)


atexit.register(_wait_for_calls)
os.register_at_fork(after_in_child=_core.forget_calls)
