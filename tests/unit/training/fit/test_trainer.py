from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch

from model.medglip import MedGLIP
from model.processor import Processor
from tests.builders.tiny_model import TINY
from tests.builders.toy_volume import make_volume
from training.batch import Batch
from training.config import StageConfig, TrainingConfig
from training.derived.slices import SliceStream
from training.derived.volume_source import VolumeSource
from training.errors import ConfigError, TrainingError
from training.fit.trainer import Trainer
from training.phrases import Concept, Lexicon

LEXICON = Lexicon(
    concepts=(
        Concept("liver", "organ", ("liver",), ("liver", "hepatic"), (), ()),
        Concept("spleen", "organ", ("spleen",), ("spleen", "splenic"), (), ()),
        Concept("organs", "organ", ("liver", "spleen"), ("organs",), (), ()),
        Concept("aorta", "vessel", ("aorta",), ("aorta", "aortic"), (), ()),
        Concept("brain", "absent", (), ("brain", "cerebrum"), (), ()),
    ),
    templates=("{x}", "the {x}"),
    held_out_templates=(),
)

CONFIG = TrainingConfig(
    batch=2,
    rows=32,
    columns=48,
    phrases=5,
    contrast_phrases=4,
    core_every=2,
    core_pictures=2,
    core_phrases=4,
    learning_rate=4e-3,
    warmup=2,
    ema=0.9,
    steps=8,
    model=TINY,
)


def make_stream(config: TrainingConfig = CONFIG) -> SliceStream:
    return SliceStream(
        (
            VolumeSource(make_volume(), "ABDOMEN"),
            VolumeSource(make_volume(seed=1, without=frozenset({"spleen"}))),
        ),
        config=config.model,
        lexicon=LEXICON,
        weights=(2.0, 1.0),
        shape=(config.rows, config.columns),
        batch=config.batch,
        phrases=config.phrases,
        contrast_phrases=config.contrast_phrases,
        seed=config.seed,
    )


@pytest.fixture(scope="module")
def batches() -> list[Batch]:
    stream = make_stream()
    return [next(stream) for _ in range(6)]


@cache
def processor() -> Processor:
    return Processor(TINY)


def make_trainer(**changes: Any) -> Trainer:
    return Trainer(replace(CONFIG, **changes), processor=processor())


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in trainer.model.named_parameters()}


def moved(trainer: Trainer, before: dict[str, torch.Tensor]) -> set[str]:
    now = weights(trainer)
    return {n.split(".")[0] for n in now if not torch.equal(now[n], before[n])}


def test_a_step_reports_every_loss_and_moves_the_weights(batches):
    trainer = make_trainer()
    before = weights(trainer)

    losses = trainer.learn(batches[:1])

    parts = {"words", "boxes", "masks", "proposals", "denoising"}
    assert set(losses) == {
        *("dense", "presence", "words", "hierarchy", "total", "gradient"),
        *(f"core.{part}" for part in parts),
    }
    assert all(torch.isfinite(value).all() for value in losses.values())
    assert moved(trainer, before) >= {"trunk", "dense", "presence", "core"}


def test_the_core_learns_at_every_second_step_only(batches):
    trainer = make_trainer(core_every=2)

    has_core = ["core.boxes" in trainer.learn([batch]) for batch in batches[:4]]

    assert has_core == [True, False, True, False]


def test_a_resumed_run_is_the_same_run(tmp_path, batches):
    whole = make_trainer()
    first = [whole.learn([batch]) for batch in batches[:4]]
    half = make_trainer()
    for batch in batches[:2]:
        half.learn([batch])
    half.save(tmp_path, place=2)
    rest = make_trainer()

    others = rest.resume(tmp_path)
    second = [rest.learn([batch]) for batch in batches[2:4]]

    assert others == {"place": 2}
    assert rest.step == whole.step == 4
    for one, other in zip(first[2:], second, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)
    mine, theirs = weights(whole), weights(rest)
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    mine, theirs = whole.average.state_dict(), rest.average.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_the_saved_checkpoint_holds_the_average(tmp_path, batches):
    trainer = make_trainer()
    trainer.learn(batches[:1])
    trainer.save(tmp_path)

    model = MedGLIP.from_pretrained(tmp_path)

    average = trainer.average.state_dict()
    for name, value in model.named_parameters():
        assert torch.equal(value, average[name])
    assert any(
        not torch.equal(value, average[name])
        for name, value in trainer.model.named_parameters()
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "config.json",
        "model.safetensors",
        "state.pt",
    ]


