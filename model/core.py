"""Detect: the MM-Grounding-DINO encoder and decoder on our own feature pyramid.

The parts are those of ``transformers`` (fusion with the text, language-guided query
selection, deformable decoder) under their own names; the image backbone, the mask
head and the wiring of gradients are ours. One text token stands for one phrase, so
the region-word logits are region-phrase logits and need no positive map.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import MMGroundingDinoConfig
from transformers.models.mm_grounding_dino import modeling_mm_grounding_dino as mmgd

from model.config import MedGLIPConfig

__all__ = ["Detections", "GroundingCore"]


@dataclass
class Detections:
    """What the detection core says about every query.

    Boxes are centre x, centre y, width, height as shares of the picture, in [0, 1].
    """

    logits: Tensor
    """(batch, layers, queries, phrases)"""
    boxes: Tensor
    """(batch, layers, queries, 4)"""
    masks: Tensor
    """(batch, queries, rows/2, columns/2) logits of the last layer"""
    proposal_logits: Tensor
    """(batch, queries, phrases) of the encoder's chosen proposals"""
    proposal_boxes: Tensor
    """(batch, queries, 4)"""


class GroundingCore(nn.Module):
    """Ground phrases as scored boxes with masks.

    The stock model cuts the gradient between the loss and its two-stage proposals;
    here the chosen proposals are returned with their gradient, so that query
    selection learns.

    References
    ----------
    X. Zhao et al., An open and comprehensive pipeline for unified object grounding
    and detection (MM-Grounding-DINO), 2024. B. Cheng et al., Mask2Former, CVPR 2022.
    """

    def __init__(self, config: MedGLIPConfig) -> None:
        super().__init__()
        dim = config.core_dim
        self.dim = dim
        self.queries = config.core_queries
        channels = config.trunk_channels
        stock = MMGroundingDinoConfig(
            d_model=dim,
            num_queries=config.core_queries,
            num_feature_levels=3,
            encoder_layers=config.core_layers,
            decoder_layers=config.core_layers,
            encoder_ffn_dim=2 * dim,
            decoder_ffn_dim=2 * dim,
            encoder_attention_heads=config.core_heads,
            decoder_attention_heads=config.core_heads,
            encoder_n_points=config.core_points,
            decoder_n_points=config.core_points,
            dropout=0.0,
            fusion_droppath=0.0,
            disable_custom_kernels=True,
        )
        self.input_proj_vision = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, dim, 1), nn.GroupNorm(8, dim))
            for width in channels[2:5]
        )
        self.text_projection = nn.Linear(config.phrase_dim, dim)
        self.query_position_embeddings = nn.Embedding(config.core_queries, dim)
        self.level_embed = nn.Parameter(torch.randn(3, dim) * 0.02)
        parts: Any = mmgd
        self.position = parts.MMGroundingDinoSinePositionEmbedding(stock)
        self.encoder = parts.MMGroundingDinoEncoder(stock)
        self.decoder = parts.MMGroundingDinoDecoder(stock)
        self.enc_output = nn.Linear(dim, dim)
        self.enc_output_norm = nn.LayerNorm(dim)

        def box_head() -> Any:
            return parts.MMGroundingDinoMLPPredictionHead(dim, dim, 4, 3)

        self.encoder_output_bbox_embed = box_head()
        self.bbox_embed = nn.ModuleList(box_head() for _ in range(config.core_layers))
        for head in (self.encoder_output_bbox_embed, *self.bbox_embed):
            nn.init.zeros_(head.layers[-1].weight)
            nn.init.zeros_(head.layers[-1].bias)
        self.decoder.bbox_embed = self.bbox_embed
        self.logit_scale = nn.Parameter(torch.tensor(1.0))
        self.logit_bias = nn.Parameter(torch.tensor(-4.0))
        self.mask_embed = parts.MMGroundingDinoMLPPredictionHead(
            dim, dim, config.core_mask_dim, 3
        )
        self.mask_pixels = nn.Conv2d(channels[1], config.core_mask_dim, 1)
        self.mask_bias = nn.Parameter(torch.tensor(-2.0))

    def forward(
        self, pyramid: tuple[Tensor, ...], phrases: Tensor, phrase_mask: Tensor
    ) -> Detections:
        """Ground each picture's phrases.

        Parameters
        ----------
        pyramid
            Feature maps at strides 1, 2, 4, 8, 16.
        phrases
            (batch, phrases, phrase_dim)
        phrase_mask
            (batch, phrases), True = real, False = padding.
        """
        batch = phrases.shape[0]
        vision, positions, shapes = self._flatten(pyramid[2:5])
        sizes = torch.tensor(shapes, device=vision.device)
        starts = torch.cat((sizes.new_zeros(1), sizes.prod(1).cumsum(0)[:-1]))
        common: dict[str, Any] = {
            "spatial_shapes": sizes,
            "spatial_shapes_list": shapes,
            "level_start_index": starts,
            "valid_ratios": vision.new_ones(batch, 3, 2),
        }
        seen = torch.ones(vision.shape[:2], dtype=torch.bool, device=vision.device)
        text = self.text_projection(phrases)  # (batch, phrases, dim)
        # A phrase attends to itself alone; the encoder takes True for "not allowed".
        others = ~torch.eye(text.shape[1], dtype=torch.bool, device=text.device)
        encoded = self.encoder(
            vision_features=vision,
            vision_attention_mask=~seen,
            vision_position_embedding=positions,
            text_features=text,
            text_attention_mask=~phrase_mask,
            text_self_attention_masks=others.expand(batch, -1, -1),
            **common,
        )
        memory, text = encoded.last_hidden_state_vision, encoded.last_hidden_state_text

        # Language-guided query selection: the places that answer any phrase best.
        candidates = self.enc_output_norm(self.enc_output(memory))
        scores = self._logits(candidates, text, phrase_mask)
        best = scores.max(dim=-1).values.topk(self.queries, dim=1).indices
        chosen = best[..., None]
        proposal_boxes = (
            self.encoder_output_bbox_embed(
                candidates.gather(1, chosen.expand(-1, -1, self.dim))
            )
            + _anchors(shapes, vision)[best]
        ).sigmoid()  # (batch, queries, 4)
        proposal_logits = scores.gather(1, chosen.expand(-1, -1, scores.shape[-1]))

        decoded = self.decoder(
            inputs_embeds=self.query_position_embeddings.weight.expand(batch, -1, -1),
            vision_encoder_hidden_states=memory,
            vision_encoder_attention_mask=seen,
            text_encoder_hidden_states=text,
            text_encoder_attention_mask=~phrase_mask,
            reference_points=proposal_boxes.detach(),
            **common,
        )
        states = decoded.intermediate_hidden_states  # (batch, layers, queries, dim)
        before = torch.cat(
            (
                proposal_boxes.detach()[:, None],
                decoded.intermediate_reference_points[:, :-1],
            ),
            dim=1,
        )
        boxes = torch.stack(
            [
                (head(states[:, i]) + torch.logit(before[:, i], eps=1e-5)).sigmoid()
                for i, head in enumerate(self.bbox_embed)
            ],
            dim=1,
        )
        logits = torch.stack(
            [
                self._logits(states[:, i], text, phrase_mask)
                for i in range(states.shape[1])
            ],
            dim=1,
        )
        masks = (
            torch.einsum(
                "bqc,bchw->bqhw",
                self.mask_embed(states[:, -1]),
                self.mask_pixels(pyramid[1]),
            )
            + self.mask_bias
        )
        return Detections(logits, boxes, masks, proposal_logits, proposal_boxes)

    def _flatten(
        self, levels: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor, list[tuple[int, int]]]:
        """Lay the levels end to end: (batch, places, dim) twice, and their shapes."""
        tokens, places, shapes = [], [], []
        for i, level in enumerate(levels):
            x = self.input_proj_vision[i](level)
            rows, columns = x.shape[-2:]
            mask = torch.ones(x.shape[0], rows, columns, device=x.device)
            position = self.position(x, mask).flatten(2).transpose(1, 2)
            tokens.append(x.flatten(2).transpose(1, 2))
            places.append(position + self.level_embed[i])
            shapes.append((rows, columns))
        return torch.cat(tokens, 1), torch.cat(places, 1), shapes

    def _logits(self, regions: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        """Region-phrase logits, minus infinity (-1e4) for padding phrases."""
        logits: Tensor = regions @ text.transpose(-1, -2) / self.dim**0.5
        logits = logits * self.logit_scale + self.logit_bias
        return logits.masked_fill(~mask[:, None, :], -1e4)


def _anchors(shapes: list[tuple[int, int]], like: Tensor) -> Tensor:
    """Return one starting box per place, as logits: (places, 4)."""
    boxes = []
    for level, (rows, columns) in enumerate(shapes):
        y = (torch.arange(rows, device=like.device) + 0.5) / rows
        x = (torch.arange(columns, device=like.device) + 0.5) / columns
        grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1)
        size = torch.full_like(grid, 0.05 * 2.0**level)
        boxes.append(torch.cat((grid, size), dim=-1).reshape(-1, 4))
    return torch.logit(torch.cat(boxes).to(like.dtype), eps=1e-4)
