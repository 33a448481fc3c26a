"""What the node claims over DICOM, and the judges of what it writes."""
