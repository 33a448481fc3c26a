"""DICOMweb on what the node holds: search, retrieve and store (PS3.18 10)."""
