"""The probe program, compiled once for each version of its source."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "probes" / "probe.c"
INSIDE = "/opt/probe"


def build(source: Path = SOURCE, *flags: str, link: tuple[str, ...] = ("-static", "-s")) -> Path:
    """The program of `source`, static unless `link` says otherwise, in a directory that everybody can read.

    Tests run in parallel: rename at the end.

    SANDBOX_TEST_PROBE names a program that is ready, for machines where a compiler is slow or missing.
    """
    ready = os.environ.get("SANDBOX_TEST_PROBE")
    if ready and source == SOURCE:
        return Path(ready)
    sources = [source, *(Path(flag) for flag in flags if flag.endswith(".c"))]
    headers = sorted({header for path in sources for header in path.parent.glob("*.h")})
    content = b"".join(path.read_bytes() for path in (*sources, *headers))
    key = hashlib.sha256(content + repr((flags, link)).encode()).hexdigest()[:16]
    directory = Path(tempfile.gettempdir()) / f"sandbox-probes-{os.getuid()}"
    directory.mkdir(mode=0o755, exist_ok=True)
    if directory.stat().st_uid != os.getuid():
        raise RuntimeError(f"{directory} belongs to somebody else")
    program = directory / f"{source.stem}-{key}"
    if not program.exists():
        scratch = directory / f"{program.name}.{os.getpid()}"
        command = ["gcc", "-std=gnu11", "-O1", "-Wall", "-pthread", *link, *flags, "-o", str(scratch), str(source)]
        subprocess.run(command, check=True, capture_output=True, text=True)
        scratch.chmod(0o755)
        scratch.rename(program)
    return program
