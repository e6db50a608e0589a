"""A tree of hashes over a batch: one root stands for all, a short path proves one."""

from __future__ import annotations

from hashlib import sha256

#: Leaves and inner nodes are hashed apart, so that neither can pass for the other (as RFC 6962 does).
LEAF, NODE = b"\x00", b"\x01"
EMPTY = sha256(b"").digest()


def leaf(data: bytes) -> bytes:
    """The hash of one entry."""
    return sha256(LEAF + data).digest()


def node(left: bytes, right: bytes) -> bytes:
    """The hash of two below it."""
    return sha256(NODE + left + right).digest()


def levels(leaves: list[bytes]) -> list[list[bytes]]:
    """From the leaves up to the root; the last of an odd number goes up as it is."""
    found = [leaves]
    while len(found[-1]) > 1:
        below = found[-1]
        above = [node(below[i], below[i + 1]) for i in range(0, len(below) - 1, 2)]
        if len(below) % 2:
            above.append(below[-1])
        found.append(above)
    return found


def root(leaves: list[bytes]) -> bytes:
    """The hash that stands for all of them."""
    return levels(leaves)[-1][0] if leaves else EMPTY


def path(leaves: list[bytes], index: int) -> list[tuple[str, str]]:
    """The hashes beside the way from a leaf to the root, with their side: enough to prove that it belongs there."""
    beside: list[tuple[str, str]] = []
    for level in levels(leaves)[:-1]:
        neighbour = index ^ 1
        if neighbour < len(level):
            beside.append(("left" if neighbour < index else "right", level[neighbour].hex()))
        index //= 2
    return beside


def climbs(start: bytes, beside: list[tuple[str, str]], top: bytes) -> bool:
    """Does this path lead from the leaf to the root?"""
    here = start
    for side, text in beside:
        other = bytes.fromhex(text)
        here = node(other, here) if side == "left" else node(here, other)
    return here == top
