"""The outside judge of audit messages: libxml2 with the schema of PS3.15 A.5.1."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from lxml import etree

__all__ = ["judge"]

_BOM = b"\xef\xbb\xbf"


@cache
def _schema() -> etree.RelaxNG:
    return etree.RelaxNG(etree.parse(Path(__file__).with_name("audit_message.rng")))


def judge(message: bytes) -> etree._Element:
    """Return a message's root element, and fail when the schema does not take it.

    ``message`` may begin with the byte order mark that syslog asks for.
    """
    root = etree.fromstring(message.removeprefix(_BOM))
    schema = _schema()
    assert schema.validate(root), schema.error_log
    return root
