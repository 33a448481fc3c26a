"""Let data in as its licence allows, and say whom to name."""

from __future__ import annotations

from collections.abc import Sequence

from training.errors import ConfigError
from training.registry import DatasetSpec, Licence

__all__ = ["attribution_text", "check_licences", "is_free"]


def is_free(licence: Licence) -> bool:
    """Whether anybody may use, change and pass on the data, for money, on any terms.

    Share-alike is a term: what is made of the data carries the same licence.
    """
    return not _limits(licence)


def check_licences(specs: Sequence[DatasetSpec], *, allowed: frozenset[str]) -> None:
    """Refuse data whose licence is not free, unless it is allowed by name.

    What forbids sale, passing on or changes is refused, and so is share-alike.

    Parameters
    ----------
    allowed
        Identifiers of licences whose terms the person at the keyboard has accepted.

    Raises
    ------
    ConfigError
        Names every refused dataset, its licence, its limits and where it is.
    """
    refused = [
        f"{spec.id}: {spec.licence.id} ({', '.join(_limits(spec.licence))})"
        + (f", see {spec.licence.url}" if spec.licence.url else "")
        for spec in specs
        if not is_free(spec.licence) and spec.licence.id not in allowed
    ]
    if refused:
        raise ConfigError(
            "these licences need --allow-licence ID of somebody who has read and "
            "accepted them:\n  " + "\n  ".join(refused)
        )


def _limits(licence: Licence) -> list[str]:
    named = {
        "no commercial use": licence.commercial,
        "no passing on": licence.redistribute,
        "no derivatives": licence.derivatives,
    }
    limits = [text for text, is_allowed in named.items() if not is_allowed]
    return limits + (["share alike"] if licence.share_alike else [])


def attribution_text(specs: Sequence[DatasetSpec]) -> str:
    """Return ``ATTRIBUTION.md``: each dataset with its licence and its authors."""
    parts = [
        "# Attribution",
        "",
        "This build, and every model trained on it, uses these datasets.",
    ]
    for spec in sorted(specs, key=lambda one: one.id):
        licence = spec.licence
        limits = ", ".join(_limits(licence)) or "none"
        parts += ["", f"## {spec.title} (`{spec.id}`)", "", licence.attribution, ""]
        parts += [f"- Licence: {licence.id}", f"- Limits: {limits}"]
        if licence.url:
            parts.append(f"- Terms: {licence.url}")
        if licence.citation:
            parts.append(f"- Cite: {licence.citation}")
    return "\n".join(parts) + "\n"
