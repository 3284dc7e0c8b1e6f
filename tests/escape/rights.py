"""Layers about ids and rights, used by the attacks of several categories."""

from __future__ import annotations

from pathlib import Path

from sandbox.kernel.filters import landlock_abi
from sandbox.kernel.namespaces import CLONE_NEWUSER
from sandbox.model.plan import Plan
from tests.escape import layers
from tests.escape.layers import Layer

LANDLOCK = landlock_abi()  # what it holds depends on it: TCP from 4, abstract sockets from 6, devices from 5
LAST_CAPABILITY = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
_STATUS = Path("/proc/self/status").read_text()
_BOUND = int(_STATUS.partition("CapBnd:\t")[2].partition("\n")[0], 16)


def _all_capabilities(plan: Plan) -> Plan:
    """Every capability is kept, in all five sets."""
    return plan.replace(capabilities=tuple(range(LAST_CAPABILITY + 1)))


def _callers_id(plan: Plan) -> Plan:
    """The payload is the caller on the host: host uid 0 when root calls."""
    return plan.replace(ids=plan.ids.replace(first_slot=0, slots=0))


def _root_inside(plan: Plan) -> Plan:
    return plan.replace(ids=plan.ids.replace(uid=0, gid=0))


def _no_user_namespace(plan: Plan) -> Plan:
    """In the host's own there are only the capabilities that this process could hand on."""
    possible = tuple(number for number in plan.capabilities if _BOUND >> number & 1)
    return plan.replace(clone_flags=plan.clone_flags & ~CLONE_NEWUSER, capabilities=possible)


_LIMITS_OF_LAUNCHER = """    for name, value in _USER_LIMITS:
        namespaces.write_file("/proc/sys/user/" + name, value)
"""
_LIMITS_OF_INIT = """            for index, (name, value) in enumerate(_USER_LIMITS):
                at(steps.INIT_USERNS_LIMIT, index)
                namespaces.write_file("/proc/sys/user/" + name, value)
"""
_IDS_OF_INIT = """        os.setresgid(ids.gid, ids.gid, ids.gid)
        os.setresuid(ids.uid, ids.uid, ids.uid)
"""
_IDENTITY = "        at(steps.INIT_IDENTITY)\n"
_OWN_UID = '        namespaces.write_file(f"/proc/{pid}/uid_map", b"%d %d 1" % (plan.ids.uid, inside))\n'
_OWN_GID = '        namespaces.write_file(f"/proc/{pid}/gid_map", b"%d %d 1" % (plan.ids.gid, inside))\n'


def _and_zero(line: str) -> str:
    """The same line of an id map, after one that maps 0 to the launcher's 0: the caller on the host."""
    return line.replace('b"%d %d 1"', '(b"0 0 1\\n" if inside else b"") + b"%d %d 1"')


layers.register(
    # Knocked out, the payload has all of them, in its own user namespace.
    Layer(name="capability sets", plan=_all_capabilities),
    Layer(name="own host id", plan=_callers_id),
    Layer(name="not root inside", plan=_root_inside),
    # Knocked out, id 0 inside is the caller on the host: root, when root calls. Init, which has it then, must not lose
    # its rights with it (SECBIT_NO_SETUID_FIXUP).
    Layer(
        name="one id inside",
        patches=(
            ("launcher/runs.py", _OWN_UID, _and_zero(_OWN_UID)),
            ("launcher/runs.py", _OWN_GID, _and_zero(_OWN_GID)),
            ("launcher/init.py", _IDENTITY, _IDENTITY + "        process.prctl(process.PR_SET_SECUREBITS, 4)\n"),
        ),
    ),
    Layer(
        name="securebits",
        patches=(
            (
                "kernel/process.py",
                "    prctl(PR_SET_SECUREBITS, SECUREBITS_LOCKED_AMBIENT if keep else SECUREBITS_LOCKED)\n",
                "",
            ),
        ),
    ),
    # Knocked out, root's payload is root in the host's own user namespace; its other namespaces and mounts stay.
    Layer(
        name="user namespaces",
        hosts=("root",),
        plan=_no_user_namespace,
        patches=(
            ("launcher/keeper.py", "clone(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID)", "clone(CLONE_NEWNS | CLONE_NEWPID)"),
            ("launcher/keeper.py", "        _write_maps(plan.ids, pid)\n", ""),
            ("launcher/template.py", _LIMITS_OF_LAUNCHER, ""),
            ("launcher/init.py", _LIMITS_OF_INIT, ""),
            ("launcher/init.py", _IDS_OF_INIT, ""),
            ("launcher/runs.py", _OWN_UID, ""),
            ("launcher/runs.py", _OWN_GID, ""),
            ("launcher/runs.py", 'users = set(found[b"Uid"].split() + found[b"Gid"].split()) == {b"%d" % own}', "users = True"),
        ),
    ),
)
