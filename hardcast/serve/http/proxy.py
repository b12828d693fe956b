"""Whose request it is where proxies stand before the server: X-Forwarded-For, of named ones."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
PORT = re.compile(r"\[([^\]]*)\](?::\d+)?|([^:]*):\d+")  # [IPv6], [IPv6]:port, IPv4:port


class Proxies:
    """Whose word is taken. networks: addresses and networks as text (10.0.0.0/8, ::1).

    Raises ValueError for one that is neither.
    """

    def __init__(self, networks: Sequence[str] = ()) -> None:
        self._networks = [_network(network) for network in networks]

    def client(self, peer: str, forwarded: Sequence[str]) -> str:
        """The address of whoever asks. peer: at the other end of the connection.

        forwarded: all headers X-Forwarded-For, in their order. Each proxy adds whom it heard from
        at the end, so the right-most that is no proxy of ours is the client: what stands before it
        anybody may have written. Of a word that is no address, whoever passed it on counts.
        """
        hop = peer
        for text in reversed(",".join(forwarded).split(",") if forwarded else []):
            if not self._trusted(hop):
                break
            address = parse(text)
            if address is None:
                break
            hop = str(address)
        return hop

    def _trusted(self, hop: str) -> bool:
        address = parse(hop) if self._networks else None
        return address is not None and any(address in network for network in self._networks)


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """A network; of IPv4 within IPv6 the IPv4, as addresses are compared."""
    found = ipaddress.ip_network(text)
    mapped = getattr(found.network_address, "ipv4_mapped", None)
    if mapped is None or found.prefixlen < 96:
        return found
    return ipaddress.IPv4Network((mapped, found.prefixlen - 96))


def parse(text: str) -> Address | None:
    """An address, with or without a port; of IPv4 within IPv6 the IPv4. None for anything else."""
    text = text.strip()
    if found := PORT.fullmatch(text):
        text = found[1] or found[2]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
