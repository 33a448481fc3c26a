"""Know the labels: their names, their places in each other, and how they look."""

from __future__ import annotations

from model.knowledge.labels import Attributes, Label, read_labels
from model.knowledge.tree import Knowledge, load_knowledge

__all__ = ["Attributes", "Knowledge", "Label", "load_knowledge", "read_labels"]
