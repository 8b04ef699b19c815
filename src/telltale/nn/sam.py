"""Segment Anything, taken apart so that methods can add to its encoder: transformers' own classes.

    images → patches → blocks (in windows, some global) → neck → embedding (B, C, g, g)
    embedding, boxes → mask decoder → log-odds (B, 1, 4g, 4g)

Source: Kirillov et al., "Segment Anything", ICCV 2023, arXiv:2304.02643. ``sam_small``,
``sam_toy`` and ``sam_tiny`` are ours, for a CPU; the first is for the blocks of a ViT-S/14
(:func:`start_from`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from telltale.nn.contract import want_images
from telltale.nn.vit import IMAGENET_MEAN, IMAGENET_STD, LayerScale, ViT

if TYPE_CHECKING:
    from transformers import SamModel


class SamShape(NamedTuple):
    """What fixes a SAM's parameters."""

    width: int = 768
    depth: int = 12
    heads: int = 12
    global_blocks: tuple[int, ...] = (2, 5, 8, 11)
    size: int = 1024
    patch: int = 16
    window: int = 14
    embedding: int = 256


SHAPES: Mapping[str, SamShape] = {
    "sam_vit_b": SamShape(),
    "sam_vit_l": SamShape(1024, 24, 16, (5, 11, 17, 23)),
    "sam_vit_h": SamShape(1280, 32, 16, (7, 15, 23, 31)),
    "sam_small": SamShape(384, 4, 6, (1, 3), 112, 14, 4, 64),
    "sam_toy": SamShape(96, 6, 4, (2, 5), 128, 8, 4, 32),
    "sam_tiny": SamShape(16, 2, 2, (1,), 32, 8, 2, 16),
}


class Sam(nn.Module):
    """SAM on images (B, 3, S, S), float sRGB in [0, 1], resized by the caller to ``size``.

    ``width`` is the tokens' C, ``embedding`` the embedding's, ``global_blocks`` are the numbers of
    the blocks whose attention spans the picture.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: "SamModel", shape: SamShape) -> None:
        super().__init__()
        self.vision_encoder = model.vision_encoder
        self.prompt_encoder = model.prompt_encoder
        self.mask_decoder = model.mask_decoder
        self.shape = shape
        self.size, self.width, self.embedding = shape.size, shape.width, shape.embedding
        self.grid = shape.size // shape.patch
        self.global_blocks = shape.global_blocks
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """The encoder's blocks; each has ``attn.qkv`` and ``mlp.lin1``."""
        return list(self.vision_encoder.layers)

    def encode(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The embedding (B, C, g, g), and the tokens (B, g, g, width) after each global block."""
        if want_images(images).shape[-1] != self.size:
            raise ValueError(f"want images of {self.size} pixels, got {images.shape[-1]}")
        x = self.vision_encoder.patch_embed((images - self.mean) / self.std)
        x = x + self.vision_encoder.pos_embed
        kept = []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in self.global_blocks:
                kept.append(x)
        return self.vision_encoder.neck(x), kept

    def decode(self, embedding: Tensor, boxes: Tensor | None = None) -> Tensor:
        """Log-odds (B, 1, 4g, 4g) of the object: of the picture's, or in boxes.

        Args:
            embedding: (B, C, g, g).
            boxes: (B, 4) left, top, right, bottom in pixels of ``size``; None: no prompt at all,
                only the learnt embedding for that.
        """
        prompt = None if boxes is None else boxes[:, None]
        sparse, dense = self.prompt_encoder(None, None, prompt, None)
        masks, _ = self.mask_decoder(
            image_embeddings=embedding,
            image_positional_embeddings=self.positions(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )
        found: Tensor = masks[:, 0]
        return found

    def positions(self) -> Tensor:
        """Where in the picture each place of the embedding is, (1, C, g, g)."""
        table = self.prompt_encoder.shared_embedding
        line = (torch.arange(self.grid, device=self.mean.device) + 0.5) / self.grid
        y, x = torch.meshgrid(line, line, indexing="ij")
        found: Tensor = table(torch.stack([x, y], -1)).permute(2, 0, 1)[None]
        return found

    def freeze_idle(self) -> None:
        """Freeze the decoder's parts that a single mask does not use: they never learn."""
        self.mask_decoder.iou_prediction_head.requires_grad_(False)
        for other in list(self.mask_decoder.output_hypernetworks_mlps)[1:]:
            other.requires_grad_(False)


def sam(name: str, weights: str | Path | None = None, *, size: int | None = None) -> Sam:
    """A SAM by its name; without ``weights`` it starts at random.

    Args:
        name: Of :data:`SHAPES`.
        weights: What transformers' ``SamModel.from_pretrained`` takes: a folder, or a name of the
            hub such as ``facebook/sam-vit-base``.
        size: S in pixels of one that starts at random, a multiple of its patch; None is its own.

    Raises:
        ValueError: For an unknown name, or weights of another shape.
    """
    from transformers import SamModel

    if name not in SHAPES:
        raise ValueError(f"no SAM {name!r}; want one of {', '.join(SHAPES)}")
    shape = SHAPES[name]._replace(size=size or SHAPES[name].size)
    if shape.size % shape.patch:
        raise ValueError(f"{name}: want a size that {shape.patch} divides, got {shape.size}")
    if weights is None:
        return Sam(_begun(SamModel(config_of(shape))), shape)
    model = SamModel.from_pretrained(str(weights), attn_implementation="eager")
    vision: Any = model.config.vision_config
    got = vision.hidden_size, vision.num_hidden_layers, vision.image_size
    if got != (shape.width, shape.depth, shape.size):
        raise ValueError(f"{weights}: not a {name}: width, depth and size are {got}")
    return Sam(model, shape)


def _begun(model: "SamModel") -> "SamModel":
    """Prompts and decoder start as SAM's own do: as PyTorch's layers, embeddings with deviation 1.

    With transformers' 0.02 a narrow decoder says next to nothing, and hundreds of steps change
    little of it.
    """
    for part in (model.prompt_encoder, model.mask_decoder):
        for module in part.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, nn.Embedding)):
                module.reset_parameters()
    return model


