"""Draw the errors of dataset building, training and evaluation.

TrainingError
    DatasetError     files of a dataset are missing or contradict their layout
    RecordError      a line of the interchange is not a record
    ConfigError      settings that no run can follow
"""

from __future__ import annotations

__all__ = ["ConfigError", "DatasetError", "RecordError", "TrainingError"]


class TrainingError(Exception):
    """Something that the person at the keyboard can mend."""


class DatasetError(TrainingError):
    """A dataset does not lie on disk as its layout says."""


class RecordError(TrainingError):
    """A line of the interchange is not a record."""


class ConfigError(TrainingError):
    """Settings contradict each other or the data."""
