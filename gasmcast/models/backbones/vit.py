"""Create plain vision transformers (Dosovitskiy et al. 2021) of timm on a fixed token grid."""

from __future__ import annotations

from typing import Any

import timm
from timm.layers import RotaryEmbeddingDinoV3
from timm.models.eva import Eva

from gasmcast.errors import UsageError
from gasmcast.models.shape import PATCH

__all__ = ["SEMANTIC_NAMES", "create_tiny", "create_vit"]

SEMANTIC_NAMES = {
    "dinov3_b16": "vit_base_patch16_dinov3.lvd1689m",
    "dinov3_s16": "vit_small_patch16_dinov3.lvd1689m",
    "dinov2_s14": "vit_small_patch14_dinov2.lvd142m",
    "clip_b16": "vit_base_patch16_clip_quickgelu_224.openai",
    "sup_b16": "vit_base_patch16_224.augreg_in21k",
    "sup_t16": "vit_tiny_patch16_224.augreg_in21k",
}
"""Short names of backbones and their names in timm."""


def create_vit(name: str, grid: int) -> Eva:
    """Create an untrained timm ViT whose token grid is `grid` x `grid`.

    Raises:
        UsageError: timm has no such model, or it is no plain ViT on such a grid.
    """
    _check_name(name)

    # A larger patch would need upsampled frames for the same grid.
    patch = _patch_size(name)
    if patch > PATCH:
        raise UsageError(
            f"{name} has patches of {patch} px: its token grid on a {grid * PATCH} px clip is"
            f" coarser than {grid} x {grid}.",
            f"Choose a ViT with patches of at most {PATCH} px.",
        )

    # timm's models refuse an image size with different exceptions.
    try:
        vit = _build(name, grid)
    except (TypeError, AssertionError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"timm cannot build {name} for {grid * patch} px ({error}).", "Choose another ViT."
        ) from None

    _check_parts(name, vit)

    # Some models accept the size and still place their tokens otherwise.
    tokens = getattr(vit.patch_embed, "grid_size", None)
    if tokens != (grid, grid):
        raise UsageError(
            f"{name} gives tokens on a grid of {tokens}, the model needs {grid} x {grid}.",
            "Choose a plain ViT of timm.",
        )
    return vit


def _build(name: str, grid: int) -> Eva:
    """Build timm's network for frames of the fixed size that gives a `grid` x `grid` of tokens."""
    size: dict[str, Any] = {"img_size": grid * _patch_size(name), "num_classes": 0}
    try:
        vit: Eva = timm.create_model(name, dynamic_img_size=False, **size)
    except TypeError as error:
        # BEiT always has one size and does not know the argument.
        if "dynamic_img_size" not in str(error):
            raise
        vit = timm.create_model(name, **size)
    return vit


def create_tiny(pixels: int) -> Eva:
    """Create a small DINOv3-shaped ViT to train from scratch: 3 blocks, 96-d, rotary positions."""
    # Eva is the class that timm builds DINOv3 with, so that everything else stays the same.
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


def _check_name(name: str) -> None:
    """Raise UsageError with near names when timm has no such model."""
    base = name.partition(".")[0]
    if timm.is_model(base):
        return
    near = timm.list_models(f"*{base.split('_')[-1]}*", module="vision_transformer")[:3]
    suggestion = f" ({', '.join(near)})." if near else "."
    known = ", ".join([*SEMANTIC_NAMES, "tiny"])
    raise UsageError(
        f"No semantic backbone {name!r}.", f"Known: {known}, or a timm ViT{suggestion}"
    )


def _patch_size(name: str) -> int:
    """Return the patch size in pixels that a timm name states (`..._patch14_...`)."""
    for part in name.replace(".", "_").split("_"):
        if part.startswith("patch") and part[5:].isdigit():
            return int(part[5:])
    raise UsageError(
        f"The name {name} does not state a patch size.",
        "Name a plain ViT of timm, such as vit_base_patch16_224.",
    )


def _check_parts(name: str, vit: Eva) -> None:
    """Raise UsageError when a part of a plain ViT is missing."""
    # A model that is no plain ViT lacks one of these: Swin its blocks, SAM's ViT the norm.
    blocks = getattr(vit, "blocks", ())
    has_attention = bool(blocks) and all(hasattr(block, "attn") for block in blocks)
    parts = {
        "blocks": has_attention and hasattr(vit, "forward_intermediates"),
        "patches": hasattr(vit, "patch_embed"),
        "norm": hasattr(vit, "norm"),
    }

    # One missing part is enough to say why.
    missing = [part for part, present in parts.items() if not present]
    if missing:
        raise UsageError(
            f"{name} has no plain ViT {missing[0]}.",
            "Choose a plain ViT of timm, such as vit_base_patch16_224.",
        )
