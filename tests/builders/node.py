"""The node as an operator runs it: a settings file, a process, and its ports."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dicom_node.config import DestinationSettings
from tests.builders.process import Program, free_port, wait_until

__all__ = ["DICOM_NODE", "RunningNode", "run_node", "write_settings"]

DICOM_NODE = Path(sys.executable).with_name("dicom-node")
"""The installed command."""

_START_S = 120.0
"""The first import of everything takes a while on a busy machine."""


class RunningNode:
    """A running ``dicom-node serve``.

    Parameters
    ----------
    program : Program
        The process.
    data_dir : pathlib.Path
        Its data folder.
    config : pathlib.Path
        Its settings file.
    dicom_port, web_port : int
        Where it listens.

    """

    ae_title = "GROUNDING"

    def __init__(
        self,
        program: Program,
        *,
        data_dir: Path,
        config: Path,
        dicom_port: int,
        web_port: int,
    ) -> None:
        self.program = program
        self.data_dir = data_dir
        self.config = config
        self.dicom_port = dicom_port
        self.web_port = web_port

    def results(self) -> list[dict[str, Any]]:
        """Return every ``result.json`` that the node has written, oldest first."""
        paths = sorted(
            self.data_dir.glob("results/*/result.json"),
            key=lambda path: path.stat().st_mtime_ns,
        )
        return [json.loads(path.read_text(encoding="utf-8")) for path in paths]

    def object_paths(self) -> dict[str, Path]:
        """Return the result objects' files by SOP Instance UID."""
        found = {}
        for path in self.data_dir.glob("results/*/result.json"):
            document = json.loads(path.read_text(encoding="utf-8"))
            for one in document["objects"]:
                found[one["sop_instance_uid"]] = path.parent / one["path"]
        return found

    def wait_for_results(self, count: int, *, timeout_s: float) -> list[dict[str, Any]]:
        """Wait until the node has finished so many versions of studies."""

        def is_done() -> bool:
            self.program.check_alive()
            return len(self.results()) >= count

        wait_until(is_done, timeout_s=timeout_s, what=self._describe)
        return self.results()

    def _describe(self) -> str:
        return f"the node's results\n{self.program.tail()}"


def write_settings(
    folder: Path,
    *,
    dicom_port: int,
    web_port: int,
    destinations: Sequence[DestinationSettings] = (),
    quiet_time_s: float = 1.0,
    more: str = "",
) -> Path:
    """Write a settings file with the data folder beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    data_dir = folder / "data"
    lines = [
        "[node]",
        f"port = {dicom_port}",
        f"data_dir = {json.dumps(str(data_dir))}",
        f"quiet_time_s = {quiet_time_s}",
        "[model]",
        'device = "cpu"',
        "[web]",
        f"port = {web_port}",
        "[limits]",
        "min_free_bytes = 0",
    ]
    for one in destinations:
        values = one.model_dump(mode="json", exclude_defaults=True)
        lines.append("[[destinations]]")
        lines += [f"{key} = {json.dumps(values[key])}" for key in values]
    path = folder / "node.toml"
    path.write_text("\n".join(lines) + f"\n{more}", encoding="utf-8")
    return path


@contextmanager
def run_node(
    folder: Path,
    *,
    destinations: Sequence[DestinationSettings] = (),
    quiet_time_s: float = 1.0,
    dicom_port: int | None = None,
    more: str = "",
) -> Iterator[RunningNode]:
    """Run the installed ``dicom-node serve`` while the block lasts.

    ``more`` is TOML that is added to its settings. The bundled model, real sockets,
    SQLite in ``folder/data``; nothing replaced.
    """
    dicom_port, web_port = dicom_port or free_port(), free_port()
    config = write_settings(
        folder,
        dicom_port=dicom_port,
        web_port=web_port,
        destinations=destinations,
        quiet_time_s=quiet_time_s,
        more=more,
    )
    command = [str(DICOM_NODE), "serve", "--config", str(config)]
    with Program(command, log_path=folder / "node.log") as program:
        program.wait_for_port(dicom_port, timeout_s=_START_S)
        yield RunningNode(
            program,
            data_dir=folder / "data",
            config=config,
            dicom_port=dicom_port,
            web_port=web_port,
        )
        status = program.stop()
        if status:
            msg = f"the node ended with {status}\n{program.tail()}"
            raise AssertionError(msg)
