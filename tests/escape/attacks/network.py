"""Services of the host, and kinds of sockets (threat model NI, SF08)."""

from __future__ import annotations

import array
import contextlib
import ctypes
import fcntl
import os
import secrets
import socket
import struct
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.escape import rights, services
from tests.escape.attacks.set_id_bits import PLACE
from tests.escape.layers import HOST
from tests.escape.model import Attack, Scene

NW = ("SEC-NW-01",)
KINDS = ("SEC-NW-02",)
FILTER = ("filter",)
CAPABLE = ("filter", "capability sets")
NET = ("net namespace",)
TCP = ("net namespace", *(["landlock"] if rights.LANDLOCK >= 4 else []))
ABSTRACT = ("net namespace", *(["landlock"] if rights.LANDLOCK >= 6 else []))
OWN_ID = ("newuidmap",)  # or root: without, the payload is the caller on the host
METADATA = "169.254.169.254"
_CLONE_NEWNET = 0x40000000
_SIOCSIFADDR, _SIOCSIFFLAGS = 0x8916, 0x8914
_IFF_UP = 1
Making = Callable[[Path], contextlib.AbstractContextManager[Scene]]


def _inet(kind: socket.SocketKind, host: str = "127.0.0.1", protocol: int = 0, profile: dict[str, Any] | None = None) -> Making:
    """A service on an address of the host; the payload gets the address and the port."""

    @contextlib.contextmanager
    def scene(directory: Path) -> Iterator[Scene]:
        listener = services.inet(kind, host, protocol=protocol)
        with services.serving(listener):
            yield Scene(arguments=[host, str(listener.getsockname()[1])], profile=profile or {})

    return scene


def _elsewhere(kind: socket.SocketKind, host: str, port: int) -> Making:
    """A service in a network of its own, from which the sandbox is started."""

    @contextlib.contextmanager
    def scene(directory: Path) -> Iterator[Scene]:
        with _own_network(host):
            listener = services.inet(kind, host, port)
            with services.serving(listener):
                yield Scene(arguments=[host, str(port)], profile={"identity": {"hostname": "elsewhere"}})

    return scene


