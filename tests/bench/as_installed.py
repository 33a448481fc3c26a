"""Run a module without what only the tests have installed: `as_installed MODULE ...`.

Libraries load others where they find them, as pydicom a client for downloads. A node
that is installed without its tests' libraries has none of these, and what they take is
no memory of the node's.
"""

from __future__ import annotations

import runpy
import sys

__all__ = ["NOT_INSTALLED"]

NOT_INSTALLED = ("attr", "requests")
"""No requirement of the node, nor of what it requires."""

if __name__ == "__main__":
    for one in NOT_INSTALLED:
        # None: what imports it is told that there is no such module.
        sys.modules[one] = None  # type: ignore[assignment]
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
