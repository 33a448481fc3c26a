"""Offer the evaluation on the command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path

from training.errors import ConfigError
from training.evaluation.cases import EvaluationCase
from training.evaluation.comparison import render_comparison
from training.evaluation.corruptions import SEVERITIES
from training.evaluation.evaluate import evaluate_cases
from training.evaluation.from_dataset import cases_of_dataset
from training.evaluation.from_records import cases_of_build, cases_of_jsonl
from training.evaluation.medsg import cases_of_medsg
from training.evaluation.metrics import METRICS
from training.evaluation.model import Grounder, HeatSource
from training.evaluation.plots import draw_plots
from training.evaluation.presets import PRESETS, Preset, find_preset, how_to_obtain
from training.evaluation.render import render_report
from training.evaluation.report import Report, write_results
from training.evaluation.robustness import CorruptionPlan
from training.layout import SHARDS_FILE
from training.registry import load_registry

__all__ = [
    "REPORT_FILE",
    "NamedCases",
    "add_evaluate_arguments",
    "evaluate_command",
    "write_report",
]

REPORT_FILE = "report.md"
"""Name of the report in Markdown."""

NamedCases = Mapping[str, Callable[[], Iterable[EvaluationCase]]]
"""Held-out sets that ship with a checkpoint, by name."""


def add_evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    """Name the options of ``python -m training evaluate``."""
    parser.add_argument("checkpoint", type=Path, help="folder of the checkpoint")
    parser.add_argument(
        "data",
        help="folder of a build; JSONL of records with its pictures beside it; folder "
        "of a dataset (with --preset or --dataset); or the name of a held-out set",
    )
    parser.add_argument("--out", type=Path, help="default: CHECKPOINT/evaluation/DATA")
    protocol = parser.add_mutually_exclusive_group()
    protocol.add_argument(
        "--preset", choices=sorted(PRESETS), help="a public benchmark's protocol"
    )
    protocol.add_argument(
        "--dataset", metavar="ID", help="entry of the registry that reads the folder"
    )
    parser.add_argument("--specs", type=Path, help="folder of your own registry files")
    parser.add_argument("--split", help="default: the preset's; test of a build")
    parser.add_argument(
        "--metric",
        action="append",
        metavar="NAME",
        help="compute only this; repeat for more; default: all that apply",
    )
    parser.add_argument("--limit", type=int, help="only the first so many cases")
    parser.add_argument(
        "--corruptions",
        nargs="*",
        type=int,
        metavar="SEVERITY",
        help="ask again about spoiled pictures, in these severities of 1 to 5 "
        "(default: 1 3 5); every one is another run",
    )
    parser.add_argument(
        "--corruption-cases", type=int, help="spoil only the first so many cases"
    )
    parser.add_argument("--device", default="cpu", help="default: cpu")
    parser.add_argument("--seed", type=int, default=0, help="of the intervals")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def evaluate_command(
    options: argparse.Namespace,
    *,
    named: NamedCases | None = None,
    load: Callable[[Path, str], tuple[Grounder, HeatSource | None]] | None = None,
) -> Report:
    """Evaluate a checkpoint, write the report and say where it is.

    Parameters
    ----------
    named
        Held-out sets by name.
    load
        Loads a checkpoint for a device; None: `GroundingModel`.

    Raises
    ------
    TrainingError
        What the person at the keyboard can mend; the message says how.
    """
    known = named or {}
    preset = find_preset(options.preset) if options.preset else None
    metrics = options.metric or (preset.metrics if preset else None)
    unknown = sorted(set(metrics or ()) - set(METRICS))
    if unknown:
        raise ConfigError(f"no metric {unknown}; there are {', '.join(METRICS)}")
    cases = _limited(_cases(options, preset, known), options.limit)
    if not (options.checkpoint / "config.json").is_file():
        raise ConfigError(f"{options.checkpoint} is no folder of a checkpoint")
    model, heat = (load or _load)(options.checkpoint, options.device)
    name = Path(options.data).stem if options.data not in known else options.data
    report = evaluate_cases(
        model,
        cases,
        title=preset.title if preset else f"Evaluation on {name}",
        metrics=metrics,
        heat=heat,
        corruptions=_plan(options),
        progress=None if options.quiet else _bar,
        preset=preset.name if preset else None,
        seed=options.seed,
    )
    out = options.out or options.checkpoint / "evaluation" / name
    write_report(report, out, preset=preset)
    sys.stdout.write(f"{out / REPORT_FILE}\n")
    return report


def write_report(report: Report, out: Path, *, preset: Preset | None = None) -> Path:
    """Write ``results.json``, ``report.md`` and the plots into a folder."""
    out.mkdir(parents=True, exist_ok=True)
    plots = draw_plots(report, out)
    write_results(report, out)
    text = render_report(report, plots=plots)
    if preset is not None:
        head, _, rest = text.partition("\n## Metrics")
        text = f"{head}\n{render_comparison(preset, report)}\n\n## Metrics{rest}"
    path = out / REPORT_FILE
    path.write_text(text, encoding="utf-8")
    return path


def _cases(
    options: argparse.Namespace, preset: Preset | None, named: NamedCases
) -> Iterable[EvaluationCase]:
    """Find out what DATA is."""
    if options.data in named:
        return named[options.data]()
    path = Path(options.data)
    if not path.exists():
        if preset is not None:
            raise ConfigError(f"there is no {path}. {how_to_obtain(preset)}")
        sets = ", ".join(sorted(named)) or "none"
        raise ConfigError(f"there is no {path}; held-out sets by name: {sets}")
    if (path / SHARDS_FILE).is_file():
        return _of_build(path, options, preset)
    if path.suffix == ".jsonl":
        return cases_of_jsonl(path, split=options.split)
    if preset is not None and preset.dataset == "medsg-bench":
        return cases_of_medsg(path)
    dataset = preset.dataset if preset else options.dataset
    if dataset is None:
        raise ConfigError(
            f"{path} is no build and no JSONL; name its layout with --dataset"
        )
    specs = load_registry()
    if options.specs is not None:
        specs |= load_registry(options.specs)
    if dataset not in specs:
        raise ConfigError(f"{dataset} is not in the registry: {', '.join(specs)}")
    split = options.split or (preset.split if preset else None)
    return cases_of_dataset(path, specs[dataset], split=split)


def _of_build(
    path: Path, options: argparse.Namespace, preset: Preset | None
) -> Iterator[EvaluationCase]:
    wanted = preset.dataset if preset else options.dataset
    found = False
    for case in cases_of_build(path, split=options.split or "test"):
        if case.truths and wanted in (None, case.dataset):
            found = True
            yield case
    if not found:
        raise ConfigError(f"the build {path} has no case of {wanted} in this split")


def _limited(
    cases: Iterable[EvaluationCase], most: int | None
) -> Iterable[EvaluationCase]:
    return cases if most is None else islice(cases, most)


def _plan(options: argparse.Namespace) -> CorruptionPlan | None:
    if options.corruptions is None:
        return None
    severities = tuple(options.corruptions) or (1, 3, 5)
    if not set(severities) <= set(SEVERITIES):
        raise ConfigError(f"severities {severities} are not of {SEVERITIES}")
    return CorruptionPlan(
        severities=severities, most_cases=options.corruption_cases, seed=options.seed
    )


def _bar(cases: Iterable[EvaluationCase]) -> Iterable[EvaluationCase]:
    from tqdm import tqdm

    bar: Iterable[EvaluationCase] = tqdm(cases, desc="evaluate", unit="case")
    return bar


def _load(folder: Path, device: str) -> tuple[Grounder, HeatSource | None]:
    from model.inference import GroundingModel
    from training.evaluation.heatmaps import heat_source

    model = GroundingModel.from_pretrained(folder, device=device)
    return model, heat_source(model)
