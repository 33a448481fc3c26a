"""Ground phrases in a stack: the one door through which the node uses the model.

How an answer is made:

1. The stack is laid on the model grid (3 mm) and seen once, slice by slice.
2. Every phrase is compared with every pixel (dense branch). The presence score is the
   calibrated mean evidence of the three best slices; a phrase that contains another
   one that is asked (lungs, left lung) is never less present than that one, and takes
   its region where it has none of its own. Maps are made of the phrases that are
   present; an absent phrase costs its comparison and no more.
3. Where its share ``core_weight`` is above zero, the detection core looks for each
   phrase that is present, one at a time, and its masks are mixed in.
4. Probabilities above ``mask_threshold`` form the mask; islands below
   ``min_region_mm3`` or 2 % of the largest island are dropped. No island left means
   the phrase is absent, and its score is halved.
5. The kept islands are interpolated to the source grid and boxed, piece by piece.

Uncertainty is one minus the product of shares in [0, 1]: the presence score, the
expected Dice of the mask (how far probabilities are from a clear yes or no), the
agreement of the hypotheses and, where the core was asked, that of the two branches;
then read through the table ``uncertainty_knots`` that calibration has set. For an
absent phrase it is the presence score (before it was halved).

But for the one rule of step 2, masks do not depend on which other phrases are asked,
and scores and uncertainties only by rounding.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from model.arithmetic import PLAIN, Arithmetic, Precision, make_seer
from model.config import CONFIG_FILE
from model.decision import absent, contain_parts, decide, presence_score
from model.evidence import (
    Comparison,
    PhraseEvidence,
    compare,
    core_shares,
    decode,
)
from model.features import (
    SLICES_AT_ONCE,
    See,
    StackFeatures,
    memory_format,
    see_stack,
)
from model.files import checked_file
from model.hierarchy import children_first
from model.medglip import WEIGHTS_FILE, MedGLIP
from model.parity import (
    BOUNDS,
    PROBE_PHRASES,
    Parity,
    compare_answers,
    probe_stacks,
    worst_of,
)
from model.processor import Processor
from model.reading import PhraseReader
from model.records import ImageStack, PhraseGrounding
from model.words import Reading

__all__ = ["GroundingModel", "PhraseEvidence"]

_PHRASES_PER_PICTURE = 4
"""Phrases compared at a time, for each picture seen at a time; bounds memory."""


class GroundingModel:
    """A loaded checkpoint, ready to answer.

    Attributes
    ----------
    name, version
        As the checkpoint's configuration says.
    sha256
        Hash over weights and configuration: the identity of the model.
    config
        How scores are read; ``network`` is the network itself.
    pictures_at_once
        How many slices are seen at a time: fewer need less memory.
    is_reentrant
        ``ground`` may be called from within the ``progress`` of another call, and both
        answer as they do alone: nothing of a call is kept in the model.
    refused
        Why another arithmetic was asked for and is not used; "" when it is, or was not.
    """

    is_reentrant = True

    def __init__(self, model: MedGLIP, *, sha256: str, device: str = "cpu") -> None:
        self.config = model.config
        self.name = model.config.name
        self.version = model.config.version
        self.sha256 = sha256
        self.pictures_at_once = SLICES_AT_ONCE
        self._home = self._device = device
        self._arithmetic = PLAIN
        self._see: See | None = None
        self.refused = ""
        self.network = _place(model, device).eval()
        self.processor = Processor(model.config)
        self._reader = PhraseReader(self.network, self.processor)

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        device: str = "cpu",
        presence_threshold: float | None = None,
        precision: Precision = "float32",
        is_compiled: bool = False,
    ) -> GroundingModel:
        """Load a checkpoint folder and the frozen text encoder, from disk only.

        Parameters
        ----------
        presence_threshold
            A phrase is present from this score on; None: as the checkpoint says.
        precision, is_compiled
            See ``use``.

        Raises
        ------
        ValueError
            A file lies elsewhere, or is not what the folder's manifest or the
            configuration says.
        """
        path = Path(folder)
        sha256 = _sha256(path)
        model = MedGLIP.from_pretrained(path)
        if sha256 != _sha256(path):
            raise ValueError("the checkpoint was replaced while it was read")
        found = cls(model, sha256=sha256, device=device)
        if presence_threshold is not None:
            found.config = replace(found.config, presence_threshold=presence_threshold)
        found.use(Arithmetic(precision, is_compiled))
        return found

    @property
    def device(self) -> str:
        """Where it answers, as torch spells it."""
        return self._device

    @property
    def see(self) -> See:
        """What runs the image trunk, in the arithmetic that is in use."""
        return (
            self._see if self._see is not None and self._is_other else self.network.see
        )

    @property
    def arithmetic(self) -> str:
        """How the trunk computes, where that is not plain float32; else ""."""
        return str(self._arithmetic) if self._is_other else ""

    def use(self, arithmetic: Arithmetic) -> Parity | None:
        """Compute otherwise from here on, if that answers probes as float32 does.

        Parameters
        ----------
        arithmetic
            When its answers lie beyond ``parity.BOUNDS``, or it does not run at all,
            the model goes on in float32 and ``refused`` says why.

        Returns
        -------
        How far the answers lie apart; None where there was nothing to compare.
        """
        self._arithmetic, self._see, self.refused = PLAIN, None, ""
        if arithmetic == PLAIN:
            return None
        probes = probe_stacks()
        exact = [self._answer_probe(one) for one in probes]
        self._arithmetic = arithmetic
        self._see = make_seer(self.network, arithmetic)
        parity, why = None, ""
        try:
            other = [self._answer_probe(one) for one in probes]
        except Exception as error:  # noqa: BLE001 - compilers fail in many ways
            why = f"it does not run here ({type(error).__name__})"
        else:
            parity = worst_of(
                compare_answers(mine, theirs, shape=one.pixels.shape[:3])
                for one, mine, theirs in zip(probes, exact, other, strict=True)
            )
            if not parity.is_within(BOUNDS):
                why = f"it answers otherwise than float32: {parity}"
        if why:
            self._arithmetic, self._see = PLAIN, None
            self.refused = why
        return parity

    def _answer_probe(self, probe: ImageStack) -> tuple[PhraseGrounding, ...]:
        """Answer a probe with every phrase called present: each shows its mask."""
        config = self.config
        self.config = replace(config, presence_threshold=0.0)
        try:
            return self.ground(probe, PROBE_PHRASES, with_probabilities=True)
        finally:
            self.config = config

    @property
    def _is_other(self) -> bool:
        # What was judged was judged on one device.
        return self._see is not None and self._device == self._home

    def move_to(self, device: str) -> None:
        """Answer on another device from here on."""
        _place(self.network, device)
        self._device = device
        self._reader.forget()

    def ground(
        self,
        stack: ImageStack,
        phrases: Sequence[str],
        *,
        progress: Callable[[int, int], None] | None = None,
        with_probabilities: bool = False,
    ) -> tuple[PhraseGrounding, ...]:
        """Answer every phrase, in order.

        Parameters
        ----------
        with_probabilities
            Answer with the probability of every voxel of a mask's box, too.
        progress
            Called with (steps done, steps in all); never with a phrase.

        Raises
        ------
        ValueError
            The pixels are empty, not finite or of an unknown shape.
        """
        _check(stack)
        if not phrases:
            return ()
        parents = self.processor.parents(phrases)
        order = children_first(parents)  # a parent is decided when its children are
        at_once = _PHRASES_PER_PICTURE * self.pictures_at_once
        groups = [order[i : i + at_once] for i in range(0, len(order), at_once)]

        def report(done: int, total: int) -> None:
            if progress is not None:
                progress(done, total + len(groups))

        features = see_stack(
            self.network,
            stack,
            device=self._device,
            progress=report,
            slices_at_once=self.pictures_at_once,
            see=self.see,
            for_core=bool(self.config.core_weight),
        )
        slices = len(features.grid.slice_positions)
        answers: dict[int, PhraseGrounding] = {}
        floors = dict.fromkeys(order, -np.inf)
        parts: dict[int, list[PhraseGrounding]] = {row: [] for row in order}
        for number, group in enumerate(groups):
            reading = self.read(features, [phrases[row] for row in group])
            found = compare(self.network, features, reading)
            for place, row in enumerate(group):
                logit = max(found.presence_logits[place], floors[row])
                found.presence_logits[place] = logit
                if (parent := parents[row]) >= 0:
                    floors[parent] = max(logit, floors[parent])
            kept = self._decode_present(features, reading, found)
            for place, row in enumerate(group):
                score = self.presence_score(found.presence_logits[place])
                if place in kept:
                    answer = decide(
                        phrases[row],
                        kept[place],
                        grid=features.grid,
                        is_volume=stack.is_volume,
                        config=self.config,
                        with_probability=with_probabilities,
                    )
                else:
                    answer = absent(phrases[row], score)
                answers[row] = contain_parts(answer, parts[row], score=score)
                if (parent := parents[row]) >= 0:
                    parts[parent].append(answers[row])
            if progress is not None:
                progress(slices + number + 1, slices + len(groups))
        return tuple(answers[row] for row in range(len(phrases)))

    def evidence(
        self, features: StackFeatures, phrases: Sequence[str], *, ask_core_from: float
    ) -> list[PhraseEvidence]:
        """Ask the dense branch about every phrase, and the core where it matters.

        Parameters
        ----------
        phrases
            At most sixteen.
        ask_core_from
            Presence score from which the core looks for a phrase, too; above one:
            never. A network without a core is never asked.
        """
        reading = self.read(features, phrases)
        compared = compare(self.network, features, reading)
        every = range(len(phrases))
        found = decode(self.network, features, reading, compared, rows=every)
        if self.network.config.core:
            found = self._ask_core(features, reading, found, least=ask_core_from)
        return [found[row] for row in every]

    def presence_score(self, logit: float) -> float:
        """Return the calibrated probability that a phrase is in the image."""
        return presence_score(logit, self.config)

    def read(self, features: StackFeatures, phrases: Sequence[str]) -> Reading:
        """Read phrases as the prompt of this stack says."""
        return self._reader.read(
            phrases,
            modality=features.modality,
            body_part=features.body_part,
            device=self._device,
        )

    def _decode_present(
        self, features: StackFeatures, reading: Reading, found: Comparison
    ) -> dict[int, PhraseEvidence]:
        """Make the maps of the phrases that are present, by their rows."""
        least = self.config.presence_threshold
        rows = [
            row
            for row, logit in enumerate(found.presence_logits)
            if self.presence_score(logit) >= least
        ]
        kept = decode(self.network, features, reading, found, rows=rows)
        if self.config.core_weight:
            kept = self._ask_core(features, reading, kept, least=least)
        return kept

    def _ask_core(
        self,
        features: StackFeatures,
        reading: Reading,
        found: dict[int, PhraseEvidence],
        *,
        least: float,
    ) -> dict[int, PhraseEvidence]:
        """Add the core's maps of the phrases whose presence score is high enough."""
        rows = [
            row
            for row, one in found.items()
            if self.presence_score(one.presence_logit) >= least
        ]
        shares = core_shares(self.network, features, reading, rows=rows)
        return {row: replace(one, core=shares.get(row)) for row, one in found.items()}


def _place(network: MedGLIP, device: str) -> MedGLIP:
    placed: Any = network.to(device, memory_format=memory_format(device))  # type: ignore[call-overload]
    found: MedGLIP = placed
    return found


def _sha256(folder: Path) -> str:
    digest = hashlib.sha256()
    for name in (WEIGHTS_FILE, CONFIG_FILE):
        digest.update(checked_file(folder, name).read_bytes())
    return digest.hexdigest()


def _check(stack: ImageStack) -> None:
    """Refuse pixels that no answer could be true of."""
    pixels = stack.pixels
    colour = pixels.ndim == 4 and pixels.shape[-1] == 3
    if not (pixels.ndim == 3 or colour) or not pixels.size:
        raise ValueError(f"pixels have shape {pixels.shape}, not (slices, rows, cols)")
    if pixels.dtype.kind == "f" and not all(
        np.isfinite(plane).all() for plane in pixels
    ):
        raise ValueError("pixels hold NaN or infinite values")
    spacing = stack.spacing_mm
    if spacing is not None and not all(np.isfinite(s) and s >= 0 for s in spacing):
        raise ValueError(f"spacing {spacing} mm is not a size")
