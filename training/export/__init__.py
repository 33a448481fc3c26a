"""Hand records to other trainers: ODVG and COCO."""

from training.export.coco import export_coco
from training.export.odvg import export_odvg
from training.export.pictures import export_pictures

__all__ = ["export_coco", "export_odvg", "export_pictures"]
