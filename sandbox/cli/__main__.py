"""`python -m sandbox.cli` is the command `sandbox`."""

from sandbox.cli.start import main

main()
