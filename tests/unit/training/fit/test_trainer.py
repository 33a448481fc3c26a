from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from model.inference import GroundingModel
from model.records import ImageStack
from tests.builders.tiny_model import TINY
from tests.builders.toy_volume import BLOCKS, make_volume
from training.config import TrainingConfig
from training.derived.slices import SliceStream, collate
from training.derived.volumes import STRUCTURES
from training.evaluation.metrics import dice, paste
from training.fit.trainer import Trainer
from training.phrases import Concept, Lexicon

LEXICON = Lexicon(
    concepts=(
        Concept("liver", "organ", ("liver",), ("liver", "hepatic"), (), ()),
        Concept("spleen", "organ", ("spleen",), ("spleen", "splenic"), (), ()),
        Concept("aorta", "vessel", ("aorta",), ("aorta", "aortic"), (), ()),
        Concept("brain", "absent", (), ("brain", "cerebrum"), (), ()),
        Concept("knee", "absent", (), ("knee", "meniscus"), (), ()),
    ),
    templates=("{x}", "the {x}", "{x} is unremarkable"),
    held_out_templates=(),
)

CONFIG = TrainingConfig(
    steps=120,
    batch=4,
    rows=64,
    columns=80,
    phrases=5,
    contrast_phrases=10,
    core_every=2,
    core_pictures=4,
    core_phrases=5,
    learning_rate=4e-3,
    warmup=10,
    ema=0.95,
    model=replace(TINY, presence_threshold=0.5, min_region_mm3=300.0),
)


def run(trainer: Trainer, steps: int, *, without: frozenset[str] = frozenset()) -> None:
    volumes = (make_volume(), make_volume(seed=1, without=frozenset({"spleen"})))
    stream = iter(
        SliceStream(
            volumes,
            config=CONFIG.model,
            shape=(CONFIG.rows, CONFIG.columns),
            weights=(2.0, 1.0),
            seed=1,
            start=trainer.step * CONFIG.batch,
        )
    )
    for _ in range(steps):
        trainer.learn(collate([next(stream) for _ in range(CONFIG.batch)]))


def make_trainer(**changes: object) -> Trainer:
    volumes = (make_volume(), make_volume(seed=1, without=frozenset({"spleen"})))
    return Trainer(replace(CONFIG, **changes), volumes, lexicon=LEXICON)


def test_a_resumed_run_is_the_same_run(tmp_path):
    whole = make_trainer()
    run(whole, 4)
    half = make_trainer()
    run(half, 2)
    half.save(tmp_path)
    rest = make_trainer(seed=CONFIG.seed)
    rest.resume(tmp_path)

    run(rest, 2)

    for one, other in zip(
        whole.model.parameters(), rest.model.parameters(), strict=True
    ):
        assert torch.equal(one, other)


def test_the_last_stage_teaches_the_core_alone():
    trainer = make_trainer(steps=2, core_steps=2)
    run(trainer, 2)
    before = {k: v.clone() for k, v in trainer.average.state_dict().items()}

    run(trainer, 2)

    moved = {
        name.split(".")[0]
        for name, value in trainer.model.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert moved == {"core"}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_minute_of_training_finds_the_organs_and_misses_the_brain(tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    trainer = make_trainer()
    run(trainer, CONFIG.steps)
    trainer.average.save_pretrained(tmp_path)
    torch.set_num_threads(threads)
    patient = make_volume(seed=9)
    stack = ImageStack(patient.image, patient.spacing_mm, "CT", None, is_volume=True)

    model = GroundingModel.from_pretrained(tmp_path)
    phrases = ["liver", "the splenic", "aorta", "brain", "meniscus"]
    answers = dict(zip(phrases, model.ground(stack, phrases), strict=True))

    for phrase, structure in (("liver", "liver"), ("aorta", "aorta")):
        found = answers[phrase]
        region = patient.labels == STRUCTURES.index(structure) + 1
        mask = paste(found.mask, found.mask_origin, region.shape)
        assert dice(mask, region) > 0.7, phrase
    scores = {phrase: answer.score for phrase, answer in answers.items()}
    assert min(scores["liver"], scores["the splenic"], scores["aorta"]) > max(
        scores["brain"], scores["meniscus"]
    )
    assert not answers["brain"].is_present
    assert set(BLOCKS) == {"liver", "spleen", "aorta"}
    assert np.isfinite(list(scores.values())).all()
