"""Train the toy with and without each option and write what each is worth."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from model.processor import Processor
from training.config import TrainingConfig
from training.errors import ConfigError
from training.fit.toy_run import TOY, ToyScore, score_toy, train_toy

__all__ = [
    "ABLATIONS",
    "Ablation",
    "ablate",
    "ablation_command",
    "add_ablation_arguments",
]


@dataclass(frozen=True)
class Ablation:
    """One option, and the variant of the toy on which it could matter."""

    option: str
    on: dict[str, Any]
    """Changes of ``TrainingConfig``; keys that begin with ``model.`` of its model"""
    off: dict[str, Any]
    metric: str = "accuracy"
    """Field of :class:`training.fit.toy_run.ToyScore`; higher is better"""
    world: dict[str, Any] = field(default_factory=dict)
    """Options of the toy"""
    note: str = ""


_BLIND = {"model.film": False, "model.modality_tokens": False}
_BLIND["model.text_prefix"] = False
_TWO = {"two_modalities": True}

ABLATIONS = (
    Ablation("film", {**_BLIND, "model.film": True}, _BLIND, world=_TWO),
    Ablation(
        "modality_tokens", {**_BLIND, "model.modality_tokens": True}, _BLIND, world=_TWO
    ),
    Ablation("text_prefix", {**_BLIND, "model.text_prefix": True}, _BLIND, world=_TWO),
    Ablation(
        "hierarchy switch",
        {"loss_weights.hierarchy": 0.1, "model.hierarchy": True},
        {"loss_weights.hierarchy": 0.0, "model.hierarchy": False},
        metric="auroc",
        world={"families": True},
    ),
    Ablation(
        "hierarchy loss",
        {"loss_weights.hierarchy": 0.1, "model.hierarchy": False},
        {"loss_weights.hierarchy": 0.0, "model.hierarchy": False},
        metric="consistency",
        world={"families": True},
        note="share of pairs whose parent is as likely as its child",
    ),
    Ablation(
        "attribute_bank",
        {"model.attribute_bank": True},
        {"model.attribute_bank": False},
        world={"words": True, "attributes": True},
    ),
    Ablation("hypotheses", {"model.hypotheses": 3}, {"model.hypotheses": 1}),
    Ablation("denoising", {"denoising_groups": 2}, {"denoising_groups": 0}),
    Ablation("proposals supervised", {"proposal_matches": 9}, {"proposal_matches": 0}),
    Ablation("proposals one-to-many", {"proposal_matches": 9}, {"proposal_matches": 1}),
    Ablation("word alignment", {"word_alignment": True}, {"word_alignment": False}),
    Ablation("dense branch", {"loss_weights.dense": 1.0}, {"loss_weights.dense": 0.0}),
    Ablation("taco", {"loss_weights.taco": 0.05}, {"loss_weights.taco": 0.0}),
)
"""Every switch of the network and of its training."""


def ablate(
    out: Path,
    *,
    options: Sequence[str] = (),
    seeds: Sequence[int] = (1, 2),
    base: TrainingConfig = TOY,
) -> list[dict[str, Any]]:
    """Measure options and write rows to `out`, after every option anew.

    Runs that two options share are made once; a file that is there already is taken
    up, and only what it lacks is measured.

    Parameters
    ----------
    out
        JSON list of {option, metric, on, off, n, seeds, note, scores}; ``on`` and
        ``off`` hold one value per seed.
    options
        Names; empty: all.

    Raises
    ------
    ConfigError
        There is no such option, or `out` is no list of rows.
    """
    known = {ablation.option: ablation for ablation in ABLATIONS}
    if unknown := sorted(set(options) - set(known)):
        raise ConfigError(f"no option {unknown[0]}; there are {', '.join(known)}")
    rows = _read(out)
    done = {row["option"] for row in rows}
    scores: dict[str, ToyScore] = {}
    for name in options or known:
        if name in done:
            continue
        rows.append(_measure(known[name], seeds, base, scores))
        part = out.with_suffix(".part")
        part.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        part.replace(out)
    return rows


def _measure(
    ablation: Ablation,
    seeds: Sequence[int],
    base: TrainingConfig,
    scores: dict[str, ToyScore],
) -> dict[str, Any]:
    found: dict[str, list[ToyScore]] = {"on": [], "off": []}
    for side, changes in (("on", ablation.on), ("off", ablation.off)):
        for seed in seeds:
            config = change(replace(base, seed=seed), changes)
            key = json.dumps([asdict(config), ablation.world], sort_keys=True)
            if key not in scores:
                scores[key] = _score(config, ablation.world)
            found[side].append(scores[key])
    return {
        "option": ablation.option,
        "metric": ablation.metric,
        **{
            side: [getattr(score, ablation.metric) for score in values]
            for side, values in found.items()
        },
        "n": found["on"][0].phrases,
        "seeds": list(seeds),
        "note": ablation.note,
        "scores": {side: [asdict(s) for s in found[side]] for side in found},
    }


def _score(config: TrainingConfig, world: dict[str, Any]) -> ToyScore:
    trainer, _ = train_toy(config, processor=Processor(config.model), **world)
    return score_toy(trainer, **world)


def change(config: TrainingConfig, changes: dict[str, Any]) -> TrainingConfig:
    """Return a configuration with dotted names changed."""
    model, weights, own = config.model, dict(config.loss_weights), {}
    for name, value in changes.items():
        table, _, key = name.rpartition(".")
        if table == "model":
            model = replace(model, **{key: value})
        elif table == "loss_weights":
            weights[key] = value
        else:
            own[key] = value
    return replace(config, model=model, loss_weights=weights, **own)


def _read(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    try:
        rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        _ = [row["option"] for row in rows]
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"{path} is no list of ablation rows") from error
    return rows


def add_ablation_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what :func:`ablation_command` takes."""
    parser.add_argument("out", type=Path, help="JSON file to write or to complete")
    parser.add_argument("options", nargs="*", help="default: all")
    parser.add_argument("--steps", type=int, default=TOY.steps, help="of each run")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])


def ablation_command(chosen: argparse.Namespace) -> None:
    """Measure options; a run that was cut off goes on where it stopped."""
    torch.set_num_threads(1)
    ablate(
        chosen.out,
        options=chosen.options,
        seeds=chosen.seeds,
        base=replace(TOY, steps=chosen.steps),
    )
