"""Numbers for Prometheus, read when they are asked for."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from dicom_node.errors import StoreError
from dicom_node.scp import ServerStatistics
from dicom_node.store import DeliveryState, Store, StudyState
from dicom_node.store.switches import DRAINING, PAUSED

__all__ = ["NodeCollector"]

_PREFIX = "dicom_node"


class NodeCollector(Collector):
    """Collects the node's numbers.

    Parameters
    ----------
    store : Store
        Studies and deliveries.
    data_dir : pathlib.Path
        The folder whose disk is told.
    statistics : callable
        Returns the DICOM server's numbers.
    is_model_loaded : callable
        Returns whether the model is ready to answer.
    destinations : tuple of str
        Told with zeros before anything was sent to them.

    """

    def __init__(
        self,
        store: Store,
        *,
        data_dir: Path,
        statistics: Callable[[], ServerStatistics],
        is_model_loaded: Callable[[], bool],
        destinations: tuple[str, ...] = (),
    ) -> None:
        self._store = store
        self._data_dir = data_dir
        self._statistics = statistics
        self._is_model_loaded = is_model_loaded
        self._destinations = destinations

    def collect(self) -> Iterator[Metric]:
        """Yield every number; those of a database that is away are left out."""
        yield from self._server()
        yield GaugeMetricFamily(
            f"{_PREFIX}_disk_free_bytes",
            "Free bytes on the disk of the data folder.",
            value=shutil.disk_usage(self._data_dir).free,
        )
        yield GaugeMetricFamily(
            f"{_PREFIX}_model_loaded",
            "1: the model is ready to answer.",
            value=int(self._is_model_loaded()),
        )
        try:
            counts = self._store.counts()
            switched_on = self._store.switches.turned_on()
        except StoreError:
            yield _database_up(0)
            return
        yield _database_up(1)
        yield GaugeMetricFamily(
            f"{_PREFIX}_paused",
            "1: studies wait until somebody resumes the work.",
            value=int(PAUSED in switched_on),
        )
        yield GaugeMetricFamily(
            f"{_PREFIX}_draining",
            "1: new associations are refused until somebody resumes.",
            value=int(DRAINING in switched_on),
        )
        studies = GaugeMetricFamily(
            f"{_PREFIX}_studies", "Studies by state.", labels=["state"]
        )
        for state in StudyState:
            studies.add_metric([state], counts.studies.get(state, 0))
        yield studies
        deliveries = GaugeMetricFamily(
            f"{_PREFIX}_deliveries",
            "Results by destination and state.",
            labels=["destination", "state"],
        )
        names = {*self._destinations, *(name for name, _ in counts.deliveries)}
        for name in sorted(names):
            for delivery_state in DeliveryState:
                deliveries.add_metric(
                    [name, delivery_state],
                    counts.deliveries.get((name, delivery_state), 0),
                )
        yield deliveries
        yield GaugeMetricFamily(
            f"{_PREFIX}_queue_depth",
            "Study versions that wait for the worker or are with it.",
            value=counts.queued_versions,
        )
        yield GaugeMetricFamily(
            f"{_PREFIX}_studies_not_grounded",
            "Studies that are done and in which nothing could be grounded.",
            value=counts.not_grounded,
        )
        yield GaugeMetricFamily(
            f"{_PREFIX}_instances_stored", "Instances kept.", value=counts.instances
        )

    def _server(self) -> Iterator[Metric]:
        numbers = self._statistics()
        instances = CounterMetricFamily(
            f"{_PREFIX}_instances_received",
            "Instances acknowledged with 0x0000.",
            labels=["outcome"],
        )
        for outcome, number in numbers.instances.items():
            instances.add_metric([outcome], number)
        yield instances
        refused = CounterMetricFamily(
            f"{_PREFIX}_instances_refused",
            "Instances answered with another status.",
            labels=["status"],
        )
        for status, number in numbers.instances_refused.items():
            refused.add_metric([f"0x{status:04X}"], number)
        yield refused
        associations = CounterMetricFamily(
            f"{_PREFIX}_associations", "Associations by how they went.", labels=["how"]
        )
        associations.add_metric(["accepted"], numbers.associations_accepted)
        associations.add_metric(["aborted"], numbers.associations_aborted)
        for reason, number in numbers.associations_rejected.items():
            associations.add_metric([f"rejected_{reason}"], number)
        yield associations
        yield GaugeMetricFamily(
            f"{_PREFIX}_associations_open",
            "Associations open now.",
            value=numbers.open_associations,
        )
        yield CounterMetricFamily(
            f"{_PREFIX}_tls_handshakes_failed",
            "TLS handshakes with DICOM callers that did not succeed.",
            value=numbers.tls_failed,
        )
        yield CounterMetricFamily(
            f"{_PREFIX}_connections_turned_away",
            "DICOM connections closed unheard: their address was refused too often.",
            value=numbers.turned_away,
        )
        yield CounterMetricFamily(
            f"{_PREFIX}_received_bytes",
            "Bytes received over DICOM.",
            value=numbers.bytes_received,
        )


def _database_up(value: int) -> Metric:
    return GaugeMetricFamily(
        f"{_PREFIX}_database_up", "1: the database answers.", value=value
    )
