"""Look at a checkpoint folder before anything of it is loaded: no code, no detours.

Weights are safetensors; pickles (``.bin``, ``.pt``, ``.pkl``, ``.ckpt``) may lie beside
them and are never opened. Configurations may not name code, and nothing outside the
folder.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["MANIFEST", "check_configurations", "checked_file", "write_manifest"]

MANIFEST = "SHA256SUMS"
"""Hashes of files of the folder, as sha256sum writes them; verified where it lies."""

_LARGEST_JSON = 64 << 20
"""Vocabularies of large models have some 30 MB."""

_CODE = frozenset(
    {"auto_map", "custom_pipelines", "trust_remote_code", "kernel_config"}
)
"""Keys that make transformers import what a checkpoint brings or names."""

_ELSEWHERE = frozenset(
    {
        "_attn_implementation",
        "_attn_implementation_internal",
        "_experts_implementation",
        "attn_implementation",
        "experts_implementation",
    }
)
"""Keys that may name a repository of compiled kernels on the hub."""

_VOCABULARIES = frozenset({"tokenizer.json", "vocab.json"})
"""They may have any key; tokenizers reads them and runs nothing."""

_PLAIN_NAME = re.compile(r"[a-z0-9_]+")

_FETCHED = frozenset(
    {
        "base_model_name_or_path",
        "quantization_config",
        "transformers_weights",
        "use_pretrained_backbone",
    }
)
"""Keys that make transformers load other or further weights, or other libraries."""

_ADAPTER = "adapter_config.json"
"""Names a model that its own weights are laid over."""


def checked_file(folder: Path, name: str) -> Path:
    """Return the path of a file that lies in the folder and is as its manifest says.

    Raises
    ------
    ValueError
        It lies elsewhere behind a link, or its hash is another one.
    OSError
        It is not there.
    """
    path = folder / name
    real, root = path.resolve(strict=True), _root(folder)
    if not real.is_relative_to(root):
        raise ValueError(f"{name} lies outside the checkpoint's folder")
    expected = _manifest(folder).get(name)
    if expected is not None and expected != _sha256(path):
        raise ValueError(f"{name} is not the file that {MANIFEST} names")
    return path


def check_configurations(folder: Path) -> None:
    """Refuse JSON files that name code, things elsewhere, or weights out of place.

    Raises
    ------
    ValueError
        One does; the message names file and key.
    """
    for path in sorted(folder.glob("*.json")):
        checked_file(folder, path.name)
        if path.name == _ADAPTER:
            raise ValueError(f"{path.name}: weights over another model are not loaded")
        if path.stat().st_size > _LARGEST_JSON:
            raise ValueError(f"{path.name} is larger than {_LARGEST_JSON} bytes")
        if path.name in _VOCABULARIES:
            continue
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path.name} cannot be read as JSON") from error
        for key, value in _items(raw):
            if key in _CODE or (key in _FETCHED and value):
                raise ValueError(f"{path.name} has the key {key}: it is not followed")
            if key in _ELSEWHERE and not _is_plain(value):
                raise ValueError(f"{path.name}: {key} names something elsewhere")
        if path.name.endswith(".index.json"):
            _check_index(folder, raw)


def write_manifest(folder: Path, names: tuple[str, ...]) -> None:
    """Write the manifest of these files."""
    lines = [f"{_sha256(folder / name)}  {name}\n" for name in names]
    (folder / MANIFEST).write_text("".join(lines), encoding="utf-8")


def _check_index(folder: Path, raw: Any) -> None:
    """Check that an index names safetensors files of this folder and no others."""
    shards = raw.get("weight_map", {}) if hasattr(raw, "get") else {}
    names = shards.values() if hasattr(shards, "values") else ()
    for name in set(map(str, names)):
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise ValueError("the index names weights that are no safetensors file")
        checked_file(folder, name)


def _root(folder: Path) -> Path:
    real = folder.resolve()
    # The hub's cache: models--OWNER--NAME/snapshots/COMMIT links into ../../blobs
    cache = real.parent.parent
    if real.parent.name == "snapshots" and cache.name.startswith("models--"):
        return cache
    return real


def _manifest(folder: Path) -> dict[str, str]:
    path = folder / MANIFEST
    if not path.exists():
        return {}
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        digest, _, name = line.partition("  ")
        found[name] = digest
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _items(raw: Any) -> Iterator[tuple[str, Any]]:
    """Yield every key and value of nested objects, whatever their depth."""
    waiting = [raw]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield from one.items()
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    return value is None or (
        isinstance(value, str) and _PLAIN_NAME.fullmatch(value) is not None
    )
