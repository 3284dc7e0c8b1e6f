"""The console script: a host that is out of descriptors or memory gets a line and our exit code, not a traceback."""

from __future__ import annotations

import os


def main() -> None:
    """Never returns; exits with the code of docs/cli.md."""
    try:
        from sandbox.cli.main import main as command

        command()
    except (ImportError, OSError, MemoryError) as error:
        os.write(2, f"sandbox: cannot go on: {error}; check ulimit -n, free memory and the installation\n".encode())
        os._exit(125)
