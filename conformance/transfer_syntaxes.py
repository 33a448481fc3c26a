"""The transfer syntaxes that the node receives, and which of them it can read."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["TRANSFER_SYNTAXES", "TransferSyntax"]


@dataclass(frozen=True, slots=True)
class TransferSyntax:
    """How data sets are encoded, PS3.5 10.

    ``is_decoded``: the node can read the pixels. Others are kept as received and
    their series is reported as not processed; where a caller offers both kinds in
    one context, the node picks one that it can read.
    """

    uid: str
    name: str
    is_decoded: bool = True


TRANSFER_SYNTAXES: tuple[TransferSyntax, ...] = (
    TransferSyntax("1.2.840.10008.1.2", "Implicit VR Little Endian"),
    TransferSyntax("1.2.840.10008.1.2.1", "Explicit VR Little Endian"),
    TransferSyntax("1.2.840.10008.1.2.2", "Explicit VR Big Endian (retired)"),
    TransferSyntax(
        "1.2.840.10008.1.2.1.98",
        "Encapsulated Uncompressed Explicit VR Little Endian",
        is_decoded=False,
    ),
    TransferSyntax("1.2.840.10008.1.2.4.50", "JPEG Baseline (Process 1)"),
    TransferSyntax("1.2.840.10008.1.2.4.51", "JPEG Extended (Process 2 and 4)"),
    TransferSyntax("1.2.840.10008.1.2.4.57", "JPEG Lossless (Process 14)"),
    TransferSyntax("1.2.840.10008.1.2.4.70", "JPEG Lossless (Process 14, SV 1)"),
    TransferSyntax("1.2.840.10008.1.2.4.80", "JPEG-LS Lossless"),
    TransferSyntax("1.2.840.10008.1.2.4.81", "JPEG-LS Near-Lossless"),
    TransferSyntax("1.2.840.10008.1.2.4.90", "JPEG 2000 (Lossless Only)"),
    TransferSyntax("1.2.840.10008.1.2.4.91", "JPEG 2000"),
    TransferSyntax("1.2.840.10008.1.2.4.201", "HTJ2K (Lossless Only)"),
    TransferSyntax("1.2.840.10008.1.2.4.202", "HTJ2K with RPCL (Lossless Only)"),
    TransferSyntax("1.2.840.10008.1.2.4.203", "HTJ2K"),
    TransferSyntax("1.2.840.10008.1.2.5", "RLE Lossless"),
    TransferSyntax("1.2.840.10008.1.2.4.92", "JPEG 2000 Part 2 (Lossless Only)", False),
    TransferSyntax("1.2.840.10008.1.2.4.93", "JPEG 2000 Part 2", False),
    TransferSyntax("1.2.840.10008.1.2.4.110", "JPEG XL Lossless", False),
    TransferSyntax("1.2.840.10008.1.2.4.111", "JPEG XL JPEG Recompression", False),
    TransferSyntax("1.2.840.10008.1.2.4.112", "JPEG XL", False),
    TransferSyntax("1.2.840.10008.1.2.4.100", "MPEG2 MP@ML", False),
    TransferSyntax("1.2.840.10008.1.2.4.100.1", "Fragmentable MPEG2 MP@ML", False),
    TransferSyntax("1.2.840.10008.1.2.4.101", "MPEG2 MP@HL", False),
    TransferSyntax("1.2.840.10008.1.2.4.101.1", "Fragmentable MPEG2 MP@HL", False),
    TransferSyntax("1.2.840.10008.1.2.4.102", "MPEG-4 HP/L4.1", False),
    TransferSyntax("1.2.840.10008.1.2.4.102.1", "Fragmentable MPEG-4 HP/L4.1", False),
    TransferSyntax("1.2.840.10008.1.2.4.103", "MPEG-4 BD HP/L4.1", False),
    TransferSyntax(
        "1.2.840.10008.1.2.4.103.1", "Fragmentable MPEG-4 BD HP/L4.1", False
    ),
    TransferSyntax("1.2.840.10008.1.2.4.104", "MPEG-4 HP/L4.2 2D", False),
    TransferSyntax(
        "1.2.840.10008.1.2.4.104.1", "Fragmentable MPEG-4 HP/L4.2 2D", False
    ),
    TransferSyntax("1.2.840.10008.1.2.4.105", "MPEG-4 HP/L4.2 3D", False),
    TransferSyntax(
        "1.2.840.10008.1.2.4.105.1", "Fragmentable MPEG-4 HP/L4.2 3D", False
    ),
    TransferSyntax("1.2.840.10008.1.2.4.106", "MPEG-4 Stereo HP/L4.2", False),
    TransferSyntax(
        "1.2.840.10008.1.2.4.106.1", "Fragmentable MPEG-4 Stereo HP/L4.2", False
    ),
    TransferSyntax("1.2.840.10008.1.2.4.107", "HEVC/H.265 Main, L5.1", False),
    TransferSyntax("1.2.840.10008.1.2.4.108", "HEVC/H.265 Main 10, L5.1", False),
)
"""What the node receives. Left out on purpose: deflated syntaxes (one megabyte may
unpack to gigabytes), JPIP (the pixels are elsewhere), SMPTE ST 2110 (streams, not
instances), and the JPEG processes retired before 2000, which nothing decodes."""
