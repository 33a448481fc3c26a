"""Tiny checkpoints of the real architectures, written to disk and read back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers

from model.engines.checkpoint import EngineCheckpoint, EngineError
from model.engines.generative import GenerativeEngine
from model.engines.sam3 import Sam3Engine
from model.engines.zero_shot import ZeroShotEngine, caption_groups, task_groups
from model.records import ImageStack
from tests.builders.tiny_engines import (
    ARCHITECTURES,
    change_weights,
    write_checkpoint,
)

PHRASES = ["liver", "left kidney nodule", "aorta."]
ENGINES = {"florence2": GenerativeEngine, "llava": GenerativeEngine, "sam3": Sam3Engine}


def make_engine(name, folder):
    # Random coordinates are as unlikely as their number is large.
    low = 1e-6 if name in ("florence2", "llava") else 1e-3
    kind = ENGINES.get(name, ZeroShotEngine)
    return kind(write_checkpoint(name, folder / name), presence_threshold=low)


def make_stack():
    pixels = np.random.default_rng(0).normal(0, 100, (3, 40, 60)).astype(np.float32)
    return ImageStack(pixels, (3.0, 1.0, 1.0), "CT", None, is_volume=True)


@pytest.fixture(scope="module")
def engines(tmp_path_factory):
    folder = tmp_path_factory.mktemp("engines")
    return {name: make_engine(name, folder) for name in ARCHITECTURES}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_phrase_is_answered_in_order(engines, name):
    steps = []

    answers = engines[name].ground(
        make_stack(), PHRASES, progress=lambda *step: steps.append(step)
    )

    assert [answer.phrase for answer in answers] == PHRASES
    assert any(answer.is_present and answer.mask.any() for answer in answers)
    for answer in answers:
        assert 0 <= answer.score <= 1
        assert 0 <= answer.uncertainty <= 1
        assert answer.mask.any() == answer.is_present == bool(answer.boxes)
    assert steps[-1][0] == steps[-1][1]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_same_question_gets_the_same_answer(engines, name):
    first, second = (engines[name].ground(make_stack(), PHRASES) for _ in range(2))

    for one, other in zip(first, second, strict=True):
        assert one.score == other.score
        assert np.array_equal(one.mask, other.mask)


@pytest.mark.parametrize("name", ["grounding-dino", "mm-grounding-dino"])
def test_words_belong_to_their_own_phrase(engines, name):
    """The stock answer is words; ours is their mean over each phrase's tokens."""
    engine = engines[name]
    picture = np.random.default_rng(1).integers(0, 255, (1, 40, 60, 3), np.uint8)
    tokens = engine._tokenizer("liver. left kidney nodule.", return_tensors="pt")
    stock = engine.network(
        pixel_values=engine.pictures.prepare(picture),
        input_ids=tokens["input_ids"],
        attention_mask=tokens["attention_mask"],
    )

    ((liver, nodule),) = engine.see(picture, ["liver", "Left kidney nodule."])

    words = stock.logits[0].sigmoid()  # [CLS] liver . left kidney nod ##ule . [SEP]
    assert liver.scores.max() == pytest.approx(float(words[:, 1].max()), abs=1e-5)
    last = tokens["input_ids"].shape[1] - 2
    mean = words[:, 3:last].mean(-1)
    assert nodule.scores.max() == pytest.approx(float(mean.max()), abs=1e-5)


def test_unknown_words_have_a_score_and_no_words_have_none(engines):
    engine = engines["grounding-dino"]
    picture = np.random.default_rng(1).integers(0, 255, (1, 40, 60, 3), np.uint8)
    assert engine._tokenizer.tokenize("\U0001f9ff") == ["[UNK]"]

    ((unknown, empty, liver),) = engine.see(picture, ["\U0001f9ff", "\u200b", "liver"])

    assert 0 < unknown.scores.max() < 1
    assert empty.scores.max() == 0
    assert 0 < liver.scores.max() < 1


def test_owl_boxes_and_scores_are_those_of_its_own_post_processing(engines):
    engine = engines["owlv2"]
    picture = np.random.default_rng(1).integers(0, 255, (1, 40, 60, 3), np.uint8)

    ((found,),) = engine.see(picture, ["liver"])

    read = engine._tokenizer(
        ["liver"], padding="max_length", max_length=16, return_tensors="pt"
    )
    stock = engine.network(
        pixel_values=engine.pictures.prepare(picture),
        input_ids=read["input_ids"],
        attention_mask=read["attention_mask"],
    )
    best = stock.logits[0, :, 0].sigmoid().argmax()
    centre, size = stock.pred_boxes[0, best, :2], stock.pred_boxes[0, best, 2:]
    corners = torch.cat((centre - size / 2, centre + size / 2)).numpy()
    assert np.allclose(found.boxes_xyxy[0], corners, atol=1e-5)


def test_a_phrase_does_not_hear_how_many_others_are_asked(engines):
    engine = engines["sam3"]

    alone = engine.ground(make_stack(), PHRASES[:1])[0]
    together = engine.ground(make_stack(), PHRASES)[0]

    assert alone.score == pytest.approx(together.score, abs=1e-5)


