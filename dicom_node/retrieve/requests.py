"""The requests and presentation contexts of an order (PS3.4 C.4, PS3.8 9.3.2)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from pydicom.dataset import Dataset

from conformance.profile import ASSOCIATION_LIMITS, QUERY_RETRIEVE_CONTEXTS
from conformance.sop_classes import STORAGE_CLASSES
from dicom_node.retrieve.archive import Order

__all__ = ["COMMON_CLASSES", "group_orders", "identifiers", "left_of"]

_MAX_CONTEXTS = ASSOCIATION_LIMITS.contexts

_UIDS_AT_ONCE = 100
"""SOP Instance UIDs in one request: some archives keep at most 16 KiB of a value."""

_STORED = QUERY_RETRIEVE_CONTEXTS[1]

COMMON_CLASSES = tuple(
    uid
    for uid, name in STORAGE_CLASSES.items()
    if not any(word in name for word in ("Waveform", "RT ", "Radiation", "Lensometry"))
)[: _MAX_CONTEXTS - 1]
"""Proposed where an archive does not say which SOP classes it has."""


def group_orders(orders: Sequence[Order], *, is_split: bool) -> Iterator[list[Order]]:
    """Split into associations that propose at most 128 contexts.

    Each SOP class takes a context for every transfer syntax; the request itself one.
    """
    if not is_split:
        yield list(orders)
        return
    most = (_MAX_CONTEXTS - 1) // len(_STORED.transfer_syntaxes)
    unknown = [
        one for one in orders if any(not it.sop_class_uid for it in one.instances)
    ]
    if unknown:
        yield unknown
    group: list[Order] = []
    classes: set[str] = set()
    orders = [one for one in orders if one not in unknown]
    for order in _by_few_classes(orders, most):
        its = {one.sop_class_uid for one in order.instances}
        if group and len(classes | its) > most:
            yield group
            group, classes = [], set()
        group.append(order)
        classes |= its
    if group:
        yield group


def _by_few_classes(orders: Sequence[Order], most: int) -> Iterator[Order]:
    for order in orders:
        classes = sorted({one.sop_class_uid for one in order.instances})
        if len(classes) <= most:
            yield order
            continue
        for start in range(0, len(classes), most):
            some = set(classes[start : start + most])
            yield Order(
                order.study_instance_uid,
                order.series_instance_uid,
                tuple(one for one in order.instances if one.sop_class_uid in some),
                is_whole=False,
            )


def left_of(group: Sequence[Order], kept: Collection[str]) -> Iterator[Order]:
    """Yield what of some orders was not kept."""
    for order in group:
        left = tuple(one for one in order.instances if one.sop_instance_uid not in kept)
        if left:
            yield replace(
                order,
                instances=left,
                is_whole=order.is_whole and len(left) == len(order.instances),
            )


def identifiers(order: Order) -> Iterator[Dataset]:
    """Yield the requests for an order: the series, or instances of it."""
    if order.is_whole:
        ds = Dataset()
        ds.QueryRetrieveLevel = "SERIES"
        ds.StudyInstanceUID = order.study_instance_uid
        ds.SeriesInstanceUID = order.series_instance_uid
        yield ds
        return
    uids = [one.sop_instance_uid for one in order.instances]
    for start in range(0, len(uids), _UIDS_AT_ONCE):
        ds = Dataset()
        ds.QueryRetrieveLevel = "IMAGE"
        ds.StudyInstanceUID = order.study_instance_uid
        ds.SeriesInstanceUID = order.series_instance_uid
        ds.SOPInstanceUID = uids[start : start + _UIDS_AT_ONCE]
        yield ds
