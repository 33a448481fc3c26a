"""The grounding process: the only place of the node that loads torch and a model."""

from __future__ import annotations

import importlib
import os
import resource
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from dicom_node.child_process import Answer, Tell, answer_requests
from dicom_node.errors import GroundingError, ModelLoadError

__all__ = ["main"]


class _Model(Protocol):
    name: str
    version: str
    sha256: str

    def ground(
        self,
        stack: Any,
        phrases: Sequence[str],
        *,
        progress: Tell | None = None,
        with_probabilities: bool = False,
    ) -> Sequence[Any]: ...


@dataclass(slots=True)
class _Stack:
    """Has the fields of ``model.ImageStack``."""

    pixels: Any
    spacing_mm: tuple[float, float, float] | None
    modality: str
    body_part: str | None
    is_volume: bool


class _Worker:
    """The loaded model and the two requests that it understands."""

    def __init__(self) -> None:
        self._model: _Model | None = None

    def answer(self, request: Answer, tell: Tell) -> Answer:
        if request["operation"] == "load":
            return self._load(request)
        return self._ground(request, tell)

    def _load(self, request: Answer) -> Answer:
        limit = int(request["memory_bytes"])
        # Private memory, not address space: drivers of devices and thread arenas
        # reserve far more addresses than they ever use.
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        try:
            options: dict[str, Any] = {"device": _device(request["device"])}
            if request["presence_threshold"] is not None:
                options["presence_threshold"] = request["presence_threshold"]
            load = _resolve(request["loader"])
            self._model = load(_checkpoint_folder(request), **options)
        except Exception as error:
            # Nothing of a patient has reached this process yet, so the message of
            # whatever went wrong may be told in full.
            msg = f"{type(error).__name__}: {error}"
            raise ModelLoadError(msg) from error
        return {
            "name": self._model.name,
            "version": self._model.version,
            "sha256": self._model.sha256,
        }

    def _ground(self, request: Answer, tell: Tell) -> Answer:
        if self._model is None:
            raise GroundingError("no model is loaded")
        spacing = request["spacing_mm"]
        stack = _Stack(
            pixels=np.load(request["pixels"], mmap_mode="r", allow_pickle=False),
            spacing_mm=None if spacing is None else tuple(spacing),
            modality=request["modality"],
            body_part=request["body_part"],
            is_volume=request["is_volume"],
        )
        found = self._model.ground(
            stack,
            request["prompts"],
            progress=tell,
            with_probabilities=request["with_probabilities"],
        )
        answers = []
        with Path(request["masks"]).open("wb") as file:
            for prompt, one in zip(request["prompts"], found, strict=True):
                mask = np.ascontiguousarray(one.mask, np.bool_)
                probability = one.probability
                answers.append(
                    {
                        "prompt": prompt,
                        "score": float(one.score),
                        "is_present": bool(one.is_present),
                        "uncertainty": float(one.uncertainty),
                        "mask_shape": mask.shape,
                        "mask_offset": file.tell(),
                        "has_probability": probability is not None,
                        "mask_origin": [int(index) for index in one.mask_origin],
                        "boxes": [
                            (
                                int(box.slice_index),
                                [float(edge) for edge in box.xyxy],
                                float(box.score),
                            )
                            for box in one.boxes
                        ],
                    }
                )
                file.write(mask.tobytes())
                if probability is not None:
                    shares = np.ascontiguousarray(probability, np.uint8)
                    file.write(shares.reshape(mask.shape).tobytes())
        return {"groundings": answers}


def main() -> None:
    """Answer requests until the parent has enough; the argument is the socket."""
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answer_requests(_Worker().answer, socket_fd=int(sys.argv[1]))


def _resolve(name: str) -> Callable[..., Any]:
    module, _, attribute = name.partition(":")
    found: Callable[..., Any] = attrgetter(attribute)(importlib.import_module(module))
    return found


def _checkpoint_folder(request: Answer) -> Path:
    """Return where the weights lie; fetch them if the operator named a hub."""
    if request["checkpoint"] is not None:
        return Path(request["checkpoint"])
    if request["hub_id"] is None:
        return Path(_resolve(request["bundled"])())
    from huggingface_hub import snapshot_download

    fetched = snapshot_download(
        request["hub_id"],
        revision=request["hub_revision"],
        # Weights that cannot run code, configurations and vocabularies.
        allow_patterns=["*.safetensors", "*.json", "*.txt", "*.model"],
    )
    _go_offline()
    return Path(fetched)


def _go_offline() -> None:
    """Keep libraries from the network from here on: the fetch was all they get."""
    from huggingface_hub import constants

    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        os.environ[name] = "1"
    # Read from the environment at import, which lies behind.
    constants.HF_HUB_OFFLINE = True


def _device(name: str) -> str:
    if name != "auto":
        return name
    import torch  # tests of this module load models without it

    return "cuda" if torch.cuda.is_available() else "cpu"


if __name__ == "__main__":
    main()
