"""A DICOM node: a study goes in by C-STORE, report phrases come back as regions."""

__all__ = ["__version__"]

__version__ = "0.1.0"
