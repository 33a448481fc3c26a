"""De-identification by PS3.15 annex E, for what leaves to others."""

from dicom_node.deidentify.clean import DUMMY_TEXT, Options, patient_identity
from dicom_node.deidentify.files import deidentify_file, what_leaves
from dicom_node.deidentify.pseudonyms import KEY_FILE, Pseudonyms, read_key

__all__ = [
    "DUMMY_TEXT",
    "KEY_FILE",
    "Options",
    "Pseudonyms",
    "deidentify_file",
    "patient_identity",
    "read_key",
    "what_leaves",
]
