"""Open a checkpoint folder: identity, architecture, and weights that carry no code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers

from model.files import check_configurations, checked_file

__all__ = [
    "EngineCheckpoint",
    "EngineError",
    "load_network",
    "tokenize_whole",
    "unread_weights",
]


class EngineError(ValueError):
    """A checkpoint folder cannot serve; the message says what is missing."""


@dataclass(frozen=True)
class EngineCheckpoint:
    """A folder in the layout of ``save_pretrained``."""

    folder: Path
    architecture: str
    """Name of the transformers class that wrote it"""
    sha256: str
    """Over weights, configurations and vocabulary: the identity of the model"""

    @classmethod
    def open(cls, folder: Path) -> EngineCheckpoint:
        """Look at a folder without loading weights.

        Raises
        ------
        EngineError
            There is no configuration, no architecture or no safetensors file.
        """
        if not (folder / "config.json").is_file():
            raise EngineError(f"no config.json in {folder.name}")
        try:
            check_configurations(folder)
        except ValueError as error:
            raise EngineError(str(error)) from error
        raw = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        architectures = raw.get("architectures") or []
        if not architectures:
            raise EngineError("config.json names no architecture")
        weights = sorted(folder.glob("*.safetensors"))
        if not weights:
            # A pickle can run code when it is opened; it is never opened here.
            raise EngineError("no .safetensors file: convert the weights first")
        digest = hashlib.sha256()
        read = [
            file
            for pattern in ("*.json", "*.txt", "*.model")
            for file in sorted(folder.glob(pattern))
        ]
        for file in [*weights, *read]:
            try:
                checked_file(folder, file.name)
            except ValueError as error:
                raise EngineError(str(error)) from error
            digest.update(file.name.encode())
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        return cls(folder, str(architectures[0]), digest.hexdigest())

    @property
    def name(self) -> str:
        """What results call the model: its name on the hub, or the folder's."""
        # The hub's cache: models--OWNER--NAME/snapshots/COMMIT
        cached = self.folder.parent.parent.name
        if self.folder.parent.name == "snapshots" and cached.startswith("models--"):
            return "/".join(cached.split("--")[1:])
        return self.folder.name or self.architecture

    def tokenizer(self) -> Any:
        """Load the tokenizer that lies beside the weights."""
        library: Any = transformers
        return library.AutoTokenizer.from_pretrained(
            self.folder, local_files_only=True, trust_remote_code=False
        )


def load_network(
    checkpoint: EngineCheckpoint, *, device: str, architectures: Collection[str]
) -> Any:
    """Load the architecture that the checkpoint names, in evaluation mode.

    Parameters
    ----------
    architectures
        Those that the engine knows: no other class of transformers is made, since
        some of them load further checkpoints by name.

    Raises
    ------
    EngineError
        The engine does not know it, this release of transformers has no such class,
        or the file lacks weights.
    """
    if checkpoint.architecture not in architectures:
        known = ", ".join(sorted(architectures))
        raise EngineError(f"{checkpoint.architecture} is none of: {known}")
    library: Any = transformers
    kind = getattr(library, checkpoint.architecture, None)
    if kind is None or not hasattr(kind, "from_pretrained"):
        raise EngineError(f"transformers has no class {checkpoint.architecture}")
    library.utils.logging.disable_progress_bar()
    network, told = kind.from_pretrained(
        checkpoint.folder,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # told below, with the missing ones
    )
    if lost := unread_weights(told):
        raise EngineError(f"the checkpoint does not hold {lost}")
    return network.to(device).eval().requires_grad_(False)


def unread_weights(told: dict[str, Any]) -> str:
    """Name the weights that transformers filled with noise; "" when there are none.

    Parameters
    ----------
    told
        Loading information of ``from_pretrained``. A weight tied to a present one is
        not among its missing keys.
    """
    lost = sorted({*told["missing_keys"], *(key[0] for key in told["mismatched_keys"])})
    more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
    return ", ".join(lost[:3]) + more


def tokenize_whole(tokenizer: Any, texts: Sequence[str], *, length: int) -> Any:
    """Return texts as padded rows of `length` tokens, (texts, length).

    Raises
    ------
    EngineError
        A text has more tokens: what is cut off would be answered for unasked.
    """
    longest = max(len(ids) for ids in tokenizer(list(texts))["input_ids"])
    if longest > length:
        raise EngineError(f"a phrase of {longest} tokens; {length} fit")
    return tokenizer(
        list(texts), padding="max_length", max_length=length, return_tensors="pt"
    )