@contextlib.contextmanager
def _own_network(address: str) -> Iterator[None]:
    """This thread, and what it starts, in a new network namespace whose loopback has the address."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    if libc.unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "no network namespace")
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            name = struct.pack("16sHH4s8x", b"lo", socket.AF_INET, 0, socket.inet_aton(address))
            fcntl.ioctl(sock, _SIOCSIFADDR, name)
            fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))
        yield
    finally:
        libc.setns(before, _CLONE_NEWNET)
        os.close(before)


@contextlib.contextmanager
def _open_ping(directory: Path) -> Iterator[Scene]:
    """A network in which every group may send ICMP, as hosts with systemd have it."""
    with _own_network("127.0.0.1"):
        Path("/proc/sys/net/ipv4/ping_group_range").write_text("0 2147483647")
        yield Scene(profile={"identity": {"hostname": "ping"}})


def _abstract(kind: socket.SocketKind) -> Making:
    @contextlib.contextmanager
    def scene(directory: Path) -> Iterator[Scene]:
        name = f"@sandbox-attack-{secrets.token_hex(8)}"
        with services.serving(services.unix(kind, name)):
            yield Scene(arguments=[name])

    return scene


def _path(directory: Path, name: str, answer: Callable[[socket.socket], None] | None = None) -> Any:
    path = directory / name
    listener = services.unix(socket.SOCK_STREAM, str(path))
    path.chmod(0o777)
    return services.serving(listener, answer)


@contextlib.contextmanager
def _unix(directory: Path) -> Iterator[Scene]:
    """A socket of the host that is not mounted; beside it those that hosts often have."""
    usual = ["/run/docker.sock", "/run/dbus/system_bus_socket", "/run/systemd/private", "/run/nscd/socket", "/run/user/1000/bus"]
    path = str(directory / "service")
    with _path(directory, "service"):
        yield Scene(arguments=[path, HOST + path, *usual])


def _giving(place: Path) -> Callable[[socket.socket], None]:
    """Answers with a descriptor of a directory."""

    def answer(connection: socket.socket) -> None:
        connection.recv(1)
        fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
        rights_of_it = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
        connection.sendmsg([b"!"], rights_of_it)
        os.close(fd)

    return answer


def _broker(*, mounted: bool) -> Making:
    @contextlib.contextmanager
    def scene(directory: Path) -> Iterator[Scene]:
        place, shared = directory / "secrets", directory / "shared"
        for path in (place, shared):
            path.mkdir()
            path.chmod(0o755)
        (place / "token").write_bytes(services.TOKEN)
        (place / "token").chmod(0o644)
        path = str(shared / "broker")
        with _path(shared, "broker", _giving(place)):
            inside = [f"{PLACE}/broker"] if mounted else [HOST + path]
            yield Scene(arguments=["token", *inside, path], mounts=[(str(shared), PLACE, False)] if mounted else [])

    return scene


@contextlib.contextmanager
def _trusting(directory: Path) -> Iterator[Scene]:
    """A service in a mount that answers its own user only, as it sees him (SO_PEERCRED)."""

    def answer(connection: socket.socket) -> None:
        connection.recv(1)
        if services.peer_of(connection)[1] == os.getuid():
            connection.sendall(services.TOKEN)

    with _shared_service(directory, answer) as scene:
        yield scene


@contextlib.contextmanager
def _believing(directory: Path) -> Iterator[Scene]:
    """The same with what comes along (SCM_CREDENTIALS), which only the privileged can choose."""

    def answer(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        _, extra, _, _ = connection.recvmsg(1, 64)
        told = [struct.unpack("3i", data) for level, kind, data in extra if kind == socket.SCM_CREDENTIALS]
        if told and told[0][1] in {0, os.getuid()}:
            connection.sendall(services.TOKEN)

    with _shared_service(directory, answer) as scene:
        yield scene


@contextlib.contextmanager
def _shared_service(directory: Path, answer: Callable[[socket.socket], None]) -> Iterator[Scene]:
    shared = directory / "shared"
    shared.mkdir()
    shared.chmod(0o755)
    with _path(shared, "service", answer):
        path = str(shared / "service")
        yield Scene(arguments=[f"{PLACE}/service", path], mounts=[(str(shared), PLACE, False)])


@contextlib.contextmanager
def _holding(directory: Path) -> Iterator[Scene]:
    """A service in a mount, in a process that holds a secret file open."""
    with tempfile.TemporaryFile(dir=directory) as secret:
        secret.write(services.TOKEN)
        secret.flush()
        with _shared_service(directory, lambda connection: None) as scene:
            scene.arguments.insert(0, str(secret.fileno()))
            yield scene


def _squatted(family: str) -> Making:
    """Clients of the host that try an address again and again."""

    @contextlib.contextmanager
    def scene(directory: Path) -> Iterator[Scene]:
        if family == "unix":
            word = f"@sandbox-attack-{secrets.token_hex(8)}"
            target: Any = "\0" + word[1:]
        else:
            with services.inet(socket.SOCK_STREAM) as free:
                target = free.getsockname()
            word = str(target[1])
        stop = threading.Event()

        def knock() -> None:
            while not stop.wait(0.01):
                with socket.socket(socket.AF_UNIX if family == "unix" else socket.AF_INET) as client:
                    client.settimeout(0.2)
                    with contextlib.suppress(OSError):
                        client.connect(target)

        thread = threading.Thread(target=knock, daemon=True)
        thread.start()
        try:
            yield Scene(arguments=[word])
        finally:
            stop.set()
            thread.join()

    return scene


@contextlib.contextmanager
def _listener(directory: Path) -> Iterator[Scene]:
    with services.inet(socket.SOCK_STREAM) as listener:
        yield Scene(arguments=[str(listener.getsockname()[1])])


@contextlib.contextmanager
def _listed(directory: Path) -> Iterator[Scene]:
    with services.inet(socket.SOCK_STREAM) as listener:
        yield Scene(arguments=["/proc/net/tcp", f":{listener.getsockname()[1]:04X} "])


def attack(
    name: str,
    title: str,
    command: str,
    held_by: tuple[str, ...],
    claims: tuple[str, ...],
    scene: Making | None = None,
    **more: Any,
) -> Attack:
    return Attack(id=name, title=title, claims=claims, command=f"probe {command}", layers=held_by, scene=scene, **more)


STREAM, DGRAM = socket.SOCK_STREAM, socket.SOCK_DGRAM
LOOPBACK = {"network": {"mode": "loopback"}, "why": {"network.mode": "an attack"}}
SERVICES = [
    attack("NI-tcp", "a TCP service on the host's loopback", "inet tcp", TCP, NW, _inet(STREAM)),
    attack("NI-tcp6", "the same by IPv6", "inet tcp", TCP, NW, _inet(STREAM, "::1"), needs=("ipv6",)),
    attack("NI-udp", "a UDP service on the host's loopback", "inet udp", NET, NW, _inet(DGRAM)),
    attack("NI-udp6", "the same by IPv6", "inet udp", NET, NW, _inet(DGRAM, "::1"), needs=("ipv6",)),
    attack("NI-mptcp", "MPTCP, which Landlock does not see", "inet mptcp", ("net namespace", "filter"), NW, _inet(STREAM)),
    attack(
        "NI-fast-open",
        "TCP fast open, which Landlock does not see",
        "inet fast-open",
        ("net namespace", "filter"),
        NW,
        _inet(STREAM),
    ),
    attack("NI-own-loopback", "the host's loopback, with one of its own", "inet tcp", NET, NW, _inet(STREAM, profile=LOOPBACK)),
    attack(
        "NI03-metadata", "the metadata service of a cloud", "inet tcp", TCP, NW, _elsewhere(STREAM, METADATA, 80), needs=("root",)
    ),
    attack(
        "NI03-lan", "a machine of the local network", "inet tcp", TCP, NW, _elsewhere(STREAM, "192.168.7.7", 22), needs=("root",)
    ),
    attack("NI04-dns", "names as a way out", "inet udp", NET, NW, _elsewhere(DGRAM, "127.0.0.53", 53), needs=("root",)),
]
UNIX = [
    attack("NI02-abstract", "an abstract socket of the host", "unix stream", ABSTRACT, NW, _abstract(STREAM)),
    attack("NI02-abstract-datagram", "the same for datagrams", "unix datagram", ABSTRACT, NW, _abstract(DGRAM)),
    attack("NI02-squat", "an abstract name that clients of the host use", "squat unix", NET, NW, _squatted("unix")),
    attack("NI02-squat-port", "a port that clients of the host use", "squat inet", TCP, NW, _squatted("inet")),
    attack("NI11-unix", "a socket in the host's file system", "unix stream", ("mounts",), ("SEC-FS-01", *NW), _unix),
    attack(
        "NI05-broker", "a directory by way of a socket", "broker", ("mounts", "landlock"), ("SEC-FS-01",), _broker(mounted=False)
    ),
    attack("NI05-granted", "the same, where a socket is mounted", "broker", ("landlock",), ("SEC-FS-01",), _broker(mounted=True)),
    attack(
        "NI06-peer",
        "a service takes it for its own user",
        "credentials -1",
        ("own host id",),
        ("SEC-ID-02",),
        _trusting,
        needs=OWN_ID,
    ),
    attack(
        "NI05-descriptor",
        "a descriptor of a service, by the pidfd of its socket",
        "take-descriptor",
        ("filter", "landlock", "capability sets", "user namespaces"),
        ("SEC-PR-01", "SEC-SY-03"),
        _holding,
        needs=("root",),
    ),
    attack(
        "NI06-forged",
        "credentials of root",
        "credentials 0",
        ("capability sets", "one id inside"),
        ("SEC-ID-01", "SEC-ID-03"),
        _believing,
        needs=OWN_ID,
    ),
]
LOOKING = [
    attack("NI09-diagnose", "the host's listeners by netlink", "diagnose", ("filter", "net namespace"), (*NW, *KINDS), _listener),
    attack("NI09-proc", "the host's listeners by /proc/net", "proc-net", NET, NW, _listed),
]
ADMINISTRATION = [
    attack("NI09-address", "an address for its own interface", "address", CAPABLE, (*KINDS, "SEC-ID-03")),
    attack("NI09-loopback", "its own loopback is raised", "raise-loopback", ("capability sets",), ("SEC-ID-03",)),
    attack("NI09-repair", "a connection that was never made", "repair", ("capability sets",), ("SEC-ID-03",)),
    attack("NI09-firewall", "the firewall's tables", "firewall", ("capability sets",), ("SEC-ID-03",)),
]
SOCKETS = [
    attack("SF08-families", "every other family", "families", FILTER, KINDS),
    attack("SF08-protocols", "every other type and protocol", "protocols", FILTER, KINDS),
    attack("SF08-vsock", "the virtual machine's own network", "vsock", FILTER, KINDS),
    attack("SF08-alg", "the kernel's cryptography", "socket 38 5 0", FILTER, KINDS),
    attack("SF08-netlink-audit", "netlink: audit", "socket 16 3 9", FILTER, KINDS),
    attack("SF08-netlink-netfilter", "netlink: netfilter", "socket 16 3 12", FILTER, KINDS),
    attack("SF08-netlink-uevent", "netlink: events of devices", "socket 16 3 15", FILTER, KINDS),
    attack("SF08-netlink-xfrm", "netlink: IPsec", "socket 16 3 6", FILTER, KINDS),
    attack("SF08-packet", "every packet of its network", "socket 17 3 768", CAPABLE, KINDS),
    attack("SF08-xdp", "packets without a network stack", "socket 44 3 0", CAPABLE, KINDS),
    attack("SF08-unix-raw", "a raw pair of sockets", "socketpair", FILTER, KINDS),
    attack("NI08-raw", "raw IP packets", "socket 2 3 255", CAPABLE, KINDS),
    attack("NI08-raw-icmp6", "raw ICMPv6 packets", "socket 10 3 58", CAPABLE, KINDS, needs=("ipv6",)),
    attack("NI08-mptcp", "MPTCP", "socket 2 1 262", FILTER, KINDS),
    attack("NI08-udplite", "UDPLITE", "socket 2 2 136", FILTER, KINDS),
    attack("NI08-sctp", "SCTP", "socket 2 5 132", FILTER, KINDS),
    attack("NI08-sctp-unnamed", "SCTP, as the first protocol of its type", "socket 2 5 0", FILTER, KINDS),
    attack(
        "NI08-ping", "ICMP without being raw", "socket 2 2 1", ("filter", "net namespace"), KINDS, _open_ping, needs=("root",)
    ),
]
ATTACKS = [*SERVICES, *UNIX, *LOOKING, *ADMINISTRATION, *SOCKETS]
