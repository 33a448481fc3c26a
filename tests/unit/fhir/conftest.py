from __future__ import annotations

from collections.abc import Iterator

import pytest
from argon2 import PasswordHasher


@pytest.fixture(autouse=True, scope="package")
def quick_hashes() -> Iterator[None]:
    """Hash with little work: what the library's own parameters cost is its matter."""
    with pytest.MonkeyPatch.context() as patch:
        quick = PasswordHasher(time_cost=2, memory_cost=1024, parallelism=1)
        patch.setattr("dicom_node.web.passwords._HASHER", quick)
        yield
