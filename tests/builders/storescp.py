"""DCMTK's programs as peers: a store that keeps every delivery, and a sender."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pydicom

from tests.builders.process import Program, free_port

__all__ = ["STORESCU", "StoreScp", "run_storescp", "storescu"]

# pynetdicom installs scripts of the same names: these are DCMTK's.
STORESCP = Path("/usr/bin/storescp")
STORESCU = Path("/usr/bin/storescu")


class StoreScp:
    """A running ``storescp``: every C-STORE becomes a file of its own.

    Parameters
    ----------
    folder : pathlib.Path
        Where the files are.
    port : int
        Loopback port.
    ae_title : str
        What it is called.

    """

    def __init__(self, folder: Path, *, port: int, ae_title: str) -> None:
        self.folder = folder
        self.port = port
        self.ae_title = ae_title

    def files(self) -> tuple[Path, ...]:
        """Return what arrived, in the order of arrival."""
        return tuple(
            sorted(
                (self.folder / "whole").iterdir(),
                key=lambda path: path.stat().st_mtime_ns,
            )
        )

    def arrivals(self) -> Counter[str]:
        """Return how many times each SOP instance arrived."""
        return Counter(
            str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID)
            for path in self.files()
        )


@contextmanager
def run_storescp(
    folder: Path, *, ae_title: str = "STORESCP", port: int | None = None
) -> Iterator[StoreScp]:
    """Run DCMTK's ``storescp`` on loopback while the block lasts.

    Data sets are kept bit by bit, one file per C-STORE, so that a second delivery
    of the same instance is a second file. The folder must be new.
    """
    (folder / "whole").mkdir(parents=True)
    chosen = free_port() if port is None else port
    command: list[str | Path] = [
        STORESCP,
        "--aetitle",
        ae_title,
        "--output-directory",
        folder,
        "--unique-filenames",
        "--filename-extension",
        ".dcm",
        "--bit-preserving",
        "--promiscuous",
        # A file lies in `whole` once all of it has come.
        "--exec-sync",
        "--exec-on-reception",
        "mv #p/#f #p/whole/#f",
        "--accept-all",
        str(chosen),
    ]
    with Program(command, log_path=folder / "storescp.log") as program:
        program.wait_for_port(chosen)
        yield StoreScp(folder, port=chosen, ae_title=ae_title)


def storescu(
    paths: Sequence[Path],
    *,
    port: int,
    called: str,
    calling: str = "PACS",
    options: Sequence[str] = (),
) -> None:
    """Send files with DCMTK's ``storescu``, each in its own transfer syntax.

    Raises
    ------
    AssertionError
        A file was refused; the program's output says which.

    """
    result = subprocess.run(
        [
            STORESCU,
            "--verbose",
            "--aetitle",
            calling,
            "--call",
            called,
            "--required",
            *options,
            "127.0.0.1",
            str(port),
            *paths,
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    output = result.stdout + result.stderr
    if result.returncode or output.count("Success") != len(paths):
        msg = f"storescu ended with {result.returncode}\n{output[-4000:]}"
        raise AssertionError(msg)
