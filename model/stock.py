"""Read released Grounding DINO weights: which of their names is which of ours.

``KEYS`` is the whole correspondence. What a stock checkpoint does not have (masks,
dense branch, presence, hypotheses, bank) stays fresh, behind gates of zero where it
would touch the detections.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForZeroShotObjectDetection

from model.config import MedGLIPConfig
from model.engines.checkpoint import unread_weights

__all__ = ["IGNORED", "KEYS", "read_stock", "stock_config", "stock_state"]

KEYS = {
    "model.backbone.conv_encoder.model.": "trunk.backbone.",
    "model.text_backbone.": "reader.text_backbone.",
    "model.text_projection.": "core.caption.text_projection.",
    "model.input_proj_vision.": "core.input_proj_vision.",
    "model.level_embed": "core.level_embed",
    "model.query_position_embeddings.": "core.query_position_embeddings.",
    "model.encoder.": "core.encoder.",
    "model.decoder.layers.": "core.decoder.layers.",
    "model.decoder.layer_norm.": "core.decoder.layer_norm.",
    "model.decoder.reference_points_head.": "core.decoder.reference_points_head.",
    "model.enc_output.": "core.enc_output.",
    "model.enc_output_norm.": "core.enc_output_norm.",
    "model.encoder_output_bbox_embed.": "core.encoder_output_bbox_embed.",
    "bbox_embed.": "core.bbox_embed.",
}
"""Beginning of a stock name and of ours. The biases of MM-Grounding-DINO's contrastive
heads become ``core.logit_bias``; Grounding DINO has none, and does not divide by the
root of the width: ``core.logit_scale`` undoes ours."""

IGNORED = (
    "model.decoder.bbox_embed.",
    "model.decoder.class_embed.",
    "model.backbone.conv_encoder.model.swin.layernorm.",
)
"""Second names of weights that are read elsewhere, and a norm that nobody reads."""

_FIXED = {
    "activation_function": "relu",
    "position_embedding_type": "sine",
    "positional_embedding_temperature": 20,
    "two_stage": True,
    "embedding_init_target": True,
    "query_dim": 4,
    "layer_norm_eps": 1e-5,
}
"""Settings of a stock model that our core does not vary."""


def read_stock(
    source: str | Path, *, local_files_only: bool
) -> tuple[Any, dict[str, Tensor]]:
    """Return configuration and weights of a released model.

    Parameters
    ----------
    source
        Folder, or the name of a hub repository.
    local_files_only
        True: never the network; a name must be in the local cache.

    Raises
    ------
    ValueError
        The model is of another architecture, or its file lacks weights.
    OSError
        There is no such model.
    """
    name = str(source)
    config = AutoConfig.from_pretrained(name, local_files_only=local_files_only)
    if config.model_type not in ("grounding-dino", "mm-grounding-dino"):
        raise ValueError(f"{config.model_type!r} is no Grounding DINO")
    told: dict[str, Any]
    model: Any
    model, told = AutoModelForZeroShotObjectDetection.from_pretrained(
        name,
        local_files_only=local_files_only,
        use_safetensors=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
    )
    if lost := unread_weights(told):
        raise ValueError(f"the stock checkpoint does not hold {lost}")
    state: dict[str, Tensor] = model.state_dict()
    return config, state


def stock_config(stock: Any, **changes: Any) -> MedGLIPConfig:
    """Return our configuration for a stock one; `changes` have the last word.

    Raises
    ------
    ValueError
        The stock model is built in a way that ours is not.
    """
    swin, bert = stock.backbone_config, stock.text_config
    odd = [key for key, value in _FIXED.items() if getattr(stock, key) != value]
    odd += [
        f"encoder_{what}, decoder_{what}"
        for what in ("layers", "attention_heads", "ffn_dim", "n_points")
        if getattr(stock, f"encoder_{what}") != getattr(stock, f"decoder_{what}")
    ]
    if swin.model_type != "swin" or list(swin.out_indices) != [2, 3, 4]:
        odd.append("backbone_config")
    if bert.model_type != "bert":
        odd.append("text_config")
    if odd:
        raise ValueError(f"this Grounding DINO differs from ours in {', '.join(odd)}")
    size: dict[str, Any] = {
        "modality_tokens": False,
        "text_prefix": False,
        "trunk_channels": (32, 64, *(swin.embed_dim * 2**i for i in (1, 2, 3))),
        "swin_embed_dim": swin.embed_dim,
        "swin_depths": tuple(swin.depths),
        "swin_heads": tuple(swin.num_heads),
        "swin_window": swin.window_size,
        "text_hidden": bert.hidden_size,
        "bert_layers": bert.num_hidden_layers,
        "bert_heads": bert.num_attention_heads,
        "bert_intermediate": bert.intermediate_size,
        "bert_vocabulary": bert.vocab_size,
        "bert_positions": bert.max_position_embeddings,
        "core_dim": stock.d_model,
        "core_heads": stock.encoder_attention_heads,
        "core_layers": stock.encoder_layers,
        "core_ffn": stock.encoder_ffn_dim,
        "core_queries": stock.num_queries,
        "core_points": stock.encoder_n_points,
        "core_extra_levels": stock.num_feature_levels - 3,
    }
    return MedGLIPConfig.base(**{**size, **changes})


def stock_state(state: dict[str, Tensor], config: MedGLIPConfig) -> dict[str, Tensor]:
    """Rename stock weights to ours.

    Raises
    ------
    ValueError
        A stock weight has no place here.
    """
    found: dict[str, Tensor] = {}
    homeless: list[str] = []
    layers, width = config.core_layers, config.core_dim
    biases = [
        state.get(name)
        for name in (
            *(f"class_embed.{i}.bias" for i in range(layers)),
            "model.encoder_output_class_embed.bias",
        )
    ]
    if all(bias is not None for bias in biases):
        found["core.logit_bias"] = torch.stack([b for b in biases if b is not None])
        found["core.logit_scale"] = torch.ones(layers + 1)
    else:
        found["core.logit_bias"] = torch.zeros(layers + 1)
        found["core.logit_scale"] = torch.full((layers + 1,), width**0.5)
    for key, value in state.items():
        if key.startswith(IGNORED) or "class_embed" in key:
            continue
        start = next((start for start in KEYS if key.startswith(start)), None)
        if start is None:
            homeless.append(key)
        else:
            found[KEYS[start] + key[len(start) :]] = value
    if homeless:
        raise ValueError(f"stock weights without a place: {', '.join(homeless[:5])}")
    return found
