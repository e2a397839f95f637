# SPDX-License-Identifier: Apache-2.0
"""Links, addresses, routes and nft objects of this network namespace by netlink dumps. No libnl, no ip or nft program, no daemon's code."""
from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterator

HEADER = struct.Struct("=I H H I I")  # nlmsghdr
ROUTE, NETFILTER = 0, 12  # NETLINK_ROUTE, NETLINK_NETFILTER
REQUEST_DUMP = 0x301
ERROR, DONE = 2, 3
GET_LINK, GET_ADDRESS, GET_ROUTE = 18, 22, 26
NFT_TABLE, NFT_CHAIN, NFT_RULE = 0xA01, 0xA04, 0xA07  # NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GET…
FAMILIES = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}


def dump(protocol: int, kind: int, body: bytes) -> Iterator[bytes]:
    """The body of each message of the answer."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol) as link:
        link.settimeout(10)
        link.bind((0, 0))
        link.send(HEADER.pack(HEADER.size + len(body), kind, REQUEST_DUMP, 1, 0) + body)
        while True:
            data = link.recv(1 << 20)
            while data:
                length, type_, _, _, _ = HEADER.unpack_from(data)
                if type_ == DONE:
                    return
                if type_ == ERROR:
                    error = -struct.unpack_from("=i", data, HEADER.size)[0]
                    raise OSError(error, f"netlink dump {kind:#x}")
                yield data[HEADER.size:length]
                data = data[(length + 3) & ~3:]


def attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:
            break
        found[kind & 0x3FFF] = data[4:length]
        data = data[(length + 3) & ~3:]
    return found


def text(raw: bytes | None) -> str:
    return (raw or b"").split(b"\0", 1)[0].decode(errors="replace")


def number(raw: bytes | None) -> int:
    return struct.unpack("=I", raw)[0] if raw else 0


def links() -> dict[int, tuple[str, str, str, int]]:
    """index -> name, kind, alias, index of its master."""
    found = {}
    for body in dump(ROUTE, GET_LINK, struct.pack("=BxHiII", 0, 0, 0, 0, 0)):
        index, a = struct.unpack_from("=i", body, 4)[0], attributes(body[16:])
        kind = text(attributes(a[18]).get(1)) if 18 in a else ""
        found[index] = (text(a.get(3)), kind, text(a.get(20)), number(a.get(10)))
    return found


def addresses() -> list[tuple[int, str]]:
    """Link index and IPv4 address with its prefix."""
    found = []
    for body in dump(ROUTE, GET_ADDRESS, struct.pack("=BBBBi", socket.AF_INET, 0, 0, 0, 0)):
        _, prefix, _, _, index = struct.unpack_from("=BBBBi", body)
        a = attributes(body[8:])
        found.append((index, f"{ipaddress.ip_address(a.get(2) or a[1])}/{prefix}"))
    return found


def routes() -> list[tuple[int, str]]:
    """Link index and IPv4 destination, of the main table."""
    found = []
    for body in dump(ROUTE, GET_ROUTE, struct.pack("=BBBBBBBBI", socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)):
        prefix, table, a = body[1], body[4], attributes(body[12:])
        if table == 254:
            found.append((number(a.get(4)), f"{ipaddress.ip_address(a.get(1) or bytes(4))}/{prefix}"))
    return found


def nft() -> set[str]:
    """"table ip NAME", "chain ip TABLE NAME", "rule ip TABLE CHAIN NUMBER"; none where the kernel has no nf_tables."""
    found: set[str] = set()
    try:
        for what, kind, keys in (("table", NFT_TABLE, (1,)), ("chain", NFT_CHAIN, (1, 3)), ("rule", NFT_RULE, (1, 2))):
            for body in dump(NETFILTER, kind, struct.pack("=BBH", 0, 0, 0)):
                a = attributes(body[4:])
                thing = f"{what} {FAMILIES.get(body[0], body[0])} {' '.join(text(a.get(k)) for k in keys)}"
                # Rules have no names, and their handles change when a table is written again: they are counted.
                found.add(thing if what != "rule" else f"{thing} {1 + sum(t.startswith(thing + ' ') for t in found)}")
    except OSError as error:
        if error.errno not in (22, 95):  # EINVAL, EOPNOTSUPP: no such subsystem
            raise
    return found