def test_a_stage_teaches_the_modules_it_names_and_no_other(batches):
    stages = (
        StageConfig(steps=1, name="align", train=("trunk", "dense"), core_every=0),
        StageConfig(
            steps=1,
            name="core",
            train=("core",),
            losses=("core",),
            core_every=1,
            core_pictures=0,
            from_average=True,
        ),
    )
    trainer = make_trainer(stages=stages)
    before = weights(trainer)
    trainer.learn(batches[:1])
    assert moved(trainer, before) == {"trunk", "dense"}
    average = trainer.average.state_dict()

    losses = trainer.learn(batches[1:2])

    assert {name.split(".")[0] for name in losses} == {"core", "total", "gradient"}
    assert moved(trainer, average) == {"core"}


def test_what_stands_still_has_no_dropout(batches):
    stages = (StageConfig(steps=1, train=("core",)),)
    trainer = make_trainer(stages=stages)
    trainer.learn(batches[:1])

    assert trainer.model.training
    assert not trainer.model.phrase_adapter.layer.training
    assert trainer.model.core.training


def test_a_stage_that_names_no_module_is_refused(batches):
    trainer = make_trainer(stages=(StageConfig(steps=1, train=("cortex",)),))

    with pytest.raises(ConfigError, match="cortex"):
        trainer.learn(batches[:1])


def test_rates_follow_the_stage(batches):
    stages = (
        StageConfig(steps=1, learning_rate=1e-3, core_learning_rate=1e-4),
        StageConfig(steps=1, name="later"),
    )
    trainer = make_trainer(stages=stages)
    rates = []
    for batch in batches[:2]:
        trainer.learn([batch])
        rates.append([group["lr"] for group in trainer.optimizer.param_groups])

    assert rates[0] == pytest.approx([1e-3, 1e-4])
    assert rates[1] == pytest.approx([CONFIG.learning_rate, CONFIG.core_learning_rate])


def test_two_accumulated_batches_give_their_mean_gradient(batches):
    options = {"text_noise": 0.0, "attribute_dropout": 0.0, "core_every": 0}
    gradients = []
    for some in (batches[:1], batches[1:2], batches[:2]):
        trainer = make_trainer(clip=1e9, learning_rate=0.0, **options)
        for module in trainer.model.modules():
            if isinstance(module, (torch.nn.Dropout, torch.nn.MultiheadAttention)):
                setattr(module, "p" if hasattr(module, "p") else "dropout", 0.0)
        trainer.learn(some)
        trunk = dict(trainer.model.trunk.named_parameters())
        gradients.append({n: p.grad.clone() for n, p in trunk.items()})

    one, other, both = gradients
    for name, value in both.items():
        mean = (one[name] + other[name]) / 2
        assert torch.allclose(value, mean, atol=1e-5, rtol=1e-3), name


def test_a_bfloat16_step_learns_in_full_precision_weights(batches):
    trainer = make_trainer(precision="bfloat16")

    losses = trainer.learn(batches[:1])

    assert all(torch.isfinite(value).all() for value in losses.values())
    assert all(p.dtype == torch.float32 for p in trainer.model.parameters())


def test_a_loss_that_is_no_number_ends_the_run():
    with pytest.raises(TrainingError, match="learning rate"):
        make_trainer().check({"total": float("nan")})


def test_the_state_of_another_network_is_refused(tmp_path, batches):
    make_trainer().save(tmp_path)
    other = make_trainer(model=replace(TINY, hypotheses=1))

    with pytest.raises(ConfigError, match="network"):
        other.resume(tmp_path)


def test_a_damaged_state_is_refused(tmp_path):
    (tmp_path / "state.pt").write_bytes(b"nothing of the kind")

    with pytest.raises(ConfigError, match=r"state\.pt"):
        make_trainer().resume(tmp_path)


def test_a_network_without_a_core_learns_the_rest(batches):
    trainer = make_trainer(model=replace(TINY, core=False))

    losses = trainer.learn(batches[:1])

    assert "dense" in losses
    assert not any(name.startswith("core") for name in losses)


def test_region_contrast_joins_when_it_has_a_weight(batches):
    weights = {**CONFIG.loss_weights, "taco": 0.05}

    losses = make_trainer(loss_weights=weights).learn(batches[:1])

    assert float(losses["taco"]) > 0


def test_a_stage_may_teach_the_mean_of_the_hypotheses_alone(batches):
    together = StageConfig(steps=1, hypotheses=1, train=("trunk", "dense.words"))
    apart = StageConfig(steps=1, train=("dense.variants", "dense.variant_gate"))
    trainer = make_trainer(
        stages=(together, apart), model=replace(TINY, hypotheses=3), core_every=0
    )

    def variants() -> list[torch.Tensor]:
        named = trainer.model.named_parameters()
        return [p.detach().clone() for name, p in named if "dense.variant" in name]

    start = variants()
    trainer.learn([batches[0]])
    middle = variants()
    trainer.learn([batches[1]])

    assert all(torch.equal(a, b) for a, b in zip(start, middle, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(middle, variants(), strict=True))
