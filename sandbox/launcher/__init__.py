"""The stand-alone program that executes plans; imports model and kernel only. See `docs/protocol.md`."""
