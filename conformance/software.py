"""``python -m conformance.software``: the third-party software, as a table.

Versions come from ``requirements.lock``, what each is for and what stands against its
failure from ``software.toml`` beside this file.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

__all__ = ["direct_dependencies", "locked_versions", "render_software", "soup"]

_ROOT = Path(__file__).parents[1]
_TABLE = Path(__file__).with_name("software.toml")
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*")
_LOCKED = re.compile(r"^([A-Za-z0-9._-]+)(?:\[.*\])?==([^ ;\\]+)", re.MULTILINE)

_HEAD = """# Third-party software

What the node runs on (SOUP, IEC 62304 8.1.2): version, what it is for, what its worst
failure would mean here, what stands against it, and the risk that is left. All of it,
with what it brings along, is pinned by hash in `requirements.lock`; `make sbom` writes
the bill of materials of an installation (CycloneDX), with licences, and `make audit`
asks for known vulnerabilities. torch comes as the machine needs it and is pinned by
version.

| name | version | does | worst failure | against it | risk |
|---|---|---|---|---|---|
"""


def direct_dependencies() -> tuple[str, ...]:
    """Return the names of the packages that the node asks for itself, in order."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    found = (_NAME.match(one) for one in project["project"]["dependencies"])
    return tuple(_plain(one.group()) for one in found if one is not None)


def locked_versions() -> dict[str, str]:
    """Return name and version of everything that ``requirements.lock`` pins."""
    text = (_ROOT / "requirements.lock").read_text(encoding="utf-8")
    return {_plain(name): version for name, version in _LOCKED.findall(text)}


def soup() -> dict[str, dict[str, str]]:
    """Return the rows of ``software.toml`` by name."""
    return tomllib.loads(_TABLE.read_text(encoding="utf-8"))


def render_software() -> str:
    """Return the table as Markdown.

    Raises
    ------
    KeyError
        A dependency has no row, or is not pinned.

    """
    rows, versions = soup(), locked_versions()
    lines = []
    for name in sorted(direct_dependencies()):
        row = rows[name]
        version = versions[name] if name != "torch" else "2.13.0"
        cells = (name, version, row["does"], row["fails"], row["guard"], row["risk"])
        lines.append(f"| {' | '.join(cells)} |\n")
    others = sorted(set(versions) - set(rows))
    listed = ", ".join(f"{name} {versions[name]}" for name in others)
    return (
        f"{_HEAD}{''.join(lines)}\nBrought along, or used for development and tests "
        f"only: {listed}.\n"
    )


def _plain(name: str) -> str:
    """Return a package's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    sys.stdout.write(render_software())
