"""Tell by a digest whether what words a picture has changed since it was worded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable

__all__ = ["digest_of", "rule_files", "rules_digest"]

_FOLDERS = (
    ("model", "knowledge"),
    ("training", "knowledge"),
    ("dicom_node", "reports"),
)
"""Package and folder: the knowledge files and how they are searched, the lexicon, and
the rules and tables that read reports."""

_SUFFIXES = (".csv", ".json", ".py", ".yaml")


@cache
def rules_digest() -> str:
    """Return the SHA-256 of every rule and table that words hang on."""
    return digest_of(list(rule_files()))


def rule_files() -> Iterator[tuple[str, Traversable]]:
    """Yield name and file of every rule and table."""
    for package, folder in _FOLDERS:
        yield from _files(resources.files(package) / folder, f"{package}/{folder}")


def digest_of(files: Sequence[tuple[str, Traversable]]) -> str:
    """Return the SHA-256 of files and their names, in the order of the names."""
    digest = hashlib.sha256()
    for name, file in sorted(files, key=lambda one: one[0]):
        own = hashlib.sha256(file.read_bytes()).hexdigest()
        digest.update(f"{name}\x00{own}\n".encode())
    return digest.hexdigest()


def _files(folder: Traversable, name: str) -> Iterator[tuple[str, Traversable]]:
    for entry in folder.iterdir():
        place = f"{name}/{entry.name}"
        if entry.is_dir():
            yield from _files(entry, place)
        elif entry.name.endswith(_SUFFIXES):
            yield place, entry
