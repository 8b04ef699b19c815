"""Echoes of a probe from a live face, from paper or from a screen, as a phone records them.

    H(f) = Σ a_i e^{-j2πf r_i/c},   y = H ⊙ probe + noise,   a_i ∝ 1/r_i²  from highlights

A face answers from a dozen highlights at several depths, a sheet or a screen from one mirror point
and four edges; bent paper spreads its mirror point over a band of depths. Speaker and microphone
are 2 cm apart; walls answer from 1.2 to 3 m; every phone has its own response.

Source: the highlight model of target echoes; figures as in the reconstruction of M3FAS's data.
Everything here is **simulated**.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from telltale.media.sound import RATE, SPACING, SPEED, probe

Floats = NDArray[np.float64]

KINDS = ("live", "paper", "screen")
FACE = (  # x, y, depth behind the nose in m, relative amplitude
    (0.0, 0.0, 0.0, 1.0),  # nose tip
    (0.0, -0.03, 0.012, 0.6),  # lip
    (0.0, -0.06, 0.015, 0.6),  # chin
    (0.0, 0.06, 0.020, 1.2),  # forehead
    (-0.04, -0.01, 0.030, 0.7),  # cheeks
    (0.04, -0.01, 0.030, 0.7),
    (-0.032, 0.03, 0.035, 0.4),  # eye sockets
    (0.032, 0.03, 0.035, 0.4),
    (-0.075, 0.0, 0.10, 0.4),  # ears
    (0.075, 0.0, 0.10, 0.4),
    (0.0, -0.13, 0.09, 0.6),  # neck
)
SKIN = 0.3  # share of sound that skin sends back
EDGES = ((-0.10, 0.0), (0.10, 0.0), (0.0, -0.13), (0.0, 0.13))  # of a sheet, in m
QUIET = 1e-3  # σ of the noise at 40 dB


class Phone(NamedTuple):
    """A phone's response: five taps that colour all that it plays and records."""

    taps: tuple[float, ...] = (0.0, 0.0, 1.0, 0.0, 0.0)


class Setting(NamedTuple):
    """What a recording was made of.

    Args:
        distance: From the phone to the nose or the sheet, m.
        pitch: Degrees that the head or the sheet is tilted.
        noise: Sound level of the room, dB.
        bend: Radius of a bent sheet, m; inf is flat.
    """

    distance: float = 0.35
    pitch: float = 0.0
    noise: float = 40.0
    bend: float = math.inf


def draw_phone(rng: np.random.Generator) -> Phone:
    """A phone at random."""
    taps = np.array([0, 0, 1.0, 0, 0]) + rng.normal(0, 0.15, 5)
    return Phone(tuple(taps.tolist()))


def recording(
    kind: str, setting: Setting, rng: np.random.Generator, phone: Phone | None = None
) -> Floats:
    """What the microphone records (N,) while the probe plays.

    Args:
        kind: One of :data:`KINDS`.
        setting: Distance, pitch, noise and bend.
        rng: Of geometry, clutter and noise.
        phone: Its response; flat by default.

    Raises:
        ValueError: If the kind is not known or the distance not above 0.
    """
    if kind not in KINDS or not setting.distance > 0:
        raise ValueError(f"want {', '.join(KINDS)} at a distance above 0, got {kind!r}, {setting}")
    points = _face(setting, rng) if kind == "live" else _sheet(kind, setting, rng)
    lengths = [_length(x, y, z) for x, y, z, _ in points]
    gains = [a / r**2 for (*_, a), r in zip(points, lengths, strict=True)]
    walls = rng.uniform(1.2, 3.0, 4)
    lengths += [2 * wall for wall in walls]
    strengths = rng.uniform(0.5, 2, 4)
    gains += [float(a) / (2 * wall) ** 2 for a, wall in zip(strengths, walls, strict=True)]
    # the direct way, of amplitude 1 over the two centimetres between speaker and microphone
    scale = SPACING**2
    return heard([SPACING, *lengths], [1.0, *(scale * gain for gain in gains)], setting, rng, phone)


def heard(
    lengths: "list[float]",
    gains: "list[float]",
    setting: Setting,
    rng: np.random.Generator,
    phone: Phone | None = None,
) -> Floats:
    """The probe after ways of so many metres and with such gains, in a room's noise."""
    sent = probe()
    size = 1 << (len(sent) + 4096).bit_length()
    frequency = np.fft.rfftfreq(size, 1 / RATE)
    seconds = np.array(lengths) / SPEED
    response = np.zeros(len(frequency), np.complex128)
    for gain, delay in zip(gains, seconds, strict=True):
        response += gain * np.exp(-2j * np.pi * frequency * delay)
    received = np.fft.irfft(response * np.fft.rfft(sent, size), size)[: len(sent) + 2048]
    if phone is not None:
        received = np.convolve(received, phone.taps, "same")
    level = QUIET * 10 ** ((setting.noise - 40) / 20) * SPACING
    return received + level * rng.standard_normal(len(received))


def _face(setting: Setting, rng: np.random.Generator) -> list[tuple[float, float, float, float]]:
    """Highlights x, y, z and amplitude of a live face, its geometry varied by 8 %."""
    points = np.array(FACE)
    points[:, :3] *= 1 + 0.08 * rng.standard_normal((len(points), 3))
    points[:, 3] *= SKIN * rng.uniform(0.6, 1.4, len(points))
    y, z = _tilted(points[:, 1], points[:, 2], setting.pitch)
    return [
        (float(x), float(b), float(setting.distance + c), float(a))
        for x, b, c, a in zip(points[:, 0], y, z, points[:, 3], strict=True)
    ]


def _sheet(
    kind: str, setting: Setting, rng: np.random.Generator
) -> list[tuple[float, float, float, float]]:
    """The mirror point, or a band of them on bent paper, and four edges of a sheet."""
    strength = 4 * (1.0 if kind == "screen" else 0.7)
    foot = setting.distance * math.tan(math.radians(setting.pitch))
    wobble = 0.004 * rng.standard_normal() if kind == "paper" else 0.0
    band = np.linspace(-0.06, 0.06, 9) if math.isfinite(setting.bend) else np.zeros(1)
    deep = np.zeros(1) if len(band) == 1 else band**2 / (2 * setting.bend)
    points = [
        (float(x), foot, setting.distance + wobble + float(d), strength / len(band))
        for x, d in zip(band, deep, strict=True)
    ]
    for x, y in EDGES:
        back = 0.0 if math.isinf(setting.bend) else x * x / (2 * setting.bend)
        tilted, depth = _tilted(np.array([y]), np.array([back]), setting.pitch)
        points.append((x, float(tilted[0]), setting.distance + float(depth[0]), 0.3))
    return points


def _tilted(y: Floats, z: Floats, degrees: float) -> tuple[Floats, Floats]:
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return cos * y - sin * z, sin * y + cos * z


def _length(x: float, y: float, z: float) -> float:
    """From the speaker to a point and on to the microphone, m."""
    return math.sqrt(x * x + y * y + z * z) + math.sqrt(x * x + (y - SPACING) ** 2 + z * z)
