"""Remote models: who interprets de-identified studies elsewhere, and what leaves."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from dicom_node.config.peers import DicomPeer
from dicom_node.config.sections import AETitle, Name, Seconds, Section
from dicom_node.config.security import PeerTls

__all__ = ["RemoteSettings"]


class RemoteSettings(Section):
    """``[[remotes]]``: models elsewhere that get de-identified studies by C-STORE."""

    name: Name
    """What rules (`model`) and status call it; also part of every pseudonym, so that
    two remotes cannot compare what they were sent."""
    ae_title: AETitle
    """Its AE title: called with the images, and calling with the results. It must be
    one of ``[[callers]]``."""
    host: str
    """Host name or address."""
    port: Annotated[int, Field(ge=1, le=65535)]
    """DICOM port."""
    tls: PeerTls | None = None
    """How TLS is spoken to it; None: plain TCP."""
    timeout_s: Seconds = 3600.0
    """A study whose results have not come after this long is not processed."""
    quiet_s: Seconds = 10.0
    """Results are complete when none came for this long."""
    send_phrase_text: bool = False
    """True: phrases leave in the words of the report; False: in the words of our
    lexicon, so that nothing that was dictated leaves."""
    retain_patient_characteristics: bool = False
    """True: age, sex, size and weight stay (PS3.15 E.3.9)."""
    allow_burned_in: bool = False
    """True: images leave in which text may be burned in: those that say so, and
    ultrasound, angiography, screens and photographs that do not deny it."""
    allow_faces: bool = False
    """True: images leave from which a face can be made: CT, MR and PET of the head,
    and photographs."""

    @property
    def peer(self) -> DicomPeer:
        """The application entity that is called."""
        return DicomPeer(self.name, self.ae_title, self.host, self.port, self.tls)
