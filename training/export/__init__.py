"""Hand records to other trainers: ODVG and COCO."""
