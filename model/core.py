"""Detect: the MM-Grounding-DINO encoder and decoder on our own feature pyramid.

The layers are those of ``transformers`` (fusion with the text, deformable attention)
under their own names, so that released weights load; the wiring is ours: captions of
sub-sentences, proposals that learn, denoising queries, hypotheses and masks.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.mm_grounding_dino import modeling_mm_grounding_dino as mmgd

from model.caption import Caption
from model.config import MedGLIPConfig
from model.core_text import CoreText
from model.decoder import Decoded, hidden_keys, run_decoder, separate_groups
from model.detections import (
    DenoisingQueries,
    Detections,
    phrase_logits,
    some_queries,
    word_shares,
)
from model.levels import (
    anchor_boxes,
    describe_levels,
    level_projections,
    stock_settings,
)
from model.words import Reading

__all__ = ["DenoisingQueries", "Detections", "GroundingCore"]


class GroundingCore(nn.Module):
    """Ground the words of a caption as scored boxes with masks.

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
        dim, layers = config.core_dim, config.core_layers
        self.dim = dim
        self.queries = config.core_queries
        self.hypotheses = config.hypotheses
        channels = config.trunk_channels
        self.caption = CoreText(config)
        self.input_proj_vision = level_projections(config)
        levels = len(self.input_proj_vision)
        stock = stock_settings(config, levels=levels)
        parts: Any = mmgd
        self.query_position_embeddings = nn.Embedding(config.core_queries, dim)
        self.level_embed = nn.Parameter(torch.randn(levels, dim) * 0.02)
        self.position = parts.MMGroundingDinoSinePositionEmbedding(stock)
        self.encoder = parts.MMGroundingDinoEncoder(stock)
        self.decoder = parts.MMGroundingDinoDecoder(stock)
        self.enc_output = nn.Linear(dim, dim)
        self.enc_output_norm = nn.LayerNorm(dim)

        def box_head() -> Any:
            head = parts.MMGroundingDinoMLPPredictionHead(dim, dim, 4, 3)
            nn.init.zeros_(head.layers[-1].weight)
            nn.init.zeros_(head.layers[-1].bias)
            return head

        self.encoder_output_bbox_embed = box_head()
        self.bbox_embed = nn.ModuleList(box_head() for _ in range(layers))
        self.logit_scale = nn.Parameter(torch.ones(layers + 1))
        self.logit_bias = nn.Parameter(torch.full((layers + 1,), -4.0))
        if config.hypotheses > 1:
            self.variants = nn.Linear(dim, 4 * config.hypotheses)
            self.variant_gate = nn.Parameter(torch.zeros(config.hypotheses, 1, 4))
        self.denoising_content = nn.Linear(dim, dim)
        self.mask_embed = parts.MMGroundingDinoMLPPredictionHead(
            dim, dim, config.core_mask_dim, 3
        )
        self.mask_pixels = nn.Conv2d(channels[1], config.core_mask_dim, 1)
        self.mask_bias = nn.Parameter(torch.tensor(-2.0))

    def forward(
        self,
        pyramid: tuple[Tensor, ...],
        modality: Tensor,
        reading: Reading,
        *,
        asked: Tensor,
        denoising: DenoisingQueries | None = None,
    ) -> Detections:
        """Ground the asked phrases in each picture.

        Parameters
        ----------
        pyramid
            Five feature maps, finest first: the second gives the masks, the last
            three are searched.
        modality
            (batch,) rows of ``MODALITIES``.
        reading
            The phrases, shared by the batch.
        asked
            (batch, n) rows of phrases, -1 = padding.
        denoising
            Queries beside the matching ones, for training.
        """
        caption: Caption = self.caption(reading, modality, asked)
        batch = len(asked)
        vision, positions, shapes = self._flatten(pyramid[2:])
        levels = describe_levels(shapes, vision)
        together = caption.block[:, :, None] == caption.block[:, None, :]
        together &= caption.mask[:, :, None] & caption.mask[:, None, :]
        together |= torch.eye(
            together.shape[1], dtype=torch.bool, device=together.device
        )
        encoded = self.encoder(
            vision_features=vision,
            vision_attention_mask=vision.new_zeros(vision.shape[:2], dtype=torch.bool),
            vision_position_embedding=positions,
            text_features=caption.states,
            text_attention_mask=~caption.mask,
            text_self_attention_masks=~together,  # True = not allowed
            text_position_ids=caption.position,
            valid_ratios=vision.new_ones(batch, len(shapes), 2),
            **levels,
        )
        memory, text = encoded.last_hidden_state_vision, encoded.last_hidden_state_text
        words = replace(caption, states=text)
        members = word_shares(caption.owner, asked.shape[1]).to(text.dtype)

        proposals = self._propose(memory, words, shapes)
        proposal_boxes, proposal_words = proposals
        queries = self.query_position_embeddings.weight.expand(batch, -1, -1)
        boxes, hidden = proposal_boxes, None
        if denoising is not None:
            queries, boxes, hidden = self._add_denoising(
                queries, boxes, denoising, words=words, members=members
            )
        decoded = run_decoder(
            self.decoder,
            queries,
            boxes=boxes,
            box_heads=self.bbox_embed,
            memory=memory,
            levels=levels,
            text=text,
            text_mask=caption.mask,
            hidden=hidden,
        )
        found = self._answer(decoded, words, members=members, pixels=pyramid[1])
        matching = some_queries(found, slice(0, self.queries))
        matching.proposal_boxes = proposal_boxes
        matching.proposal_word_logits = proposal_words
        matching.proposal_logits = phrase_logits(proposal_words, members)
        if denoising is not None:
            matching.denoised = some_queries(found, slice(self.queries, None))
        return matching

    def _propose(
        self, memory: Tensor, words: Caption, shapes: list[tuple[int, int]]
    ) -> tuple[Tensor, Tensor]:
        """Choose the places that answer any word best (language-guided selection).

        Returns boxes (batch, queries, 4) and word logits (batch, queries, W).
        """
        anchors, usable = anchor_boxes(shapes, memory)
        places = memory * usable[:, None]
        candidates = self.enc_output_norm(self.enc_output(places))
        scores = self._word_logits(candidates, words, stage=-1)
        chooses = scores.masked_fill(~words.selects[:, None], -1e4).amax(dim=-1)
        count = min(self.queries, chooses.shape[1])
        best = chooses.topk(count, dim=1).indices  # (batch, queries)
        if count < self.queries:  # a tiny picture has fewer places than we have queries
            best = best.repeat(1, -(-self.queries // count))[:, : self.queries]
        picked = candidates.gather(1, best[..., None].expand(-1, -1, self.dim))
        boxes = (self.encoder_output_bbox_embed(picked) + anchors[best]).sigmoid()
        wide = best[..., None].expand(-1, -1, scores.shape[-1])
        return boxes, scores.gather(1, wide)

    def _add_denoising(
        self,
        queries: Tensor,
        boxes: Tensor,
        denoising: DenoisingQueries,
        *,
        words: Caption,
        members: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Append the denoising queries: their content is the phrase they claim."""
        phrases = members.transpose(1, 2) @ words.states  # (batch, n, dim)
        rows = denoising.phrase.clamp(min=0)[..., None].expand(-1, -1, self.dim)
        content = self.denoising_content(phrases.gather(1, rows))
        padding = denoising.phrase < 0
        content = content.masked_fill(padding[..., None], 0.0)
        apart = separate_groups(denoising.group, padding, queries=self.queries)
        return (
            torch.cat((queries, content), dim=1),
            torch.cat((boxes, denoising.boxes.to(boxes.dtype)), dim=1),
            hidden_keys(apart, dtype=queries.dtype),
        )

    def _answer(
        self, decoded: Decoded, words: Caption, *, members: Tensor, pixels: Tensor
    ) -> Detections:
        """Read boxes, words and masks off the decoder's states."""
        states, references = decoded.states, decoded.references
        raw = torch.stack(
            [head(states[:, i]) for i, head in enumerate(self.bbox_embed)], dim=1
        ) + torch.logit(references, eps=1e-5)  # (batch, layers, queries, 4)
        hypotheses, boxes = None, raw.sigmoid()
        if self.hypotheses > 1:
            deltas = self.variants(states).unflatten(-1, (self.hypotheses, 4))
            deltas = deltas.transpose(2, 3) * self.variant_gate
            hypotheses = (raw[:, :, None] + deltas).sigmoid()
            boxes = hypotheses.mean(2)
        word_logits = torch.stack(
            [
                self._word_logits(states[:, i], words, stage=i)
                for i in range(states.shape[1])
            ],
            dim=1,
        )
        masks = torch.einsum(
            "bqc,bchw->bqhw", self.mask_embed(states[:, -1]), self.mask_pixels(pixels)
        )
        return Detections(
            logits=phrase_logits(word_logits, members),
            word_logits=word_logits,
            word_owner=words.owner,
            boxes=boxes,
            box_hypotheses=hypotheses,
            masks=masks + self.mask_bias,
            proposal_logits=word_logits.new_zeros(len(states), 0, members.shape[-1]),
            proposal_word_logits=word_logits[:, 0, :0],
            proposal_boxes=boxes[:, 0, :0],
            query_states=states[:, -1],
        )

    def _flatten(
        self, maps: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor, list[tuple[int, int]]]:
        """Lay the levels end to end: (batch, places, dim) twice, and their shapes."""
        tokens, places, shapes = [], [], []
        x = maps[-1]
        for i, project in enumerate(self.input_proj_vision):
            # A level below the trunk's coarsest is made from the level above it.
            source = maps[i] if i < len(maps) else maps[-1] if i == len(maps) else x
            x = project(source)
            rows, columns = x.shape[-2:]
            mask = torch.ones(x.shape[0], rows, columns, device=x.device)
            position = self.position(x, mask).flatten(2).transpose(1, 2)
            tokens.append(x.flatten(2).transpose(1, 2))
            places.append(position + self.level_embed[i])
            shapes.append((rows, columns))
        return torch.cat(tokens, 1), torch.cat(places, 1), shapes

    def _word_logits(self, regions: Tensor, words: Caption, *, stage: int) -> Tensor:
        """Region-word logits; -1e4 for padding."""
        logits: Tensor = regions @ words.states.transpose(-1, -2) / self.dim**0.5
        logits = logits * self.logit_scale[stage] + self.logit_bias[stage]
        return logits.masked_fill(~words.mask[:, None, :], -1e4)
