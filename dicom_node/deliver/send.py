"""Send objects to a destination, whatever kind it is, and learn what became of each."""

from __future__ import annotations

from collections.abc import Sequence

from dicom_node.config import DestinationSettings
from dicom_node.deliver.dimse import echo, send_objects
from dicom_node.deliver.folder import check_folder, write_to_folder
from dicom_node.deliver.records import OnOutcome, Sendable, SendOutcome
from dicom_node.deliver.stow import ask_for_a_study, send_by_stow

__all__ = ["check", "send"]


def send(
    objects: Sequence[Sendable],
    destination: DestinationSettings,
    *,
    ae_title: str,
    on_outcome: OnOutcome | None = None,
) -> tuple[SendOutcome, ...]:
    """Send files to a destination of any kind.

    Parameters
    ----------
    objects : sequence of Sendable
        What to send; for a folder, everything of one version.
    destination : DestinationSettings
        Where to.
    ae_title : str
        Calling AE title, for destinations of kind ``dimse``.
    on_outcome : callable, optional
        Told each outcome when it is known.

    Returns
    -------
    tuple of SendOutcome
        One per file, in their order. Whatever goes wrong on the way is an outcome.

    """
    outcomes: dict[str, SendOutcome] = {}

    def note(outcome: SendOutcome) -> None:
        outcomes[str(outcome.path)] = outcome
        if on_outcome is not None:
            on_outcome(outcome)

    if destination.kind == "dimse":
        send_objects(objects, destination.peer, ae_title=ae_title, on_outcome=note)
    elif destination.kind == "stow":
        send_by_stow(objects, destination, on_outcome=note)
    else:
        write_to_folder(objects, destination, on_outcome=note)
    return tuple(outcomes[str(one.path)] for one in objects)


def check(destination: DestinationSettings, *, ae_title: str) -> str:
    """Ask a destination for a sign of life and return, in words, what it gave.

    Raises
    ------
    DeliveryError
        It gave none.
    SettingsError
        Its token cannot be read.

    """
    if destination.kind == "dimse":
        echo(destination.peer, ae_title=ae_title)
        return "answers C-ECHO"
    if destination.kind == "stow":
        ask_for_a_study(destination)
        return "answers QIDO-RS"
    check_folder(destination)
    return "is writable"
