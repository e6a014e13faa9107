"""Pictures that Pillow cannot write."""

import struct
import zlib


def _chunk(kind, content):
    checked = kind + content
    return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))


def png(levels, colour_type, transparent=b""):
    """A PNG with 16 bits a channel, most of which Pillow cannot write: ``[H, W]`` or [H, W, C]."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    head = struct.pack(">IIBBBBB", *levels.shape[1::-1], 16, colour_type, 0, 0, 0)
    parts = _chunk(b"IHDR", head), transparent and _chunk(b"tRNS", transparent)
    return b"\x89PNG\r\n\x1a\n" + b"".join(filter(None, parts)) + (
        _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")
    )  # fmt: skip
