"""Where the model's time goes, what bounds it, and what other arithmetic changes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    BertConfig,
    MMGroundingDinoConfig,
    MMGroundingDinoForObjectDetection,
    SwinConfig,
)

from dicom_node.errors import OpenDataError
from dicom_node.opendata import fetch_totalsegmentator
from model.arithmetic import PLAIN, Arithmetic
from model.evidence import compare, decode
from model.features import See, see_stack
from model.inference import GroundingModel
from model.medglip import MedGLIP
from model.parity import BOUNDS, compare_answers
from model.processor import Processor
from model.records import ImageStack
from tests.bench.report import Table
from tests.bench.stock_model import StockModel, prompt, show
from training.bundled.evaluate import SIX
from training.bundled.heldout import load_held_out
from training.evaluation.metrics import dice, paste
from training.phrases import load_lexicon

__all__ = ["arithmetic_table", "limit_table", "parity_table", "stage_table"]

_BATCHES = (1, 4, 16)
_TURNS = 3


def stage_table(
    model: GroundingModel, stack: ImageStack, phrases: Sequence[str], *, device: str
) -> Table:
    """Take a study apart: what each step of an answer costs."""
    trunk, features_s, compared_s, decoded_s, whole_s = [], [], [], [], []
    for _ in range(_TURNS):
        see, seen = _watched(model.network.see, device)
        began = _now(device)
        features = see_stack(
            model.network, stack, device=device, progress=None, see=see, for_core=False
        )
        looked = _now(device)
        answered = model.ground(stack, phrases)
        grounded = _now(device)
        reading = model.read(features, phrases)
        kept = [row for row, one in enumerate(answered) if one.is_present]
        read = _now(device)
        found = compare(model.network, features, reading)
        matched = _now(device)
        decode(model.network, features, reading, found, rows=kept)
        decoded_s.append(_now(device) - matched)
        compared_s.append(matched - read)
        whole_s.append(grounded - looked)
        features_s.append(looked - began)
        trunk.append(sum(seen))
    parts = [
        ("resample to 3 mm, gather, window", median(features_s) - median(trunk)),
        ("image trunk", median(trunk)),
        ("compare with the phrases", median(compared_s)),
        ("decode maps of present phrases", median(decoded_s)),
    ]
    rest = median(whole_s) - sum(seconds for _, seconds in parts)
    parts.append(("islands, masks in source pixels, boxes", rest))
    total = median(whole_s)
    rows = [(name, 1e3 * seconds, seconds / total) for name, seconds in parts]
    return Table(
        f"{device}: where the time of the CT of {len(stack.pixels)} slices goes",
        ("step", "ms", "share"),
        (*rows, ("in all", 1e3 * total, 1.0)),
    )


def limit_table(model: GroundingModel, stack: ImageStack, *, device: str) -> Table:
    """Set the trunk's arithmetic beside a matrix product's in the same run."""
    batches: list[tuple[Tensor, Tensor]] = []

    def keep(pixels: Tensor, modality: Tensor) -> tuple[Tensor, ...]:
        batches.append((pixels, modality))
        pyramid: tuple[Tensor, ...] = model.network.see(pixels, modality)
        return pyramid

    some = replace(stack, pixels=stack.pixels[:12])
    see_stack(model.network, some, device=device, progress=None, see=keep)
    pixels, modality = batches[0]
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model.network.see(pixels, modality)
    flops = counter.get_total_flops() / len(pixels)
    side = 4096 if device == "cuda" else 1024
    square = torch.randn(side, side, device=device)
    trunk, product = [], []
    with torch.inference_mode():
        for _ in range(2 * _TURNS):
            product.append(_seconds(lambda: square @ square, device))
            trunk.append(_seconds(lambda: model.network.see(pixels, modality), device))
    peak = 2 * side**3 / median(product) / 1e9
    reached = flops * len(pixels) / median(trunk) / 1e9
    rows, columns = pixels.shape[-2:]
    return Table(
        f"{device}: the limit of the trunk, on pictures of {rows} x {columns}",
        (
            "GFLOP an image",
            "reached, GFLOP/s",
            f"matrix product of {side}, GFLOP/s",
            "share",
            "images/s at the limit",
        ),
        ((flops / 1e9, reached, peak, reached / peak, peak * 1e9 / flops),),
    )


def arithmetic_table(
    model: GroundingModel,
    stack: ImageStack,
    phrases: Sequence[str],
    *,
    device: str,
    is_whole: bool,
) -> Table:
    """Measure batch sizes and arithmetic of the trunk, each with its distance.

    Parameters
    ----------
    is_whole
        False: float32 alone. Nothing is compiled for a processor, where it takes a
        minute.
    """
    some = replace(stack, pixels=stack.pixels[:36])
    usual = model.pictures_at_once
    model.pictures_at_once = 4
    exact = model.ground(some, phrases, with_probabilities=True)
    ways = [(PLAIN, batch) for batch in _BATCHES]
    if is_whole:
        ways.append((Arithmetic("bfloat16"), 4))
    if is_whole and device == "cuda":
        ways += [
            (Arithmetic("bfloat16"), 16),
            (Arithmetic("float32", is_compiled=True), 16),
        ]
        ways.append((Arithmetic("bfloat16", is_compiled=True), 16))
    rows: list[tuple[str | float, ...]] = []
    for arithmetic, batch in ways:
        if str(arithmetic) != (model.arithmetic or str(PLAIN)):
            model.use(arithmetic)
        model.pictures_at_once = batch
        answers = model.ground(some, phrases, with_probabilities=True)
        parity = compare_answers(exact, answers, shape=some.pixels.shape)
        see, seen = _watched(model.see, device)
        for _ in range(_TURNS):
            see_stack(
                model.network,
                some,
                device=device,
                progress=None,
                slices_at_once=batch,
                see=see,
                for_core=False,
            )
        pictures = _TURNS * len(
            see_stack(model.network, some, device=device, progress=None).grid
            .slice_positions
        )  # fmt: skip
        verdict = "refused" if model.refused else "used"
        rows.append(
            (
                str(arithmetic),
                batch,
                pictures / sum(seen),
                parity.score,
                parity.probability,
                parity.dice,
                parity.box_iou,
                verdict,
            )
        )
    model.use(PLAIN)
    model.pictures_at_once = usual
    return Table(
        f"{device}: arithmetic and slices at once; distances from float32 by 4",
        (
            "trunk",
            "at once",
            "images/s in the trunk",
            f"score, at most {BOUNDS.score:g}",
            f"probability, at most {BOUNDS.probability:g}",
            f"Dice, at least {BOUNDS.dice:g}",
            f"box IoU, at least {BOUNDS.box_iou:g}",
            "the probe's verdict",
        ),
        tuple(rows),
    )


def parity_table(
    model: GroundingModel,
    stock: StockModel,
    stack: ImageStack,
    phrases: Sequence[str],
    *,
    work: Path,
    is_whole: bool,
) -> Table:
    """Tell how right both are: with the same weights, and with the shipped ones."""
    boxes, logits = _same_weights(model, stock, stack, phrases, work=work)
    held_out = _held_out(model) if is_whole else "not asked"
    rows: list[tuple[str | float, ...]] = [
        ("same weights: largest difference of a box, in shares of the picture", "0",
         boxes),
        ("same weights: largest difference of a word's logit", "0", logits),
        ("real CT, held out: mean Dice of six organs (stock: nobody has weights of "
         "this size, and boxes are no masks)", "none", held_out),
    ]  # fmt: skip
    return Table(
        f"{stock.device}: accuracy", ("measure", "stock", "dicom-node"), tuple(rows)
    )


@torch.inference_mode()
def _same_weights(
    model: GroundingModel,
    stock: StockModel,
    stack: ImageStack,
    phrases: Sequence[str],
    *,
    work: Path,
) -> tuple[float, float]:
    """Give stock's weights to our wiring and its pixels to both; return distances."""
    torch.manual_seed(5)
    released = MMGroundingDinoForObjectDetection(_released_config()).eval()
    for weight in released.parameters():
        weight.add_(torch.randn_like(weight) * 0.1)
    folder = work / f"released-{stock.device}"
    released.save_pretrained(folder)
    own = MedGLIP.from_stock(folder, slice_offsets_mm=(0.0,))
    config = model.network.config
    peer = StockModel(config=config, device="cpu", network=released, side=256)
    pictures = show(stack, [0, len(stack.pixels) // 2])
    given = [
        peer.processor(images=one, text=prompt(phrases), return_tensors="pt")
        for one in pictures
    ]
    theirs = [released(**one) for one in given]
    pixels = torch.cat([one.pixel_values for one in given])
    asked = torch.arange(len(phrases)).expand(len(pixels), -1)
    modality = torch.zeros(len(pixels), dtype=torch.long)
    text = Processor(own.config).read(list(phrases))
    found = own(pixels, modality, text, asked=asked).detections
    words = given[0].input_ids.shape[1]
    want = torch.cat([one.pred_boxes for one in theirs])
    said = torch.cat([one.logits[..., :words] for one in theirs])
    return (
        float((found.boxes[:, -1] - want).abs().max()),
        float((found.word_logits[:, -1] - said).abs().max()),
    )


def _released_config() -> Any:
    """Return a stock model as released ones are built, in small."""
    swin: dict[str, Any] = {
        "embed_dim": 24,
        "depths": (1, 1, 2, 1),
        "num_heads": (1, 2, 4, 4),
        "out_indices": [2, 3, 4],
    }
    text = BertConfig(
        hidden_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=192,
    )
    sizes = {
        f"{side}_{what}": value
        for side in ("encoder", "decoder")
        for what, value in (("layers", 2), ("attention_heads", 4), ("ffn_dim", 192))
    }
    return MMGroundingDinoConfig(
        backbone_config=SwinConfig(**swin),
        text_config=text,
        d_model=64,
        num_queries=30,
        **sizes,
    )


def _held_out(model: GroundingModel) -> float | str:
    try:
        held_out = load_held_out(fetch_totalsegmentator())
    except OpenDataError:
        return "the open CT cannot be fetched"
    lexicon = load_lexicon()
    overlaps = []
    for phrase, concept in SIX:
        (answer,) = model.ground(held_out.stack, [phrase])
        region = held_out.region(lexicon.find(concept), lexicon)
        mask = paste(answer.mask, answer.mask_origin, region.shape)
        overlaps.append(dice(mask, region))
    return float(np.mean(overlaps))


def _watched(see: See, device: str) -> tuple[See, list[float]]:
    """Return a trunk that notes how long each batch takes it."""
    seen: list[float] = []

    def watched(pixels: Tensor, modality: Tensor) -> tuple[Tensor, ...]:
        began = _now(device)
        pyramid = see(pixels, modality)
        seen.append(_now(device) - began)
        return pyramid

    return watched, seen


def _seconds(work: Callable[[], object], device: str) -> float:
    began = _now(device)
    work()
    return _now(device) - began


def _now(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
