"""Published files of backbone weights: where they are, how large, and under which license."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import torch
import torchvision
from huggingface_hub import constants, get_token, try_to_load_from_cache
from timm.models import get_pretrained_cfg

from gasmcast.models.backbones.download import DownloadError, open_url

__all__ = [
    "PublishedWeights",
    "cached_motion",
    "cached_semantic",
    "hub_headers",
    "publish_motion",
    "publish_semantic",
    "weights_folder",
]

# Files of a repository that hold the weights of a whole model, the preferred first.
HUB_FILES = (
    "model.safetensors",
    "pytorch_model.bin",
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.bin",
)
TORCHVISION_LICENSE = "BSD-3-Clause of torchvision; the terms of Kinetics-400 may apply too"


@dataclass(frozen=True)
class PublishedWeights:
    """A public file of backbone weights."""

    backbone: str
    """Name of the backbone: timm's or torchvision's."""
    file: str
    """Name for the file on this machine; it ends in the first digits of its checksum."""
    url: str
    """Address of the file."""
    size: int
    """Size in bytes; torchvision gives it in MiB with three decimals."""
    sha256: str
    """SHA-256 in hexadecimal, or its first digits."""
    license: str
    """License, as its publisher states it."""
    page: str
    """Page about the weights."""


def weights_folder() -> Path:
    """Return the folder of downloaded weights, which is torchvision's own (`$TORCH_HOME`)."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def publish_motion(name: str) -> PublishedWeights:
    """Describe torchvision's default weights of a video network; needs no network.

    Args:
        name: torchvision's name, as `s3d`.
    """
    # Torchvision's best weights; all of these networks were trained on Kinetics-400.
    default = torchvision.models.get_model_weights(name).DEFAULT
    file = urlsplit(default.url).path.rpartition("/")[2]
    return PublishedWeights(
        backbone=name,
        file=file,
        url=default.url,
        size=round(default.meta["_file_size"] * 2**20),
        # torch.hub's convention: s3d-d76dad2f.pth has a SHA-256 that begins so.
        sha256=Path(file).stem.rpartition("-")[2],
        license=TORCHVISION_LICENSE,
        page="https://docs.pytorch.org/vision/stable/models.html#video-classification",
    )


def publish_semantic(timm_name: str) -> PublishedWeights:
    """Describe timm's pretrained weights of a ViT, by the metadata of the Hugging Face hub.

    Args:
        timm_name: name with a tag, as `vit_small_patch14_dinov2.lvd142m`.

    Raises:
        DownloadError: the hub cannot be reached or has no such weights.
    """
    repository = _repository(timm_name)
    if constants.HF_HUB_OFFLINE:
        raise DownloadError("HF_HUB_OFFLINE is set")

    # `blobs` adds size and SHA-256 of each stored file to the answer.
    url = f"{constants.ENDPOINT}/api/models/{quote(repository)}?blobs=true"
    response = open_url(url, hub_headers(url))
    if response is None:
        raise DownloadError(f"no answer from {url}")

    try:
        with response:
            model = json.load(response)
        sizes = {entry["rfilename"]: entry.get("lfs") for entry in model["siblings"]}
        revision = model["sha"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DownloadError(f"unusable answer from {url}: {type(error).__name__}") from None

    # Only large files have a SHA-256, and weights are large.
    name = next((name for name in HUB_FILES if sizes.get(name)), None)
    if name is None:
        raise DownloadError(f"{repository} has none of {', '.join(HUB_FILES)}")

    digest = sizes[name]["sha256"]
    return PublishedWeights(
        backbone=timm_name,
        file=f"{timm_name}-{digest[:8]}{Path(name).suffix}",
        url=f"{constants.ENDPOINT}/{quote(repository)}/resolve/{revision}/{name}",
        size=int(sizes[name]["size"]),
        sha256=digest,
        license=_license(model.get("cardData") or {}, timm_name),
        page=f"{constants.ENDPOINT}/{repository}",
    )


def cached_motion(name: str) -> Path | None:
    """Return downloaded weights of a torchvision network, or None."""
    file = weights_folder() / publish_motion(name).file
    return file if file.is_file() else None


def cached_semantic(timm_name: str) -> Path | None:
    """Return downloaded weights of a timm ViT, ours or of the Hugging Face client, or None."""
    # Our names end in eight digits of the checksum, which is not known without the hub.
    ours = sorted(weights_folder().glob(f"{timm_name}-????????.*"))
    complete = [file for file in ours if file.suffix in (".safetensors", ".bin")]
    if complete:
        return complete[0]

    # Other programs may have downloaded the same file by the hub's own client.
    repository = _repository(timm_name)
    for name in HUB_FILES:
        path = try_to_load_from_cache(repository, name)
        if isinstance(path, str):
            return Path(path)
    return None


def hub_headers(url: str) -> dict[str, str]:
    """Return the user's token for an address of the Hugging Face hub; nothing for other hosts."""
    # A token must not reach any other host.
    if urlsplit(url).netloc != urlsplit(constants.ENDPOINT).netloc:
        return {}
    token = get_token()
    return {"Authorization": f"Bearer {token}"} if token else {}


def _repository(timm_name: str) -> str:
    """Return the repository that timm loads a model from.

    Raises:
        DownloadError: timm knows no pretrained weights of this name.
    """
    config = get_pretrained_cfg(timm_name, allow_unregistered=False)
    repository = getattr(config, "hf_hub_id", None)
    if not repository:
        raise DownloadError(f"timm has no pretrained weights of {timm_name}")
    return str(repository).partition("@")[0]


def _license(card: Mapping[str, Any], timm_name: str) -> str:
    """Return the license that the model card states, or else timm."""
    named = card.get("license_name") or card.get("license")
    return str(named or getattr(get_pretrained_cfg(timm_name), "license", None) or "not stated")
