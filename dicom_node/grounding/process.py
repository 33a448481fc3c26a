"""What the model's process is started with, and what it is asked to load."""

from __future__ import annotations

import os

from dicom_node.child.answers import Answer
from dicom_node.config import Engine, ModelSettings
from dicom_node.errors import GroundingError

__all__ = ["SMALL_PICTURES", "load_request", "process_environment", "result_of"]

SMALL_PICTURES = 8
"""A study, or a series, of no more pictures may pass a larger one: both breasts from
four sides. The model sees them in a few seconds, and their pixels fit beside any CT."""

_OFFLINE = {
    # Weights and tokenizers come from the checkpoint and from nowhere else.
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
}

_ENVIRONMENT = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    # Waiting threads sleep: where other processes want the cores too, threads that
    # spin make the model thirty times slower. For the microseconds that threads of one
    # layer end apart they may spin: waking takes a quarter of a radiograph's time, and
    # beside busy processes a tenth of a CT's.
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "5000",
}

_HUB = ("HF_ENDPOINT", "HF_TOKEN", "HTTPS_PROXY", "https_proxy", "SSL_CERT_FILE")

_OPTIONS = {
    "presence_threshold": "presence_threshold",
    "precision": "precision",
    "compiled": "is_compiled",
}
"""Settings and what loaders call them."""


def process_environment(settings: ModelSettings) -> dict[str, str]:
    """Return the variables of the model's process."""
    access = _OFFLINE
    if settings.hub_id is not None:
        access = {name: os.environ[name] for name in _HUB if name in os.environ}
    # torch alone would leave the second thread of each core idle; and a node that was
    # given some of the machine's cores has no use for more threads than those.
    threads = {"OMP_NUM_THREADS": str(len(os.sched_getaffinity(0)))}
    return {**_ENVIRONMENT, **threads, **access}


def load_request(settings: ModelSettings, engine: Engine) -> Answer:
    """Return the request to load the model that the settings name."""
    checkpoint = settings.checkpoint
    usual = ModelSettings.model_fields
    return {
        "operation": "load",
        "loader": engine.loader,
        "bundled": engine.bundled,
        "checkpoint": None if checkpoint is None else str(checkpoint.resolve()),
        "hub_id": settings.hub_id,
        "hub_revision": settings.hub_revision,
        "sha256": settings.sha256,
        "device": settings.device,
        "memory_bytes": settings.memory_limit_mb << 20,
        # Not every engine knows each of them: what is as usual is not told.
        "options": {
            option: value
            for name, option in _OPTIONS.items()
            if (value := getattr(settings, name)) != usual[name].default
        },
    }


def result_of(answer: Answer, error: type[GroundingError], what: str) -> Answer:
    """Return what the process answered.

    Raises
    ------
    GroundingError
        Of the type given, with the process's own words.

    """
    if "error" in answer:
        msg = f"{what}: {answer['error']}"
        raise error(msg)
    result: Answer = answer["result"]
    return result
