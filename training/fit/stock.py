"""Train the stock MM-Grounding-DINO of ``transformers`` in the stock way.

It is there to be compared with: the same data, sizes and optimiser, the class's own
loss. That loss mixes the phrases of different pictures and leaves the proposals
without a gradient, so only its speed is of use.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    BertConfig,
    MMGroundingDinoConfig,
    MMGroundingDinoForObjectDetection,
    ResNetConfig,
)

from model.config import MedGLIPConfig
from model.text import load_tokenizer
from training.batch import Batch
from training.config import TrainingConfig

__all__ = ["StockTrainer", "stock_network"]


class StockTrainer:
    """Own the stock model and its optimiser.

    Parameters
    ----------
    config
        Sizes of our core are given to the stock one.
    precision
        ``bfloat16``: autocast, as in our trainer.
    """

    def __init__(
        self,
        config: TrainingConfig,
        *,
        device: torch.device,
        precision: str = "float32",
        is_compiled: bool = False,
    ) -> None:
        torch.manual_seed(config.seed)
        network: nn.Module = stock_network(config.model).to(device).train()
        self.parameters = sum(p.numel() for p in network.parameters())
        self.optimizer = torch.optim.AdamW(
            network.parameters(), lr=config.core_learning_rate
        )
        runner: Any = torch.compile(network) if is_compiled else network
        self.network = network
        self._runner = runner
        self._device, self._precision = device, precision
        self._tokenizer = load_tokenizer(config.model)
        self._clip = config.clip

    def learn(self, batch: Batch) -> Tensor:
        """Take one step with ``labels=``; return the loss."""
        ids, mask = self._prompts(batch)
        labels = [
            _labels(batch, picture, self._device)
            for picture in range(len(batch.pixels))
        ]
        pixels = batch.pixels[:, :1].expand(-1, 3, -1, -1).to(self._device)
        with torch.autocast(
            self._device.type,
            dtype=torch.bfloat16,
            enabled=self._precision == "bfloat16",
        ):
            output = self._runner(
                pixel_values=pixels, input_ids=ids, attention_mask=mask, labels=labels
            )
        loss: Tensor = output.loss
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), self._clip)
        self.optimizer.step()
        return loss.detach()

    def _prompts(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return ids and mask of "phrase one. phrase two." of each picture."""
        rows = []
        for known in batch.known:
            asked = [batch.phrases[i] for i in known.nonzero()[:, 0].tolist()]
            rows.append(self._tokenizer.encode(". ".join(asked) + ".").ids)
        longest = max(map(len, rows))
        ids = torch.zeros(len(rows), longest, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = torch.tensor(row)
            mask[number, : len(row)] = 1
        return ids.to(self._device), mask.to(self._device)


def _labels(batch: Batch, picture: int, device: torch.device) -> dict[str, Tensor]:
    """Return boxes and the number of the asked phrase that owns each."""
    asked = batch.known[picture].nonzero()[:, 0]
    regions = batch.regions[picture]
    owned = regions.phrase[:, asked]
    some = owned.sum(1) > 0
    return {
        "class_labels": owned[some].argmax(1).to(device),
        "boxes": regions.boxes[some].to(device),
    }


def stock_network(model: MedGLIPConfig) -> Any:
    """Return a fresh stock model of the sizes of ours: trunk, core and queries."""
    text = BertConfig(
        hidden_size=model.core_dim,
        num_hidden_layers=2,
        num_attention_heads=model.core_heads,
        intermediate_size=2 * model.core_dim,
    )
    options: dict[str, Any] = {"out_features": ["stage2", "stage3", "stage4"]}
    backbone = ResNetConfig(
        embedding_size=model.trunk_channels[0],
        hidden_sizes=list(model.trunk_channels[1:]),
        depths=[2, 2, 2, 2],
        layer_type="basic",
        **options,
    )
    stock = MMGroundingDinoConfig(
        backbone_config=backbone,
        text_config=text,
        d_model=model.core_dim,
        num_queries=model.core_queries,
        num_feature_levels=4,
        encoder_layers=model.core_layers,
        decoder_layers=model.core_layers,
        encoder_ffn_dim=model.core_ffn,
        decoder_ffn_dim=model.core_ffn,
        encoder_attention_heads=model.core_heads,
        decoder_attention_heads=model.core_heads,
        encoder_n_points=model.core_points,
        decoder_n_points=model.core_points,
        disable_custom_kernels=True,
    )
    network: Any = MMGroundingDinoForObjectDetection
    return network(stock)
