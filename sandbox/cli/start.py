"""The console script: a host that is out of descriptors or memory gets a line and our exit code, not a traceback."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Never returns; exits with the code of docs/cli.md."""
    try:
        if sys.argv[1:2] == ["run"]:
            from sandbox.cli import fast

            code = fast.run(sys.argv[2:])
            if code is not None:
                from sandbox.cli import ending

                ending.finish(code, at_once=True)
        from sandbox.cli.main import main as command

        command()
    except (ImportError, OSError, MemoryError) as error:
        os.write(2, f"sandbox: cannot go on: {error}; check ulimit -n, free memory and the installation\n".encode())
        os._exit(125)
