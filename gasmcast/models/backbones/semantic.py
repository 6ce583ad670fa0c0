"""The backbone of the semantic stream: a timm ViT that returns patch tokens of several blocks."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gasmcast.config import ModelConfig
from gasmcast.errors import UsageError
from gasmcast.models.backbones.normalize import Normalize
from gasmcast.models.backbones.pretrained import pretrained_semantic
from gasmcast.models.backbones.vit import SEMANTIC_NAMES, create_tiny, create_vit
from gasmcast.models.backbones.weight_files import load_strictly, read_weights, starts_with_any
from gasmcast.models.shape import PATCH

__all__ = ["SemanticBackbone"]


class SemanticBackbone(nn.Module):
    """Patch tokens of chosen blocks of a ViT, by default DINOv3 (Simeoni et al. 2025).

    The token grid has `pixels / 16` tokens per side. A backbone with another patch size gets the
    frame resized so that its own grid is the same: DINOv2's patch 14 sees 224 px as 196. Rotary
    positions are constants, because the image size is fixed.
    """

    def __init__(self, model: ModelConfig, pixels: int) -> None:
        super().__init__()
        self.name = model.semantic_backbone
        self.grid = pixels // PATCH
        self.timm_name = SEMANTIC_NAMES.get(self.name, self.name)
        self.vit = (
            create_tiny(pixels) if self.name == "tiny" else create_vit(self.timm_name, self.grid)
        )
        depth = len(self.vit.blocks)
        if max(model.semantic_taps) > depth or min(model.semantic_taps) < 1:
            raise UsageError(
                f"semantic_taps {list(model.semantic_taps)}: {self.name} has blocks 1 to {depth}.",
                "Set model.semantic_taps to some of them.",
            )

        self.taps = model.semantic_taps
        self.channels = int(self.vit.embed_dim)
        self.input_size = int(self.vit.patch_embed.img_size[0])
        # timm calls the final norm `norm` or `fc_norm`, depending on how the ViT pools.
        final = self.vit.norm
        self.norm: nn.Module = self.vit.fc_norm if isinstance(final, nn.Identity) else final

        # Pixels are normalized as in pretraining; ImageNet's statistics where timm has none.
        cfg = getattr(self.vit, "pretrained_cfg", None) or {}
        mean = tuple(cfg.get("mean", (0.485, 0.456, 0.406)))
        std = tuple(cfg.get("std", (0.229, 0.224, 0.225)))
        self.normalize = Normalize(mean, std)
        self._remove_unused(depth)

    def _remove_unused(self, depth: int) -> None:
        """Remove what no tap reads: later blocks, the classifier, maybe the final norm."""
        self.last_is_final = max(self.taps) == depth
        self.vit.blocks = self.vit.blocks[: max(self.taps)]
        if not self.last_is_final:
            self.norm = nn.Identity()
        # `self.norm` is the only copy of the norm: the ViT's own forward never runs to its end.
        self.vit.norm, self.vit.fc_norm, self.vit.head = nn.Identity(), nn.Identity(), nn.Identity()

    def load(self, weights: str) -> None:
        """Load weights.

        Args:
            weights: `pretrained` (timm's, downloaded once), the path of a file, or
                `random` to keep the initial weights.

        Raises:
            MachineError: pretrained weights can be neither downloaded nor found.
            UsageError: a file does not fit.
        """
        if weights == "random":
            return
        if weights == "pretrained":
            tensors, where = self._pretrained(), self.timm_name
        else:
            tensors, where = self._resample(read_weights(Path(weights))), weights

        # What `_remove_unused` dropped may be in the file; anything else is a wrong file.
        load_strictly(
            self,
            self._rename(tensors),
            where,
            starts_with_any(("vit.head", "vit.fc_norm", "vit.norm", "vit.blocks.", "norm.")),
        )

    def _pretrained(self) -> dict[str, Tensor]:
        """Return timm's pretrained weights, by timm's names."""
        if self.name == "tiny":
            raise UsageError(
                "The tiny semantic backbone has no pretrained weights.",
                "Use --semantic-weights random.",
            )
        return self._resample(read_weights(pretrained_semantic(self.timm_name)))

    def _resample(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Map a file's names to timm's and resample positions to this grid, by timm's filter."""
        module = __import__(type(self.vit).__module__, fromlist=["checkpoint_filter_fn"])
        if not hasattr(module, "checkpoint_filter_fn"):
            return tensors
        resampled: dict[str, Tensor] = module.checkpoint_filter_fn(tensors, self.vit)
        return resampled

    def _rename(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Map timm's names to those of this module, which keeps the final norm outside the ViT."""
        renamed = {f"vit.{name}": value for name, value in tensors.items()}
        if isinstance(self.norm, nn.Identity):
            return renamed

        # Files keep the norm under either name, as timm does.
        final = "vit.norm." if "vit.norm.weight" in renamed else "vit.fc_norm."
        norm = {
            name.replace(final, "norm."): value
            for name, value in renamed.items()
            if name.startswith(final)
        }
        return renamed | norm

    def forward(self, frames: Tensor) -> list[Tensor]:
        """Return the tokens of each tap.

        Args:
            frames: `(N, H, W, 3)` float RGB in 0..255.

        Returns:
            One `(N, P, channels)` per tap, row by row. The last block's tokens carry the backbone's
            final norm.
        """
        # An exported graph gets explicit matrix products and softmax instead of the fused kernel.
        fused = not torch.compiler.is_exporting()
        for block in self.vit.blocks:
            block.attn.fused_attn = fused

        x = self.normalize(frames).permute(0, 3, 1, 2)  # (N, 3, H, W)
        # A patch size other than 16 px gets another image size, never another token grid.
        if x.shape[-1] != self.input_size:
            size = (self.input_size, self.input_size)
            x = F.interpolate(x, size=size, mode="bilinear", align_corners=False)

        # timm returns blocks in ascending order, each once, without the final norm.
        blocks = sorted(set(self.taps))
        tokens = self.vit.forward_intermediates(
            x,
            indices=[block - 1 for block in blocks],
            norm=False,
            stop_early=True,
            output_fmt="NLC",
            intermediates_only=True,
        )

        # The final norm was trained on the output of the last block only.
        by_block = dict(zip(blocks, tokens, strict=True))
        if self.last_is_final:
            by_block[blocks[-1]] = self.norm(by_block[blocks[-1]])
        return [by_block[tap] for tap in self.taps]
