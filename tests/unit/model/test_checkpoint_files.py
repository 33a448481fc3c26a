"""Hostile checkpoint folders: nothing of them runs, and nothing outside is read."""

from __future__ import annotations

import json
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors import SafetensorError

from model import GroundingModel, bundled_checkpoint
from model.engines.checkpoint import EngineCheckpoint, EngineError
from model.engines.zero_shot import ZeroShotEngine
from model.files import MANIFEST, checked_file
from tests.builders.tiny_engines import write_checkpoint

PICKLES = ("pytorch_model.bin", "model.pt", "data.pkl", "last.ckpt")


class Canary:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path], object], tuple[Path]]:
        return Path.touch, (self.path,)


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("detector")
    return write_checkpoint("owlvit", folder)


@pytest.fixture
def foreign(detector: Path, tmp_path: Path) -> Path:
    return shutil.copytree(detector, tmp_path / "checkpoint")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    folder = tmp_path / "own"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(bundled_checkpoint() / name, folder)
    return folder


def put(folder: Path, name: str, **values: object) -> None:
    path = folder / name
    raw = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**raw, **values}))


def test_the_bundled_checkpoint_is_as_its_manifest_says(own: Path) -> None:
    shutil.copy(bundled_checkpoint() / MANIFEST, own)
    assert checked_file(own, "model.safetensors").is_file()
    with (own / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x01")

    with pytest.raises(ValueError, match="is not the file that SHA256SUMS names"):
        GroundingModel.from_pretrained(own)


@pytest.mark.parametrize("engine", ["own", "foreign"])
def test_pickles_are_never_opened(
    engine: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    folder: Path = request.getfixturevalue(engine)
    canary = tmp_path / "canary"
    pickled = pickle.dumps(Canary(canary))
    for name in PICKLES:
        (folder / name).write_bytes(pickled)
    load = GroundingModel.from_pretrained if engine == "own" else ZeroShotEngine

    load(folder)
    (folder / "model.safetensors").write_bytes(pickled)
    with pytest.raises(SafetensorError):
        load(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises((EngineError, FileNotFoundError)):
        load(folder)

    assert not canary.exists()
    pickle.loads(pickled)
    assert canary.exists()  # it would have sung


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"unknown": 1}, "unknown fields"),
        ({"auto_map": {"AutoModel": "evil.Model"}}, "unknown fields"),
        ({"text_package": "tests.builders.evil"}, "unknown text package"),
        ({"text_sha256": "0" * 64}, "has SHA-256"),
        ({"image_encoder": "x"}, "unknown image encoder"),
    ],
)
def test_an_own_configuration_has_known_fields_only(
    own: Path, values: dict[str, object], why: str
) -> None:
    put(own, "config.json", **values)

    with pytest.raises(ValueError, match=why):
        GroundingModel.from_pretrained(own)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("config.json", {"auto_map": {"AutoModel": "evil--x.Model"}}),
        ("config.json", {"trust_remote_code": True}),
        ("config.json", {"vision_config": {"_attn_implementation": "evil/kernels"}}),
        ("config.json", {"attn_implementation": {"": "evil/kernels:run"}}),
        ("config.json", {"_experts_implementation": "evil/kernels"}),
        ("config.json", {"quantization_config": {"quant_method": "evil"}}),
        ("config.json", {"backbone_config": {"use_pretrained_backbone": True}}),
        ("config.json", {"transformers_weights": "adapter_model.bin"}),
        ("config.json", {"transformers_weights": "sub/x.safetensors"}),
        ("config.json", {"vision_config": {"base_model_name_or_path": "evil/x"}}),
        ("adapter_config.json", {}),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["evil.T", None]}}),
        ("preprocessor_config.json", {"auto_map": {"AutoProcessor": "evil.P"}}),
        ("model.safetensors.index.json", {"weight_map": {"a": "../x.safetensors"}}),
        ("model.safetensors.index.json", {"weight_map": {"a": "weights.bin"}}),
        ("model.safetensors.index.json", {"weight_map": {"a": "no.safetensors"}}),
    ],
)
def test_a_configuration_that_leads_elsewhere_is_refused(
    foreign: Path, name: str, values: dict[str, object]
) -> None:
    (foreign / "evil.py").write_text("raise SystemExit('it ran')")
    put(foreign, name, **values)

    with pytest.raises((EngineError, FileNotFoundError)):
        ZeroShotEngine(foreign)


@pytest.mark.parametrize(
    "architecture", ["RagModel", "AutoModel", "OwlViTModel", "__name__"]
)
def test_only_classes_that_the_engine_knows_are_made(
    foreign: Path, architecture: str
) -> None:
    put(foreign, "config.json", architectures=[architecture])

    with pytest.raises(EngineError, match="is none of: Grounding"):
        ZeroShotEngine(foreign)


def test_links_lead_to_nothing_outside_but_the_hubs_own_cache(
    foreign: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "weights"
    shutil.move(foreign / "model.safetensors", outside)
    (foreign / "model.safetensors").symlink_to(outside)
    with pytest.raises(EngineError, match="lies outside"):
        EngineCheckpoint.open(foreign)

    cache = tmp_path / "models--owner--name"
    (cache / "snapshots").mkdir(parents=True)
    shutil.move(outside, cache / "blob")
    commit = shutil.move(foreign, cache / "snapshots" / ("a" * 40))
    (Path(commit) / "model.safetensors").unlink()
    (Path(commit) / "model.safetensors").symlink_to("../../blob")

    assert EngineCheckpoint.open(Path(commit)).name == "owner/name"


@pytest.mark.parametrize("length", [0, 1 << 62, 100_000_000])
def test_a_head_that_lies_about_its_length_is_refused(own: Path, length: int) -> None:
    path = own / "model.safetensors"
    path.write_bytes(struct.pack("<Q", length) + path.read_bytes()[8:])

    with pytest.raises(SafetensorError):
        GroundingModel.from_pretrained(own)


def test_a_head_that_lies_about_its_tensors_is_refused(own: Path) -> None:
    path = own / "model.safetensors"
    head = {"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}
    text = json.dumps(head).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(64))

    with pytest.raises(SafetensorError):
        GroundingModel.from_pretrained(own)


@pytest.mark.parametrize("text", ["[" * 100_000, "{", '{"model": {"type": "evil"}}'])
def test_a_vocabulary_that_is_none_is_refused(foreign: Path, text: str) -> None:
    (foreign / "tokenizer.json").write_text(text)

    with pytest.raises(
        Exception, match=r"JSON|variant|model|added_tokens|Expecting|expected|recursion"
    ):
        ZeroShotEngine(foreign)
