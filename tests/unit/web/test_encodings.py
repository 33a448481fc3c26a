from __future__ import annotations

import pytest
from starlette.requests import Request

from dicom_node.web.encodings import takes_gzip


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, False),
        ("", False),
        ("gzip", True),
        ("br, GZIP;q=0.5", True),
        ("gzip; q = 0.001", True),
        ("gzip;q=0", False),
        ("gzip;q=0.0, *", False),
        ("*", True),
        ("*;q=0", False),
        ("identity, gzipped", False),
        ("gzip;q=much", False),
        ("gzip;q=nan", False),
    ],
)
def test_gzip_is_for_who_asks_for_it(header: str | None, expected: bool) -> None:
    headers = [] if header is None else [(b"accept-encoding", header.encode())]

    request = Request({"type": "http", "headers": headers})

    assert takes_gzip(request) is expected
