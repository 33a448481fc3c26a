"""Which studies are processed, by which model and when: rules over DICOM keywords.

A rule is an expression of the ``rule-engine`` language over the elements of an
instance: ``Modality == "CT" and StudyDescription =~ "(?i).*chest.*"``. The first
instance of every series is looked at. A rule with the action ``process`` fits a study
when it fits one of its series; one with the action ``ignore`` when it fits every one
of them, so that a localizer does not take its study along. The first rule that fits
counts; a study that none fits is processed by the default model.
"""

from dicom_node.rules.book import (
    PRIORITIES,
    Decision,
    RuleBook,
    RuleStep,
    RuleTrial,
    try_rules,
)
from dicom_node.rules.tags import Tags, read_tags, study_tags

__all__ = [
    "PRIORITIES",
    "Decision",
    "RuleBook",
    "RuleStep",
    "RuleTrial",
    "Tags",
    "read_tags",
    "study_tags",
    "try_rules",
]
