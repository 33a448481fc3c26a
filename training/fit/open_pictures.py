"""Mix every open, projected and painted source within each batch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dicom_node.opendata import cache_folder, fetch_totalsegmentator
from training.batch import BatchStream
from training.derived.builders import BUILDERS
from training.errors import ConfigError

if TYPE_CHECKING:
    from training.fit.sources import SourceRequest

__all__ = ["open_pictures"]


def open_pictures(request: SourceRequest) -> BatchStream:
    """Mix sources of ``training.derived.builders.BUILDERS``.

    Each option is the name of a source, and its value how often it is drawn; option
    ``folder`` names where the TotalSegmentator reference files lie.

    Raises
    ------
    ConfigError
        An option names no source, or no source is named.
    """
    options: dict[str, Any] = dict(request.source.options)
    folder = options.pop("folder", None)
    if unknown := sorted(set(options) - set(BUILDERS)):
        raise ConfigError(
            f"no open source is called {', '.join(unknown)};"
            f" there are {', '.join(sorted(BUILDERS))}"
        )
    if not options:
        raise ConfigError("open-pictures needs at least one source with its weight")
    reference = Path(folder) if folder else fetch_totalsegmentator()
    sources = [BUILDERS[name](reference, cache_folder()) for name in options]
    return request.slices(sources, [float(weight) for weight in options.values()])
