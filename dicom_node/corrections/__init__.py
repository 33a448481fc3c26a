"""What people say of regions: accepted, rejected, redrawn; as DICOM, and as data."""

from dicom_node.corrections.runs import check_frames, mask_of_runs, runs_of_mask

__all__ = ["check_frames", "mask_of_runs", "runs_of_mask"]
