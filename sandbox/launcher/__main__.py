"""Entry point: `python -I -S …/sandbox/launcher/__main__.py CONTROL_FD PLAN_FD CALLER_PIDFD [PACKAGE_FD]`.

Isolated mode puts nothing of the caller's environment or directory on the path; the package's own parent is added.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    from sandbox.launcher import keeper

    keeper.main(*map(int, sys.argv[1:]))
