"""Archives: what a study lacks is fetched before it is processed, priors too."""

from dicom_node.retrieve.check import check_archive
from dicom_node.retrieve.line import RetrieveLine
from dicom_node.retrieve.retriever import ArchiveRetriever, Retriever

__all__ = ["ArchiveRetriever", "RetrieveLine", "Retriever", "check_archive"]
