"""Telling a client's server that something is ready, without becoming a way into the network behind this one.

An operator names the hosts (`callback_hosts`): "judge.example.org", "*.example.org", "judge.example.org:8443", "192.0.2.7",
"10.1.0.0/16". A name is looked up once, all its addresses must be public ones or be listed as such, and the connection goes to
the address that was looked at, so that no later answer of a name server counts. Redirects are not followed, proxies of the
environment not used, and of the answer nothing is read but its status.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import httpx

from sandbox.service import logs

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Awaitable[list[str]]]
_PORTS = {"http": 80, "https": 443}
_LONGEST_URL = 2048
_NAT64 = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))


@dataclass(frozen=True, slots=True)
class Target:
    """A URL whose host and port are allowed. Which address it has is not known yet."""

    url: httpx.URL
    host: str
    port: int


def target(url: str, allowed: Sequence[str]) -> Target:
    """Check a URL by its words alone. Raises ValueError, saying what is wrong."""
    if not allowed:
        raise ValueError("setting callback is not allowed")
    if len(url) > _LONGEST_URL or any(sign.isspace() or not sign.isprintable() for sign in url):
        raise ValueError("is not a valid URL")
    try:
        parsed = httpx.URL(url)
        host, port = parsed.host.rstrip(".").lower(), parsed.port or _PORTS.get(parsed.scheme, 0)
    except (httpx.InvalidURL, UnicodeError, ValueError):
        raise ValueError("is not a valid URL") from None
    if parsed.scheme not in _PORTS or not host:
        raise ValueError("must be an http or https URL")
    if parsed.userinfo:
        raise ValueError("must not have a user in it")
    if not any(_matches(entry, host, port) for entry in allowed):
        raise ValueError(f"callbacks to {host[:100]}:{port} are not allowed")
    return Target(parsed, host, port)


def check(addresses: Sequence[str], allowed: Sequence[str]) -> str:
    """The address to connect to. Raises ValueError unless every one of them is public, or listed."""
    if not addresses:
        raise ValueError("the host has no address")
    listed = [network for entry in allowed if (network := _network(entry)) is not None]
    for words in addresses:
        address = ipaddress.ip_address(words.partition("%")[0])
        if not any(address.version == network.version and address in network for network in listed) and not is_public(address):
            raise ValueError(f"the host has the address {address}, which is not a public one")
    return addresses[0]


def is_public(address: Address) -> bool:
    """Whether it is one of the whole internet, and so is the address that is hidden in it (mapped, 6to4, Teredo, NAT64)."""
    if isinstance(address, ipaddress.IPv6Address):
        hidden = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
        if any(address in network for network in _NAT64) or int(address) < 1 << 32:
            hidden.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if any(item is not None and not is_public(item) for item in hidden):
            return False
        if address.is_site_local:
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


async def put(
    url: str,
    body: bytes,
    allowed: Sequence[str],
    *,
    tries: int = 3,
    seconds: float = 5.0,
    resolve: Resolve | None = None,
) -> bool:
    """PUT JSON to a URL, again when the host cannot be reached. Gives whether it was delivered; why it was not is in the log."""
    for number in range(1, tries + 1):
        try:
            async with asyncio.timeout(seconds):
                status = await _send(target(url, allowed), body, allowed, resolve or _look_up)
        except (ValueError, OSError, httpx.HTTPError, TimeoutError) as error:
            logs.event(
                "a callback was not delivered", level="warning", attempt=number, error=type(error).__name__, why=str(error)
            )
            if isinstance(error, ValueError) and not isinstance(error, UnicodeError):
                return False
            continue
        logs.event("a callback was delivered", status=status, attempt=number)
        return True
    return False


async def _send(aim: Target, body: bytes, allowed: Sequence[str], resolve: Resolve) -> int:
    address = check(await resolve(aim.host, aim.port), allowed)
    where = aim.url.copy_with(host=address, port=aim.port)
    named = f"[{aim.host}]" if ":" in aim.host else aim.host
    usual = aim.port == _PORTS[aim.url.scheme]
    headers = {"Host": named if usual else f"{named}:{aim.port}", "Content-Type": "application/json"}
    extensions = {"sni_hostname": aim.host}
    async with (
        httpx.AsyncClient(follow_redirects=False, trust_env=False, timeout=None) as client,  # noqa: S113 - the caller's timeout holds
        client.stream("PUT", where, content=body, headers=headers, extensions=extensions) as response,
    ):
        return response.status_code


async def _look_up(host: str, port: int) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(item[4][0]) for item in found]


def _matches(entry: str, host: str, port: int) -> bool:
    name, its_port = _split(entry)
    if port not in ((its_port,) if its_port else tuple(_PORTS.values())):
        return False
    network = _network(entry)
    if network is not None:
        try:
            return ipaddress.ip_address(host) in network
        except ValueError:
            return False
    return host.endswith(name[1:]) and len(host) >= len(name) if name.startswith("*.") else host == name


def _split(entry: str) -> tuple[str, int]:
    """(name, port or 0) of such as "a.example:8443", "[::1]:80"."""
    name, colon, port = entry.strip().lower().rpartition(":")
    if colon and port.isdigit() and not (":" in name and not name.startswith("[")):
        return name.strip("[]").rstrip("."), int(port)
    return entry.strip().lower().strip("[]").rstrip("."), 0


def _network(entry: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """The addresses that an entry lists, whatever the port; None for a name."""
    try:
        return ipaddress.ip_network(_split(entry)[0], strict=False)
    except ValueError:
        return None
