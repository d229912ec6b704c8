"""Which addresses the notices of webhook nodes may go to: public ones, and what a setting lists.

Their URLs are named by whoever edits a workflow, and the engine may stand beside machines that are
nobody's but its operator's: a database, a cloud's metadata service.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from urllib.parse import urlsplit

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

SETTING = "CLENTO_WEBHOOKS_MAY_REACH"

# Global unicast; all else of IPv6 is local, multicast, reserved, or holds an address of IPv4.
_GLOBAL = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052; 64:ff9b:1::/48 (RFC 8215) is local, and not global
_COMPATIBLE = IPv6Network("::/96")  # RFC 4291, deprecated: an IPv4 address; `::` and `::1` as well
# Within what `is_global` says, in one version of Python or another; source: IANA's registries of
# special-purpose addresses, read 2026-02.
_SPECIAL = tuple(
    ip_network(each)
    for each in (
        "0.0.0.0/8",
        "100.64.0.0/10",  # carriers' NAT, and some clouds' metadata
        "169.254.0.0/16",
        "192.0.0.0/24",
        "192.88.99.0/24",  # relays of 6to4
        "198.18.0.0/15",
        "224.0.0.0/3",  # multicast, reserved, broadcast
        "2001::/23",  # Teredo is taken apart before; the rest names no host
        "2001:db8::/32",
        "3fff::/20",
        "5f00::/16",
    )
)
_USER = re.compile(r"(?<=://)[^\s/?#]*@")
_WEB_ADDRESS = re.compile(r"https?://[^\s/?#]", re.IGNORECASE)
_LOCAL_NAMES = ("localhost", "localdomain")
_LOOPBACK = IPv4Address("127.0.0.1")
_PART = re.compile(r"0x[0-9a-f]*|\d+", re.ASCII)
_BITS = 32
_OCTET = 8
_MOST_PARTS = 4


@dataclass(frozen=True, slots=True)
class Reach:
    """What notices may reach besides public addresses: networks, and hosts by their names."""

    networks: tuple[Network, ...] = ()
    hosts: frozenset[str] = frozenset()

    def allows(self, address: Address) -> bool:
        """Whether a connection to this very address may be made.

        Addresses that hold another (mapped, NAT64, 6to4, Teredo) are as public as that is.
        """
        held = tuple(_held(address))
        if any(each in network for each in (address, *held) for network in self.networks):
            return True
        if held:
            return all(_is_public(each) for each in held)
        return _is_public(address)

    def names(self, host: str) -> bool:
        """Whether this host is listed by its name, wherever that leads."""
        return _normal(host) in self.hosts


PUBLIC = Reach()


def read_reach(text: str) -> Reach:
    """Read `127.0.0.0/8, internal.example`.  Raises ValueError with the entry that is wrong."""
    networks: list[Network] = []
    hosts: set[str] = set()
    for entry in filter(None, (each.strip() for each in text.split(","))):
        try:
            networks.append(ip_network(entry.strip("[]")))
        except ValueError:
            if not re.fullmatch(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?", entry, re.IGNORECASE) or (
                re.fullmatch(r"[0-9.]+", entry)
            ):
                raise ValueError(f"{entry!r} is neither a host nor a network") from None
            hosts.add(_normal(entry))
    return Reach(tuple(networks), frozenset(hosts))


def misplaced(url: str, reach: Reach) -> tuple[str, str] | None:
    """Return why notices will not be posted to `url`, and the fix; None when nothing is seen.

    Only what the URL itself shows: where its name leads is looked at when a connection is made.
    """
    try:
        host = urlsplit(url).hostname
    except ValueError:
        host = None
    if host is None:
        if not _WEB_ADDRESS.match(url):
            return None  # the editors' reader says so
        return f"{masked(url)} is no web address", "give the whole address: https://host/path"
    address = _LOOPBACK if _is_local_name(host) else _literal(host)
    if address is None or reach.names(host) or reach.allows(address):
        return None
    return (
        f"{host} is not a public address: nothing is posted there",
        f"give a public address, or have the operator list it in {SETTING}",
    )


def has_credentials(url: str) -> bool:
    """Whether a URL names a user or a password."""
    return _USER.search(url) is not None


def masked(text: str) -> str:
    """Return a text without the users and passwords of URLs in it."""
    return _USER.sub("***@", text) if "@" in text else text


def _held(address: Address) -> Iterator[Address]:
    """Give the IPv4 addresses that an IPv6 address stands for."""
    if isinstance(address, IPv4Address):
        return
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    elif address in _NAT64 or address in _COMPATIBLE:
        yield IPv4Address(int(address) & 0xFFFFFFFF)
    elif address.sixtofour is not None:
        yield address.sixtofour
    elif address.teredo is not None:
        yield from address.teredo


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv6Address) and address not in _GLOBAL:
        return False
    if not address.is_global or address.is_multicast or address.is_reserved:
        return False
    return not any(address in network for network in _SPECIAL)


def _literal(host: str) -> Address | None:
    """Read a host that is an address, also as `inet_aton` does: 2130706433, 0x7f.1, 0177.0.0.1."""
    try:
        return ip_address(host.partition("%")[0])
    except ValueError:
        pass
    parts = host.lower().rstrip(".").split(".")
    if len(parts) > _MOST_PARTS or not all(_PART.fullmatch(part) for part in parts):
        return None
    try:
        *firsts, last = (_number(part) for part in parts)
    except ValueError:
        return None
    left = _BITS - _OCTET * len(firsts)
    if any(each >= 1 << _OCTET for each in firsts) or last >= 1 << left:
        return None
    value = last
    for place, each in enumerate(firsts):
        value |= each << (_BITS - _OCTET * (place + 1))
    return IPv4Address(value)


def _number(part: str) -> int:
    if part.startswith("0x"):
        return int(part[2:] or "0", 16)
    return int(part, 8) if part.startswith("0") else int(part)


def _is_local_name(host: str) -> bool:
    return _normal(host).rpartition(".")[2] in _LOCAL_NAMES


def _normal(host: str) -> str:
    return host.lower().rstrip(".")
