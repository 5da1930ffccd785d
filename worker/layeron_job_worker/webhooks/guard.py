"""Where a webhook may go, judged on the very connection that is dialed.

A host is resolved here, once for each connection, and what is dialed is one of the addresses that were judged: a name
that answers differently a moment later (DNS rebinding) gains nothing. If any of a name's addresses is refused, all
are. TLS and the Host header keep the name.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, TypeAlias

import httpcore

from layeron_job_worker.errors import DoNotRetry

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network
Resolver: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
"""From host and port to IP addresses; raises OSError if there are none."""

# Of more addresses than this only the first are tried: a name must not make us knock at a thousand doors.
_DIALED_MAX: Final = 4
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
_NAT64: Final = IPv6Network("64:ff9b::/96")
# What the versions of Python disagree about, and one that only looks public.
_NOT_PUBLIC: Final = tuple(
    ip_network(network)
    for network in (
        "168.63.129.16/32",  # the host of every virtual machine in Azure
        "192.0.0.0/24",  # protocol assignments, some of which lead into the local network
        "192.88.99.0/24",  # relays of 6to4
        "2001::/23",  # protocol assignments: Teredo, benchmarks, overlays
        "3fff::/20",  # documentation
    )
)


class AddressRefused(DoNotRetry):
    """The receiver's address is not one that this worker may send to."""


def parse_networks(networks: Iterable[str]) -> tuple[Network, ...]:
    """The networks an operator allows. Raises ValueError for one that is none."""
    if isinstance(networks, str):
        raise ValueError('allow_networks must be a list, such as ["10.0.0.0/8"]')
    parsed = []
    for network in networks:
        try:
            parsed.append(ip_network(network))
        except ValueError as error:
            raise ValueError(f'allow_networks must hold networks such as "10.0.0.0/8": {error}') from None
    return tuple(parsed)


def is_public(address: Address) -> bool:
    """Whether an address belongs to the open internet; one that carries an IPv4 address is judged by that."""
    inner = _carried(address)
    if inner is not None:
        return is_public(inner)
    if address.version == 6 and address not in _GLOBAL_UNICAST:
        return False
    return address.is_global and not address.is_multicast and not _is_in(address, _NOT_PUBLIC)


def _carried(address: Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 address stands for: mapped, 6to4 or NAT64."""
    if isinstance(address, IPv4Address):
        return None
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour


def _is_in(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)


async def system_resolver(host: str, port: int) -> list[str]:
    """What the operating system says."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Guard(httpcore.AsyncNetworkBackend):
    """Dials allowed addresses, and public ones unless `public` is False. Raises AddressRefused for any other."""

    def __init__(self, allowed: Sequence[Network], resolver: Resolver, *, public: bool) -> None:
        self._allowed = allowed
        self._resolver = resolver
        self._public = public
        self._tcp = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """A connection to the first of the host's addresses that answers."""
        try:
            addresses = await self._resolver(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(str(error)) from error
        for address in addresses:
            self._judge(host, address)
        dialed = addresses[:_DIALED_MAX]
        share = timeout / len(dialed) if timeout and dialed else timeout
        failure: Exception = httpcore.ConnectError(f"the name {host} has no address")
        for address in dialed:
            try:
                return await self._tcp.connect_tcp(address, port, share, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    def _judge(self, host: str, text: str) -> None:
        address = ip_address(text)
        inner = _carried(address) or address
        if _is_in(address, self._allowed) or _is_in(inner, self._allowed):
            return
        at = str(inner) if host == text else f"{host}, at {inner},"
        if not is_public(address):
            raise AddressRefused(
                f"{at} is not on the public internet, so nothing was sent. If this worker may send there, its operator "
                f'allows it with Webhooks(allow_networks=["{inner}/{inner.max_prefixlen}"]) or a wider network'
            )
        if not self._public:
            raise AddressRefused(
                f"{at} would be sent to without TLS, so nothing was sent. Use https; or the operator of this worker "
                "allows plain http with Webhooks(allow_http=True), or for a network of theirs with allow_networks"
            )
