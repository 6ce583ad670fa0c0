"""The semantic stream's backbone: a timm vision transformer that gives its patch tokens at several depths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
import torch
from timm.layers import RotaryEmbeddingDinoV3
from timm.models.eva import Eva
from torch import Tensor, nn
from torch.nn import functional as F

from gasmcast.config import ModelConfig
from gasmcast.errors import UsageError
from gasmcast.models.backbones.normalize import Normalize
from gasmcast.models.backbones.pretrained import pretrained_semantic
from gasmcast.models.backbones.weights import load_strictly, read_tensors, starts_with_any
from gasmcast.models.shape import PATCH

__all__ = ["SEMANTIC_NAMES", "SemanticBackbone"]

SEMANTIC_NAMES = {
    "dinov3_b16": "vit_base_patch16_dinov3.lvd1689m",
    "dinov3_s16": "vit_small_patch16_dinov3.lvd1689m",
    "dinov2_s14": "vit_small_patch14_dinov2.lvd142m",
    "clip_b16": "vit_base_patch16_clip_quickgelu_224.openai",
    "sup_b16": "vit_base_patch16_224.augreg_in21k",
}


class SemanticBackbone(nn.Module):
    """Patch tokens of chosen blocks.

    The token grid is `pixels / 16` a side: a backbone with another patch gets the frame resized so that its own grid is
    the same (DINOv2's patch 14 sees 224 px as 196). Rotary positions are constants, because the image size is fixed.
    """

    def __init__(self, model: ModelConfig, pixels: int) -> None:
        super().__init__()
        self.name = model.semantic_backbone
        self.grid = pixels // PATCH
        self.timm_name = SEMANTIC_NAMES.get(self.name, self.name)
        self.vit = _tiny(pixels) if self.name == "tiny" else _create(self.timm_name, self.grid)
        depth = len(self.vit.blocks)
        if max(model.semantic_taps) > depth or min(model.semantic_taps) < 1:
            raise UsageError(
                f"semantic_taps {list(model.semantic_taps)}: {self.name} has blocks 1 to {depth}.",
                "Set model.semantic_taps to some of them.",
            )
        self.taps = model.semantic_taps
        self.channels = int(self.vit.embed_dim)
        self.input_size = int(self.vit.patch_embed.img_size[0])
        self.norm: nn.Module = (
            self.vit.norm if not isinstance(self.vit.norm, nn.Identity) else self.vit.fc_norm
        )
        cfg = getattr(self.vit, "pretrained_cfg", None) or {}
        self.normalize = Normalize(
            tuple(cfg.get("mean", (0.485, 0.456, 0.406))),
            tuple(cfg.get("std", (0.229, 0.224, 0.225))),
        )
        self._shed(depth)

    def _shed(self, depth: int) -> None:
        """Drop what no tap reads: later blocks, the final norm when the last block is not read, the classifier."""
        self.last_is_final = max(self.taps) == depth
        self.vit.blocks = self.vit.blocks[: max(self.taps)]
        if not self.last_is_final:
            self.norm = nn.Identity()
        # The norm is held once, here; the transformer's own forward is never called to its end.
        self.vit.norm, self.vit.fc_norm, self.vit.head = nn.Identity(), nn.Identity(), nn.Identity()

    def load(self, weights: str) -> None:
        """Load `pretrained` (by timm, from the network or its cache), a file, or leave it `random`.

        Raises:
            MachineError: pretrained weights that can be neither downloaded nor found.
            UsageError: a file that does not fit.
        """
        if weights == "random":
            return
        if weights == "pretrained":
            if self.name == "tiny":
                raise UsageError(
                    "The tiny semantic backbone has no pretrained weights.",
                    "Use --semantic-weights random.",
                )
            file = pretrained_semantic(self.timm_name)
            tensors, where = self._filtered(read_tensors(file)), self.timm_name
        else:
            tensors, where = self._filtered(read_tensors(Path(weights))), weights
        load_strictly(
            self,
            self._own_names(tensors),
            where,
            starts_with_any(("vit.head", "vit.fc_norm", "vit.norm", "vit.blocks.", "norm.")),
        )

    def _filtered(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The file's names as this transformer's, positions resampled to its grid (timm's own filter)."""
        module = __import__(type(self.vit).__module__, fromlist=["checkpoint_filter_fn"])
        result: dict[str, Tensor] = (
            module.checkpoint_filter_fn(tensors, self.vit)
            if hasattr(module, "checkpoint_filter_fn")
            else tensors
        )
        return result

    def _own_names(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        named = {f"vit.{name}": value for name, value in tensors.items()}
        final = "vit.norm." if "vit.norm.weight" in named else "vit.fc_norm."
        if not isinstance(self.norm, nn.Identity):
            named |= {
                name.replace(final, "norm."): value
                for name, value in named.items()
                if name.startswith(final)
            }
        return named

    def forward(self, frames: Tensor) -> list[Tensor]:
        """Tokens of each tap.

        Args:
            frames: `(N, H, W, 3)` float RGB, 0..255.

        Returns:
            one `(N, P, channels)` a tap, row by row; the last block's carries the backbone's final norm.
        """
        fused = (
            not torch.compiler.is_exporting()
        )  # an exported graph gets explicit matrix products and softmax
        for block in self.vit.blocks:
            block.attn.fused_attn = fused
        x = self.normalize(frames).permute(0, 3, 1, 2)
        if x.shape[-1] != self.input_size:
            x = F.interpolate(
                x, size=(self.input_size, self.input_size), mode="bilinear", align_corners=False
            )
        order = sorted(set(self.taps))
        tokens = self.vit.forward_intermediates(
            x,
            indices=[tap - 1 for tap in order],
            norm=False,
            stop_early=True,
            output_fmt="NLC",
            intermediates_only=True,
        )
        found = dict(zip(order, tokens, strict=True))
        if self.last_is_final:
            found[order[-1]] = self.norm(found[order[-1]])
        return [found[tap] for tap in self.taps]


def _build(name: str, grid: int, *, pretrained: bool) -> Eva:
    """Timm's network for frames of a fixed size."""
    size: dict[str, Any] = {"img_size": grid * _patch_of(name), "num_classes": 0}
    try:
        vit: Eva = timm.create_model(name, pretrained=pretrained, dynamic_img_size=False, **size)
    except TypeError as error:
        if "dynamic_img_size" not in str(error):
            raise
        vit = timm.create_model(
            name, pretrained=pretrained, **size
        )  # BEiT has one size without being told
    return vit


def _patch_of(name: str) -> int:
    """The patch size that a timm name states (`..._patch14_...`)."""
    for part in name.replace(".", "_").split("_"):
        if part.startswith("patch") and part[5:].isdigit():
            return int(part[5:])
    raise UsageError(
        f"{name}: its patch size cannot be told from its name.",
        "Name a plain ViT of timm, such as vit_base_patch16_224.",
    )


def _create(name: str, grid: int) -> Eva:
    """An untrained timm ViT whose token grid is `grid` x `grid`.

    Raises:
        UsageError: timm has no such model, or it is no plain ViT on such a grid.
    """
    base = name.partition(".")[0]
    if not timm.is_model(base):
        near = timm.list_models(f"*{base.split('_')[-1]}*", module="vision_transformer")[:3]
        raise UsageError(
            f"No semantic backbone {name!r}.",
            f"Known: {', '.join([*SEMANTIC_NAMES, 'tiny'])}, or a timm ViT"
            + (f" ({', '.join(near)})." if near else "."),
        )
    patch = _patch_of(name)
    if patch > PATCH:
        raise UsageError(
            f"{name} has patches of {patch} px: its token grid on a {grid * PATCH} px clip is coarser than {grid} x {grid}.",
            f"Choose a ViT with patches of at most {PATCH} px.",
        )
    try:
        vit = _build(name, grid, pretrained=False)
    except (TypeError, AssertionError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"timm cannot build {name} for {grid * patch} px ({error}).", "Choose another ViT."
        ) from None
    blocks = getattr(vit, "blocks", ())
    parts = {
        "blocks": bool(blocks)
        and all(hasattr(block, "attn") for block in blocks)
        and hasattr(vit, "forward_intermediates"),
        "patches": hasattr(vit, "patch_embed"),
        "norm": hasattr(vit, "norm"),
    }
    if lacking := next((part for part, there in parts.items() if not there), None):
        raise UsageError(
            f"{name} has no plain ViT {lacking}.",
            "Choose a plain ViT of timm, such as vit_base_patch16_224.",
        )
    tokens = getattr(vit.patch_embed, "grid_size", None)
    if tokens != (grid, grid):
        raise UsageError(
            f"{name} gives tokens on a grid of {tokens}, the model needs {grid} x {grid}.",
            "Choose a plain ViT of timm.",
        )
    return vit


def _tiny(pixels: int) -> Eva:
    """A small DINOv3-shaped transformer to be trained from scratch: 3 blocks, 96-d, rotary positions."""
    vit = Eva(
        img_size=pixels,
        patch_size=PATCH,
        num_classes=0,
        embed_dim=96,
        depth=3,
        num_heads=4,
        mlp_ratio=2.0,
        use_abs_pos_emb=True,
        use_rot_pos_emb=True,
        rope_type="dinov3",
        rope_rotate_half=True,
        rope_temperature=100.0,
        dynamic_img_size=False,
    )
    assert isinstance(vit.rope, RotaryEmbeddingDinoV3)
    return vit
