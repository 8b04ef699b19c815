"""Finds the faces of a picture: CenterFace proposes boxes, a face mesh confirms and measures them.

CenterFace's four maps have stride 4. For a cell (row i, column j) with heat over the threshold:

    height, width = 4·exp(size);   top = 4·(i + offset₀ + ½) - height/2,   left likewise with j

Each box, grown 1.6 times and turned upright by its eyes, goes through MediaPipe's face mesh: 468
points and a log-odds that a face is there, which removes what only resembles one.

Source: Xu et al., "CenterFace: Joint Face Detection and Alignment Using Face as Point",
arXiv:1911.03599; Kartynnik et al., "Real-time Facial Surface Geometry from Monocular Video on
Mobile GPUs", arXiv:1907.06724. Crop margin 1.3: the box that the forgery papers cut.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from telltale.engine import read_weights, session, verified
from telltale.media.regions import glance
from telltale.records import Region, Weights

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

MARGIN = 1.3
UPRIGHT = 20.0  # degrees of roll up to which a crop is not turned: turning resamples the evidence
PROFILE = 0.7  # CenterFace score that stands without the mesh; no false alarm passed it
MESH_SIZE = 192
CARD = Path(__file__).with_suffix(".toml")


@dataclass(frozen=True, slots=True)
class Face:
    """One face of a picture, in the picture's pixels.

    Args:
        box: (x, y, width, height) of the mesh, upright.
        score: CenterFace's confidence, in [0, 1].
        presence: The mesh's log-odds that this is a face, in nats.
        points: (468, 2) mesh points, x then y.
        roll: Degrees that the head is tilted clockwise in the picture.
        yaw: Degrees that the head is turned, 0 = frontal; from the mesh's own depth.
    """

    box: tuple[float, float, float, float]
    score: float
    presence: float
    points: Floats
    roll: float
    yaw: float


class FaceFinder:
    """Finds faces with the shipped models.

    Args:
        size: Long side in pixels at which a picture is searched; larger finds smaller faces.
        heat: CenterFace's threshold, in (0, 1).
        presence: Log-odds that the mesh must reach.
        threads: Threads inside a network call; 0 = all cores.
    """

    def __init__(
        self, *, size: int = 800, heat: float = 0.4, presence: float = 0.0, threads: int = 0
    ) -> None:
        if size < 32 or not 0 < heat < 1:
            raise ValueError(f"want size >= 32 and heat in (0, 1), got {size} and {heat}")
        self.size = size
        self.heat = heat
        self.presence = presence
        boxes, mesh = (verified(weights) for weights in shipped())
        self.boxes = session(boxes, threads)
        self.meshes = session(mesh, threads)

    def find(self, pixels: Pixels) -> list[Face]:
        """The faces of a picture (H, W, 3), largest first.

        A picture without an upright face is searched again turned by 90, 180 and 270 degrees, at
        half the size: cameras and scanners do lose the orientation.
        """
        found = self._measure(pixels, self._propose(pixels, self.size))
        quarters = 0
        while not found and quarters < 3:
            quarters += 1
            turned = np.rot90(pixels, quarters)
            boxes = self._propose(turned, self.size // 2)
            boxes = [_turned_back(box, quarters, pixels.shape) for box in boxes]
            found = self._measure(pixels, boxes)
        return sorted(found, key=lambda face: -face.box[2] * face.box[3])

    def find_many(self, pictures: Sequence[Pixels]) -> list[list[Face]]:
        """:meth:`find` for each picture."""
        return [self.find(pixels) for pixels in pictures]

    def _propose(self, pixels: Pixels, size: int) -> list["_Proposal"]:
        height, width = pixels.shape[:2]
        scale = min(1.0, size / max(height, width))
        small = _shrink(pixels, max(1, round(width * scale)), max(1, round(height * scale)))
        h, w = small.shape[:2]
        canvas = np.zeros((1, 3, -(-h // 32) * 32, -(-w // 32) * 32), np.float32)
        canvas[0, :, :h, :w] = small.transpose(2, 0, 1)  # 0–255: the network normalises inside
        heat, sizes, offset, points = self.boxes.run(None, {"images": canvas})
        rows, columns = np.nonzero(heat[0, 0] > self.heat)
        if not len(rows):
            return []
        scores = heat[0, 0, rows, columns]
        high, wide = 4 * np.exp(sizes[0][:, rows, columns])
        top = 4 * (rows + offset[0, 0, rows, columns] + 0.5) - high / 2
        left = 4 * (columns + offset[0, 1, rows, columns] + 0.5) - wide / 2
        eyes = points[0][:4, rows, columns]  # (y, x) of one eye, then of the other, in box sizes
        tilt = np.degrees(np.arctan2((eyes[2] - eyes[0]) * high, (eyes[3] - eyes[1]) * wide))
        box = np.stack([left, top, wide, high], 1) / np.array([w / width, h / height] * 2)
        kept = _suppress(box, scores)
        rows = np.column_stack([box, scores, tilt])[kept].tolist()
        return [_Proposal(x, y, w, h, sure, turned) for x, y, w, h, sure, turned in rows]

    def _measure(self, pixels: Pixels, proposals: list["_Proposal"]) -> list[Face]:
        if not proposals:
            return []
        regions = [_mesh_region(proposal) for proposal in proposals]
        meshes, _ = self._mesh(pixels, regions)
        # The mesh is surest when the face fills its frame as in its training: look once more.
        regions = [_refined(mesh, region) for mesh, region in zip(meshes, regions, strict=True)]
        meshes, presences = self._mesh(pixels, regions)
        faces = [
            _face(proposal, region, mesh, float(presence))
            for proposal, region, mesh, presence in zip(
                proposals, regions, meshes, presences, strict=True
            )
            # A full profile hides half the mesh: there CenterFace alone may be sure enough.
            if presence >= self.presence or proposal.score >= PROFILE
        ]
        return _distinct(faces)

    def _mesh(self, pixels: Pixels, regions: Sequence[Region]) -> tuple[Floats, Floats]:
        """Points (N, 468, 3) in mesh pixels and presence (N,) of each region."""
        crops = np.stack([glance(pixels, region, MESH_SIZE) for region in regions])
        images = crops.transpose(0, 3, 1, 2).astype(np.float32) / 255
        points, presence = self.meshes.run(None, {"images": images})
        return points, presence


def shipped() -> tuple[Weights, ...]:
    """Cards of the two models: the box finder, then the mesh."""
    return read_weights(CARD)


def crop_region(face: Face, margin: float = MARGIN) -> Region:
    """The square that a detector looks at: ``margin`` times the face's longer side.

    It is turned with the head when the roll passes 20 degrees, and measured in the head's frame.
    """
    angle = face.roll if abs(face.roll) > UPRIGHT else 0.0
    flat = _rotate(face.points, -angle)
    low, high = flat.min(0), flat.max(0)
    return _square(low, high, angle, float((high - low).max()) * margin)


@dataclass(frozen=True, slots=True)
class _Proposal:
    x: float
    y: float
    width: float
    height: float
    score: float
    tilt: float  # degrees


def _shrink(pixels: Pixels, width: int, height: int) -> Pixels:
    image = Image.fromarray(pixels)
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=1.01))


def _mesh_region(proposal: _Proposal) -> Region:
    side = 1.6 * max(proposal.width, proposal.height)
    x, y = proposal.x + proposal.width / 2, proposal.y + proposal.height / 2
    return Region(x - side / 2, y - side / 2, side, side, proposal.tilt or 0.01)


def _refined(mesh: Floats, region: Region) -> Region:
    """The region 1.5 times the mesh found in ``region``, turned by its cheeks; never far off."""
    points = _to_picture(mesh[:, :2], region)
    across = points[454] - points[234]
    angle = math.degrees(math.atan2(across[1], across[0]))
    flat = _rotate(points, -angle)
    low, high = flat.min(0), flat.max(0)
    side = float(np.clip(1.5 * (high - low).max(), 0.4 * region.width, 1.6 * region.width))
    return _square(low, high, angle or 0.01, side)


def _square(low: Floats, high: Floats, angle: float, side: float) -> Region:
    """The square round the middle of a box that was measured in a frame turned by ``angle``."""
    x, y = _rotate(((low + high) / 2).astype(np.float32)[None], angle)[0]
    return Region(float(x) - side / 2, float(y) - side / 2, side, side, angle)


def _face(proposal: _Proposal, region: Region, mesh: Floats, presence: float) -> Face:
    points = _to_picture(mesh[:, :2], region)
    across = points[454] - points[234]  # from cheek to cheek
    depth = (mesh[454, 2] - mesh[234, 2]) * region.width / MESH_SIZE
    (x, y), (right, bottom) = points.min(0), points.max(0)
    return Face(
        box=(float(x), float(y), float(right - x), float(bottom - y)),
        score=proposal.score,
        presence=presence,
        points=points,
        roll=math.degrees(math.atan2(across[1], across[0])),
        yaw=math.degrees(math.atan2(depth, float(np.linalg.norm(across)))),
    )


def _to_picture(points: Floats, region: Region) -> Floats:
    centred = (points - MESH_SIZE / 2) * (region.width / MESH_SIZE)
    middle = np.array([region.x + region.width / 2, region.y + region.height / 2], np.float32)
    return (_rotate(centred, region.angle) + middle).astype(np.float32)


def _rotate(points: Floats, degrees: float) -> Floats:
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return points @ np.array([[cos, sin], [-sin, cos]], np.float32)


def _turned_back(box: _Proposal, quarters: int, shape: tuple[int, ...]) -> _Proposal:
    """A box found after ``np.rot90(pixels, quarters)``, in the picture as it was."""
    height, width = shape[:2]
    x, y = box.x + box.width / 2, box.y + box.height / 2
    wide, high = (box.width, box.height) if quarters == 2 else (box.height, box.width)
    x, y = {1: (width - y, x), 2: (width - x, height - y), 3: (y, height - x)}[quarters]
    return _Proposal(x - wide / 2, y - high / 2, wide, high, box.score, box.tilt + 90 * quarters)


def _suppress(boxes: NDArray[np.floating[Any]], scores: Floats, overlap: float = 0.3) -> list[int]:
    """Indices of the boxes (N, 4) that no better box overlaps by more than ``overlap`` IoU."""
    x, y, width, height = boxes.T
    wide = np.minimum.outer(x + width, x + width) - np.maximum.outer(x, x)
    high = np.minimum.outer(y + height, y + height) - np.maximum.outer(y, y)
    shared = np.maximum(wide, 0) * np.maximum(high, 0)
    areas = width * height
    collides = shared > overlap * (np.add.outer(areas, areas) - shared)
    kept: list[int] = []
    for k in np.argsort(-scores):
        if not collides[k, kept].any():
            kept.append(int(k))
    return kept


def _distinct(faces: list[Face]) -> list[Face]:
    """Two boxes of one face can settle on the same mesh; keep the surer."""
    boxes = np.array([face.box for face in faces]).reshape(-1, 4)
    scores = np.array([face.score for face in faces], np.float32)
    return [faces[k] for k in _suppress(boxes, scores, 0.5)]
