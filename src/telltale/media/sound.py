"""Sound as M3FAS uses it: the probe that a phone plays, and the face's echo in what it records.

    x_b(t) = w(t)·sin(2π(f_b t + ½ k t²)),  k = 5 kHz / T,  T = 60 samples,  w a Hamming window

A pilot tone at 11.025 kHz starts the probe; from 0.19 s on come nine chirps, 3,060 samples apart:
three each from 12, 14 and 16 kHz, all 5 kHz wide. A recording is band-passed, aligned by the pilot,
cut in nine, and matched with each chirp; the echo that all nine have in common is the face's. From
there 60 samples of each give a 9 × 60 matrix, and its short-time Fourier transform (2, 33, 61).

Source: Kong et al., "M3FAS", IEEE TDSC 2024, arXiv:2301.12831; front end of Echo-FAS (Kong et al.,
IEEE TIFS 2022). Assumed: a pilot of 500 samples; a band-pass of 10 to 22 kHz with the response of a
fourth-order Butterworth filter run both ways; the face is where the mean envelope of all nine
peaks; Fourier frames of 64 samples every 9.
"""

import os
import wave
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RATE = 44_100  # samples a second
SPEED = 343.0  # of sound, m/s
SPACING = 0.02  # m from speaker to microphone
PILOT, PILOT_SAMPLES = 11_025.0, 500
FIRST = 8_379  # sample at which the first chirp begins: 0.19 s
CHIRP, STEP = 60, 3_060  # samples of a chirp, and from one to the next
WIDTH = 5_000.0  # Hz that a chirp sweeps
BANDS = (12_000.0,) * 3 + (14_000.0,) * 3 + (16_000.0,) * 3  # Hz where each chirp begins
SLACK = 24  # samples that the pilot may be wrong by
NEAREST, FARTHEST = 55, 200  # delays in samples that a face may answer at
FRAME, HOP = 64, 9
PASS, ORDER, TAPS = (10_000.0, 21_900.0), 4, 513


def chirp(start: float, *, phase: float = 0.0) -> Floats:
    """One chirp (60,) that sweeps 5 kHz from ``start`` Hz; its phase in radians."""
    t = np.arange(CHIRP) / RATE
    slope = WIDTH / (CHIRP / RATE)
    turns = start * t + 0.5 * slope * t**2
    return np.asarray(np.hamming(CHIRP) * np.sin(2 * np.pi * turns + phase), np.float64)


def probe() -> Floats:
    """The whole probe in [-1, 1], 0.81 s at 44.1 kHz."""
    sound = np.zeros(FIRST + STEP * len(BANDS))
    sound[:PILOT_SAMPLES] = pilot()
    for number, start in enumerate(BANDS):
        begin = FIRST + STEP * number
        sound[begin : begin + CHIRP] = chirp(start)
    return sound


def pilot() -> Floats:
    """The tone (500,) that the recording is aligned by, softened at its ends."""
    tone = np.sin(2 * np.pi * PILOT / RATE * np.arange(PILOT_SAMPLES))
    return np.asarray(tone * np.hanning(PILOT_SAMPLES), np.float64)


def echo_spectrogram(samples: NDArray[np.floating], rate: int = RATE) -> NDArray[np.float32]:
    """What the network hears: the face echo's spectrogram (2, 33, 61), real and imaginary part.

    Args:
        samples: (N,) a raw recording of the probe, of any amplitude: no noise suppression, no echo
            cancellation, no automatic gain.
        rate: Samples a second; 44,100.

    Raises:
        ValueError: If the rate is another, or the recording too short for the probe.
    """
    if rate != RATE:
        raise ValueError(f"want a recording at {RATE} samples a second, got {rate}")
    return spectrogram(face_echo(np.asarray(samples, np.float64)))


def face_echo(samples: Floats) -> Floats:
    """The face's echo (9, 60): sixty samples of each chirp's answer from where it begins."""
    parts = segments(band_pass(samples))
    delay = locate(parts)
    return parts[:, delay : delay + CHIRP]


