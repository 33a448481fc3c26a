"""An S3-compatible object store on loopback, in a process of its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import fsspec
import httpx

from tests.builders.process import Program, free_port

__all__ = ["S3Server", "s3_server"]

_BUCKET = "grounding"


@dataclass(frozen=True)
class S3Server:
    """A running store with one bucket."""

    endpoint: str
    log_path: Path
    url: str = f"s3://{_BUCKET}/node"
    """What node and workers have as `workers.files_url`."""
    environment: dict[str, str] = field(default_factory=dict)
    """What they need to reach it."""

    def keys(self) -> list[str]:
        """Return the names of all that is in it."""
        answer = httpx.get(f"{self.endpoint}/{_BUCKET}?list-type=2", timeout=30)
        return [one.partition("</Key>")[0] for one in answer.text.split("<Key>")[1:]]


@contextmanager
def s3_server(log_path: Path, *, host: str = "127.0.0.1") -> Iterator[S3Server]:
    """Run moto's server while the block lasts.

    Parameters
    ----------
    log_path : pathlib.Path
        Where it says what it was asked.
    host : str
        Address that it listens on.

    """
    port = free_port()
    endpoint = f"http://{host}:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", host, "-p", str(port)]
    with Program(command, log_path=log_path) as program:
        program.wait_for_port(port, host=host)
        httpx.put(f"{endpoint}/{_BUCKET}", timeout=30).raise_for_status()
        # fsspec keeps its clients by their arguments, which do not name the endpoint:
        # one that an earlier test left would call a server that is gone.
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        yield S3Server(
            endpoint,
            log_path,
            environment={
                "AWS_ENDPOINT_URL": endpoint,
                "AWS_ACCESS_KEY_ID": "node",
                "AWS_SECRET_ACCESS_KEY": "secret",
                "AWS_DEFAULT_REGION": "us-east-1",
            },
        )
