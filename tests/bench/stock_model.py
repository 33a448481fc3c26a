"""The peer of the model: transformers' MM-Grounding-DINO, used as its pages say.

One picture after the other, as an RGB picture of PIL; all phrases in one prompt, "one.
two."; the stock processor with its own defaults (shorter side 800 pixels, ImageNet's
statistics, thresholds of 0.25) before and after. Nothing is kept between pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import torch
import transformers
from numpy.typing import NDArray
from PIL import Image

from model.config import MedGLIPConfig
from model.engines.pictures import display_pictures, grey_window
from model.records import ImageStack
from training.fit.stock import stock_network

__all__ = ["StockModel", "prompt", "show"]


class StockModel:
    """A stock model and its stock processor.

    Parameters
    ----------
    network
        Of transformers; None: one of the sizes of the shipped checkpoint's core and
        trunk, with weights of chance: nobody has released any of that size.
    side
        Of the picture that the network sees, where not the processor's own 800 pixels.
    """

    def __init__(
        self,
        *,
        config: MedGLIPConfig,
        device: str,
        network: Any = None,
        side: int | None = None,
    ) -> None:
        torch.manual_seed(0)
        made = stock_network(config) if network is None else network
        self.network = made.to(device).eval()
        self.device = device
        library: Any = transformers
        words = Path(str(resources.files(config.text_package))) / "model"
        size = {} if side is None else {"size": {"height": side, "width": side}}
        self.processor = library.GroundingDinoProcessor(
            # By its own name: the default one asks for torchvision.
            library.GroundingDinoImageProcessorPil(**size),
            library.AutoTokenizer.from_pretrained(words, local_files_only=True),
        )

    @property
    def parameters(self) -> int:
        """How many weights it has."""
        return sum(weight.numel() for weight in self.network.parameters())

    @torch.no_grad()
    def find(self, picture: Image.Image, phrases: Sequence[str]) -> dict[str, Any]:
        """Return boxes, scores and words of one picture."""
        given = self.processor(
            images=picture, text=prompt(phrases), return_tensors="pt"
        ).to(self.device)
        output = self.network(**given)
        found: list[dict[str, Any]] = (
            self.processor.post_process_grounded_object_detection(
                output, given.input_ids, target_sizes=[picture.size[::-1]]
            )
        )
        return found[0]


def prompt(phrases: Sequence[str]) -> str:
    """Return phrases as the documentation of the model wants them."""
    return " ".join(f"{phrase.lower()}." for phrase in phrases)


def show(stack: ImageStack, indices: Sequence[int]) -> list[Image.Image]:
    """Return slices as pictures, CT in its soft-tissue window."""
    pixels: NDArray[Any] = stack.pixels[list(indices)]
    windows = [grey_window(pixels, stack.modality)] * len(pixels)
    return [Image.fromarray(one) for one in display_pictures(pixels, windows)]
