"""Layers about processes: pid namespaces, who may be seen and signalled, used by the attacks of several categories."""

from __future__ import annotations

from sandbox.kernel.namespaces import CLONE_NEWPID
from tests.escape import layers, rights
from tests.escape.layers import Layer, _without_namespace

SIGNALS = ("landlock",) if rights.LANDLOCK >= 6 else ()  # what it holds of signals to the outside
OWN, LAUNCHERS = "pid namespace of the run", "pid namespace of the launcher"
BOTH = (OWN, LAUNCHERS)
_PROC_OF_INIT = 'proc = mounts.new_filesystem(b"proc", tuple(options), hard)'
_PROC_OF_TEMPLATE = 'mounts.new_filesystem(b"proc", (), _HARD | mounts.ATTR_NOEXEC)'
_HIDE = '[(b"hidepid", b"invisible")]'

layers.register(
    # A new procfs needs a pid namespace of its own: without, the one from above stands there, which hides nobody.
    Layer(
        name=OWN,
        plan=_without_namespace(CLONE_NEWPID),
        patches=(("launcher/init.py", _PROC_OF_INIT, 'proc = mounts.open_tree(b"/proc")'),),
    ),
    Layer(
        name=LAUNCHERS,
        patches=(
            ("launcher/keeper.py", "import CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER\n", "import CLONE_NEWNS, CLONE_NEWUSER\n"),
            ("launcher/keeper.py", "_REMOVE_SECONDS = 5.0\n", "_REMOVE_SECONDS = 5.0\nCLONE_NEWPID = 0\n"),
            ("launcher/template.py", _PROC_OF_TEMPLATE, 'mounts.open_tree(b"/proc")'),
        ),
    ),
    Layer(name="hidepid", patches=(("launcher/init.py", _HIDE, '[(b"hidepid", b"off")]'),)),
    Layer(
        name="session of the payload",
        patches=(
            ("launcher/payload.py", "    os.setsid()\n", ""),
            ("kernel/spawn.py", "_SETSIGDEF, _SETSID = 0x04, 0x80", "_SETSIGDEF, _SETSID = 0x04, 0"),
        ),
    ),
    Layer(
        name="session of init",
        patches=(
            ("launcher/init.py", "        os.setsid()\n        at(steps.INIT_IDENTITY)\n", "        at(steps.INIT_IDENTITY)\n"),
        ),
    ),
)