def band_pass(samples: Floats) -> Floats:
    """A recording (N,) with 10 to 22 kHz left, its phase untouched."""
    if samples.ndim != 1:
        raise ValueError(f"want one channel (N,), got {samples.shape}")
    kernel = _kernel()
    return _convolved(samples, kernel)[TAPS // 2 : TAPS // 2 + len(samples)]


def segments(samples: Floats) -> Floats:
    """The nine answers (9, 3060) in a band-passed recording, each from its chirp's emission.

    Raises:
        ValueError: If the probe is not all there.
    """
    if len(samples) < FIRST + STEP * len(BANDS):
        raise ValueError(
            f"want {FIRST + STEP * len(BANDS)} samples or more, the whole probe, got {len(samples)}"
        )
    # Where the probe may begin and still be all there; the search ends there, too.
    room = len(samples) - FIRST - STEP * (len(BANDS) - 1) - FARTHEST - CHIRP + SLACK
    likeness = np.abs(_convolved(samples[: room + PILOT_SAMPLES], pilot()[::-1]))
    likeness = likeness[PILOT_SAMPLES - 1 : PILOT_SAMPLES - 1 + room]
    direct = round(SPACING / SPEED * RATE)
    # A tone says only roughly when it began; the chirps' own direct way says the rest.
    begin = _cut_from(samples, int(likeness.argmax()) + FIRST - SLACK)
    late = int(_mean_answer(begin, 2 * SLACK).argmax()) - SLACK - direct
    return _cut_from(samples, int(likeness.argmax()) + FIRST + late)


def _cut_from(samples: Floats, begin: int) -> Floats:
    """Nine segments (9, 3060) of which the first begins there."""
    end = begin + STEP * (len(BANDS) - 1) + FARTHEST + CHIRP
    if begin < 0 or end > len(samples):
        raise ValueError("the recording ends before the probe does, or has no pilot tone")
    padded = np.pad(samples, (0, STEP))
    starts = begin + STEP * np.arange(len(BANDS))
    return np.stack([padded[start : start + STEP] for start in starts])


def locate(parts: Floats) -> int:
    """The delay in samples at which all nine segments (9, 3060) answer: the face's."""
    envelope = _mean_answer(parts, FARTHEST + 1)
    direct = int(envelope[: NEAREST // 2].argmax())  # straight from the speaker
    first = max(NEAREST, direct + CHIRP)
    return first + int(envelope[first:].argmax())


def _mean_answer(parts: Floats, delays: int) -> Floats:
    """The mean answer of nine segments at the first delays (delays,)."""
    short = parts[:, : delays + CHIRP]  # what comes later does not enter
    answers = [matched(p, b)[:delays] for p, b in zip(short, BANDS, strict=True)]
    return np.asarray(np.mean(answers, axis=0), np.float64)


def matched(segment: Floats, start: float) -> Floats:
    """How strongly a segment (N,) answers to the chirp from so many Hz: (N,), by delay.

    The length of what the chirp and its quarter turn find: it has no ripple of the carrier, and
    nothing of the direct way is left a chirp's length after it.
    """
    found = [_convolved(segment, chirp(start, phase=p)[::-1]) for p in (0.0, np.pi / 2)]
    return np.hypot(*found)[CHIRP - 1 :]


def spectrogram(echo: Floats) -> NDArray[np.float32]:
    """The face echo (9, 60), row after row, as Fourier frames (2, 33, 61)."""
    row = np.pad(echo.ravel(), FRAME // 2, "reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME) / FRAME)
    frames = np.lib.stride_tricks.sliding_window_view(row, FRAME)[::HOP] * window
    found = np.fft.rfft(frames, axis=1).T  # (33, 61)
    return np.stack([found.real, found.imag]).astype(np.float32)


def read_wav(path: str | os.PathLike[str]) -> tuple[Floats, int]:
    """The first channel of a WAV file in [-1, 1], and its samples a second.

    Raises:
        ValueError: That names the file, if it is no PCM WAV.
    """
    try:
        with wave.open(os.fspath(path), "rb") as file:
            width, rate, channels = file.getsampwidth(), file.getframerate(), file.getnchannels()
            data = file.readframes(file.getnframes())
    except (OSError, EOFError, wave.Error) as error:
        raise ValueError(f"{path}: cannot be read as a WAV recording ({error})") from None
    if width not in (2, 3, 4) or not data:
        raise ValueError(f"{path}: want 16, 24 or 32 bit PCM with sound in it, got {8 * width} bit")
    raw = np.frombuffer(data, np.uint8).reshape(-1, channels, width)[:, 0]
    wide = np.zeros((len(raw), 4), np.uint8)
    wide[:, 4 - width :] = raw
    return wide.view("<i4")[:, 0] / 2.0**31, rate


def write_wav(path: str | os.PathLike[str], samples: Floats, rate: int = RATE) -> None:
    """Write samples in [-1, 1] as 16 bit PCM; the file is whole or not there."""
    target = Path(path)
    part = target.with_name(target.name + ".part")
    with wave.open(str(part), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.clip(samples, -1, 1) * 32_767).round().astype("<i2").tobytes())
    part.replace(target)


@cache
def _kernel() -> Floats:
    """Taps (TAPS,) whose response is the squared one of a Butterworth band-pass."""
    frequency = np.fft.rfftfreq(4096, 1 / RATE)
    low, high = PASS
    middle, wide = low * high, high - low
    with np.errstate(divide="ignore"):
        off = (frequency**2 - middle) / (frequency * wide)
    response = 1 / (1 + off ** (2 * ORDER))  # |H|², as both ways give it
    taps = np.roll(np.fft.irfft(response), TAPS // 2)[:TAPS]
    return taps * np.hanning(TAPS + 2)[1:-1]


def _convolved(samples: Floats, kernel: Floats) -> Floats:
    """The full convolution (N + M - 1,)."""
    length = len(samples) + len(kernel) - 1
    size = 1 << (length - 1).bit_length()
    product = np.fft.rfft(samples, size) * np.fft.rfft(kernel, size)
    return np.fft.irfft(product, size)[:length]