def config_of(shape: SamShape) -> Any:  # noqa: ANN401  # transformers' SamConfig
    """Transformers' configuration of a shape."""
    from transformers import SamConfig

    made = SamConfig(
        vision_config={
            "hidden_size": shape.width,
            "num_hidden_layers": shape.depth,
            "num_attention_heads": shape.heads,
            "global_attn_indexes": list(shape.global_blocks),
            "image_size": shape.size,
            "patch_size": shape.patch,
            "window_size": shape.window,
            "output_channels": shape.embedding,
            "num_pos_feats": shape.embedding // 2,
            "mlp_dim": 4 * shape.width,
            "initializer_range": 0.02,  # transformers' 1e-10 is for weights that are loaded
        },
        prompt_encoder_config={
            "hidden_size": shape.embedding,
            "image_size": shape.size,
            "patch_size": shape.patch,
        },
        mask_decoder_config={
            "hidden_size": shape.embedding,
            "mlp_dim": 8 * shape.embedding,
            "num_attention_heads": min(8, shape.embedding // 8),
            "iou_head_hidden_dim": shape.embedding,
        },
        initializer_range=0.02,
    )
    # SAM's positions start with a deviation of 1. Transformers' width / 2 makes them noise in which
    # no place is near another, so that no box is ever understood.
    vision: Any = made.vision_config
    vision.scale = 1.0
    made._attn_implementation = "eager"
    return made


def start_from(network: Sam, vit: ViT) -> None:
    """Begin a SAM's encoder as a ViT's first blocks; its neck and decoder stay as they are.

    SAM has no class token, and its windows are new to a ViT: it has to get used to them.

    Args:
        network: Of the ViT's width, patch, side and heads, and no deeper.
        vit: With ImageNet's mean and deviation, as DINOv2's.

    Raises:
        ValueError: If they do not fit.
    """
    own, theirs = network.shape, vit.shape
    want = own.width, own.heads, own.patch, own.size, IMAGENET_MEAN, IMAGENET_STD
    got = theirs.width, theirs.heads, theirs.patch, theirs.size, theirs.mean, theirs.std
    if want != got or own.depth > theirs.depth:
        raise ValueError(f"want a ViT of {own}, with ImageNet's mean and deviation, got {theirs}")
    encoder: Any = network.vision_encoder
    encoder.patch_embed.projection.load_state_dict(vit.patch_embed.proj.state_dict())
    with torch.no_grad():
        encoder.pos_embed.copy_(vit.pos_embed[:, 1:].view_as(encoder.pos_embed))
        for layer, block in zip(encoder.layers, vit.blocks, strict=False):
            _copy(layer, block)


def _copy(layer: Any, block: Any) -> None:  # noqa: ANN401  # transformers' layer, a ViT's Block
    """A ViT's block, its gains multiplied into the weights before them."""
    for ours, found in (
        (layer.layer_norm1, block.norm1),
        (layer.attn.qkv, block.attn.qkv),
        (layer.attn.proj, block.attn.proj),
        (layer.layer_norm2, block.norm2),
        (layer.mlp.lin1, block.mlp.fc1),
        (layer.mlp.lin2, block.mlp.fc2),
    ):
        ours.load_state_dict(found.state_dict())
    for ours, scale in ((layer.attn.proj, block.ls1), (layer.mlp.lin2, block.ls2)):
        if isinstance(scale, LayerScale):
            ours.weight.mul_(scale.gamma[:, None])
            ours.bias.mul_(scale.gamma)


def at_size(logits: Tensor, like: Tensor) -> Tensor:
    """A map of log-odds at the size of images, bilinear."""
    return F.interpolate(logits, like.shape[-2:], mode="bilinear", align_corners=False)
