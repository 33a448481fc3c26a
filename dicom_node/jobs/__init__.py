"""The heavy step of a study, done by worker processes on this host or on others.

The node writes a job and waits (`JobProcessor`); a worker takes it, does it and says
what came of it (`Worker`). They share a PostgreSQL database and a place for files, and
nothing else.
"""

from dicom_node.jobs.files import FileArea, open_area
from dicom_node.jobs.known_model import KnownModel
from dicom_node.jobs.processor import JobProcessor
from dicom_node.jobs.worker import Worker
from dicom_node.jobs.worker_process import run_worker

__all__ = [
    "FileArea",
    "JobProcessor",
    "KnownModel",
    "Worker",
    "open_area",
    "run_worker",
]