def test_many_phrases_are_asked_in_several_captions(engines):
    tokenizer = engines["grounding-dino"]._tokenizer
    phrases = [f"nodule number {i} in the left kidney" for i in range(60)]

    groups = caption_groups(phrases, tokenizer)

    assert [i for group in groups for i in group] == list(range(60))
    for group in groups:
        caption = ". ".join(phrases[i] for i in group) + "."
        assert len(tokenizer(caption)["input_ids"]) <= 256
    with pytest.raises(EngineError, match="tokens"):
        caption_groups(["word " * 400], tokenizer)


@pytest.mark.parametrize("name", ["owlv2", "owlvit", "omdet-turbo", "sam3"])
def test_a_phrase_that_does_not_fit_is_refused_not_cut(engines, name):
    picture = np.zeros((1, 40, 60, 3), np.uint8)

    with pytest.raises(EngineError, match=r"tokens; \d+ fit"):
        engines[name].see(picture, ["liver", "left kidney " * 30])


def test_many_classes_are_asked_in_several_tasks(engines):
    engine = engines["omdet-turbo"]
    phrases = ["left kidney nodule", "liver", "aorta"] * 10
    picture = np.random.default_rng(1).integers(0, 255, (2, 40, 60, 3), np.uint8)

    groups = task_groups(phrases, engine._tokenizer, length=48)
    many = engine.see(picture, phrases)
    few = engine.see(picture, [phrases[i] for i in groups[-1]])

    assert len(groups) > 1
    assert [i for group in groups for i in group] == list(range(30))
    for group in groups:
        task = "Detect {}.".format(", ".join(phrases[i] for i in group))
        assert len(engine._tokenizer(task)["input_ids"]) <= 48
    for all_answers, last_answers in zip(many, few, strict=True):
        assert len(all_answers) == 30
        for place, own in zip(groups[-1], last_answers, strict=True):
            assert np.allclose(all_answers[place].scores, own.scores, atol=1e-5)


def test_weights_that_could_run_code_are_not_opened(tmp_path):
    folder = write_checkpoint("owlvit", tmp_path)
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")

    with pytest.raises(EngineError, match="safetensors"):
        ZeroShotEngine(folder)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, r"no config\.json"),
        ("{}", "no architecture"),
        ('{"architectures": ["NoSuchModel"]}', "NoSuchModel is none of"),
    ],
)
def test_a_folder_that_cannot_serve_says_why(tmp_path, text, said):
    folder = write_checkpoint("owlvit", tmp_path)
    (folder / "config.json").unlink()
    if text is not None:
        (folder / "config.json").write_text(text)

    with pytest.raises(EngineError, match=said):
        ZeroShotEngine(folder)


@pytest.mark.parametrize("shape", [None, (3,)])
def test_weights_that_the_file_lacks_are_not_made_up(tmp_path, shape):
    folder = write_checkpoint("grounding-dino", tmp_path)
    lost = "bbox_embed.0.layers.2.bias"  # every layer's box head is tied to it

    def lose(weights):
        del weights[lost]
        if shape is not None:
            weights[lost] = torch.zeros(shape)

    change_weights(folder, lose)

    with pytest.raises(EngineError, match=r"does not hold .*bbox_embed"):
        ZeroShotEngine(folder)


def test_another_engine_s_checkpoint_is_refused_by_name(engines):
    folder = engines["owlvit"].checkpoint.folder

    with pytest.raises(EngineError, match="OwlViTForObjectDetection"):
        Sam3Engine(folder)
    with pytest.raises(EngineError, match="OwlViTForObjectDetection"):
        GenerativeEngine(folder)


def test_the_identity_changes_with_the_weights(tmp_path):
    first = EngineCheckpoint.open(write_checkpoint("owlvit", tmp_path / "a"))
    same = EngineCheckpoint.open(write_checkpoint("owlvit", tmp_path / "b"))
    other = EngineCheckpoint.open(write_checkpoint("owlvit", tmp_path / "c", seed=1))

    assert first.sha256 == same.sha256
    assert first.sha256 != other.sha256


@pytest.mark.parametrize("name", ["spiece.model", "merges.txt", "vocab.json"])
def test_the_identity_changes_with_the_vocabulary(tmp_path, name):
    folder = write_checkpoint("owlvit", tmp_path)
    before = EngineCheckpoint.open(folder).sha256

    (folder / name).write_bytes(b"other words")

    assert EngineCheckpoint.open(folder).sha256 != before


def test_a_model_of_the_hub_keeps_its_name(tmp_path):
    folder = (
        tmp_path / "models--IDEA-Research--grounding-dino-tiny/snapshots" / ("a" * 40)
    )
    checkpoint = EngineCheckpoint.open(write_checkpoint("owlvit", folder))

    assert checkpoint.name == "IDEA-Research/grounding-dino-tiny"


def test_no_released_class_is_missing_from_transformers():
    for name in (
        "GroundingDinoForObjectDetection",
        "Sam3Model",
        "Florence2ForConditionalGeneration",
    ):
        assert hasattr(transformers, name)
