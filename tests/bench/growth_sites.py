"""What a site needs, from what one study costs and how many come."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tests.bench.report import Table

__all__ = ["ASSUMED", "STUDIES_A_YEAR", "Mix", "Need", "UnitCosts", "need", "sites"]

STUDIES_A_YEAR = (10**3, 10**5, 10**7)


@dataclass(frozen=True, slots=True)
class UnitCosts:
    """Costs that were measured in the run; seconds of one core unless said otherwise.

    Attributes
    ----------
    record_s : float
        One instance's rows, in the largest database.
    study_s, slice_s : float
        Decoding, objects and checks of a study: fixed, and for each image.
    model_study_s, model_slice_s : float
        The model on the CPU, wall clock on ``model_cores`` cores.
    model_cores : int
        Cores that the model used.
    row_bytes : float
        What the database holds for each instance, with everything that belongs to it.

    """

    record_s: float
    study_s: float
    slice_s: float
    model_study_s: float
    model_slice_s: float
    model_cores: int
    row_bytes: float


@dataclass(frozen=True, slots=True)
class Mix:
    """What a site's studies are like, and when they come: assumed, not measured."""

    ct_share: float = 0.4
    ct_images: int = 300
    ct_bytes: int = 526_000
    cr_images: int = 2
    cr_bytes: int = 10_000_000
    days_a_year: int = 300
    peak_hour_share: float = 0.12
    """Of a day's studies, those of its busiest hour."""
    busy: float = 0.6
    """How much of that hour a core may be busy, so that queues are short."""

    @property
    def images(self) -> float:
        """Images of a study, on average."""
        return self.ct_share * self.ct_images + (1 - self.ct_share) * self.cr_images

    @property
    def size_bytes(self) -> float:
        """Bytes of a study's images, on average."""
        ct = self.ct_share * self.ct_images * self.ct_bytes
        return ct + (1 - self.ct_share) * self.cr_images * self.cr_bytes


ASSUMED = Mix()


@dataclass(frozen=True, slots=True)
class Need:
    """What a site needs in its busiest hour, and for a year."""

    studies_in_peak_hour: float
    megabits_a_second: float
    cores: int
    """For decoding, objects and checks."""
    model_cores: int
    """For the model without a GPU."""
    workers: int
    """Processes that each have as many cores as the model was measured with."""
    disk_tb: float
    """Images of a year."""
    database_gb: float
    database: str


def need(studies_a_year: int, costs: UnitCosts, mix: Mix = ASSUMED) -> Need:
    """Compute what a site needs; the numbers of cores are the least whole ones."""
    peak = studies_a_year / mix.days_a_year * mix.peak_hour_share
    other_s = costs.study_s + mix.images * (costs.slice_s + costs.record_s)
    model_s = costs.model_study_s + mix.images * costs.model_slice_s
    at_hand_s = 3600 * mix.busy
    workers = math.ceil(peak * (other_s + model_s) / at_hand_s)
    return Need(
        studies_in_peak_hour=peak,
        megabits_a_second=peak * mix.size_bytes * 8 / 3600 / 1e6,
        cores=math.ceil(peak * other_s / at_hand_s),
        model_cores=math.ceil(peak * model_s * costs.model_cores / at_hand_s),
        workers=workers,
        disk_tb=studies_a_year * mix.size_bytes / 1e12,
        database_gb=studies_a_year * mix.images * costs.row_bytes / 1e9,
        # One process does the work of a SQLite node; worker processes need a server.
        database="SQLite" if workers <= 1 else "PostgreSQL",
    )


def sites(costs: UnitCosts, mix: Mix = ASSUMED) -> Table:
    """Return the table of sites."""
    rows = []
    for studies in STUDIES_A_YEAR:
        one = need(studies, costs, mix)
        rows.append(
            (
                f"{studies:,}",
                one.studies_in_peak_hour,
                one.megabits_a_second,
                one.cores,
                one.model_cores,
                one.workers,
                one.disk_tb,
                one.database_gb,
                one.database,
            )
        )
    return Table(
        "What a site needs, computed from the costs above",
        (
            "studies a year",
            "in the peak hour",
            "Mbit/s then",
            "cores (no model)",
            "cores of the model, on CPU",
            "workers",
            "images TB/year",
            "database GB/year",
            "database",
        ),
        tuple(rows),
    )
