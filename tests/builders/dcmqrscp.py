"""DCMTK's archive ``dcmqrscp``, filled by C-STORE."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.builders.process import Program, free_port

__all__ = ["run_dcmqrscp"]

_CONFIGURATION = """\
NetworkTCPPort = {port}
MaxPDUSize = 16384
MaxAssociations = 16

HostTable BEGIN
node = ({node_ae_title}, 127.0.0.1, {node_port})
HostTable END

AETable BEGIN
DCMQRSCP {storage} RW (200, 1024mb) ANY
AETable END
"""


@contextmanager
def run_dcmqrscp(
    folder: Path,
    *,
    node_port: int,
    node_ae_title: str = "GROUNDING",
    options: Sequence[str] = (),
) -> Iterator[int]:
    """Run it on loopback, empty, while the block lasts; yield its port.

    It sends by C-MOVE to the node only, and by C-GET in the first context that it
    accepted for a SOP class, whatever the file's transfer syntax.
    """
    storage = folder / "DCMQRSCP"
    storage.mkdir(parents=True)
    port = free_port()
    path = folder / "dcmqrscp.cfg"
    path.write_text(
        _CONFIGURATION.format(
            port=port,
            node_ae_title=node_ae_title,
            node_port=node_port,
            storage=storage,
        ),
        encoding="ascii",
    )
    command: list[str | Path] = [
        "/usr/bin/dcmqrscp",
        "--config",
        path,
        *options,
    ]
    with Program(command, log_path=folder / "dcmqrscp.log") as program:
        program.wait_for_port(port)
        yield port
