"""How keys and values of the maps lie in memory."""

from __future__ import annotations

import struct
from typing import Final

from uidtraced.rules import Block, Uid

KEY: Final = struct.Struct("=I")
"""A uid, a class, or the id of a map."""
BLOCK: Final = struct.Struct("=I4s")  # struct block of bpf/event.h


def pack_block(block: Block) -> bytes:
    """Return the key of *block*."""
    return BLOCK.pack(block.bits, block.first.to_bytes(4, "big"))


def unpack_block(key: bytes) -> Block:
    """Return the block of which *key* is the key."""
    bits, first = BLOCK.unpack(key)
    return Block(Uid(int.from_bytes(first, "big")), bits)
