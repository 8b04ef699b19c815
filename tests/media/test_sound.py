"""The acoustic front end: the probe's spectrum and echoes whose delays are known."""

import math
import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from telltale.cli import run
from telltale.data.synth.echo import KINDS, Phone, Setting, draw_phone, heard, recording
from telltale.media import sound
from telltale.media.sound import (
    BANDS,
    CHIRP,
    FIRST,
    RATE,
    SPACING,
    SPEED,
    STEP,
    band_pass,
    chirp,
    echo_spectrogram,
    face_echo,
    locate,
    matched,
    probe,
    read_wav,
    segments,
    spectrogram,
    write_wav,
)

QUIET = Setting(noise=-200.0)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def echo_at(distance: float) -> np.ndarray:
    """A single reflector so many metres away, and the direct way twenty times as loud."""
    length = distance + math.hypot(distance, SPACING)
    return heard([SPACING, length], [1.0, 0.05], QUIET, rng())


@pytest.mark.parametrize("start", [12_000.0, 14_000.0, 16_000.0])
def test_7_a_chirp_sweeps_five_kilohertz(start: float) -> None:
    made = chirp(start)
    assert len(made) == CHIRP == 60
    spectrum = np.fft.fft(made, 8192)
    spectrum[4097:] = 0
    phase = np.unwrap(np.angle(np.fft.ifft(2 * spectrum)[:60]))[10:50]
    frequency = np.diff(phase) / (2 * np.pi) * RATE
    slope = np.polyfit(np.arange(39), frequency, 1)[0]
    assert slope == pytest.approx(5_000 / 60, rel=0.1)
    hertz = np.fft.rfftfreq(8192, 1 / RATE)
    power = np.abs(np.fft.rfft(made, 8192)) ** 2
    outside = (hertz < start - 1500) | (hertz > start + 6500)
    assert power[outside].sum() < 0.05 * power.sum()


def test_8_the_probe_has_nine_chirps_at_their_places() -> None:
    made = probe()
    assert len(made) / RATE == pytest.approx(0.8, abs=0.03)
    assert np.abs(made).max() <= 1
    hertz = np.fft.rfftfreq(4096, 1 / RATE)
    for number, start in enumerate(BANDS):
        begin = FIRST + STEP * number
        np.testing.assert_array_equal(made[begin : begin + 60], chirp(start))
        assert not made[begin + 60 : begin + STEP].any()
        power = np.abs(np.fft.rfft(made[begin : begin + 60], 4096)) ** 2
        middle = float(power @ hertz / power.sum())
        assert middle == pytest.approx(start + 2500, abs=300)
    assert sound.BANDS == (12e3,) * 3 + (14e3,) * 3 + (16e3,) * 3


@given(st.integers(70, 2500))
@settings(max_examples=40, deadline=None)
def test_9_a_known_delay_comes_out_within_a_sample(delay: int) -> None:
    power, noise = np.mean(chirp(14_000.0) ** 2), rng(delay)
    answers = []
    for _ in range(9):  # as many as the probe has
        segment = math.sqrt(power) * noise.standard_normal(STEP)  # 0 dB while the chirp lasts
        segment[delay : delay + CHIRP] += chirp(14_000.0)
        answers.append(matched(segment, 14_000.0))
    assert abs(int(np.sum(answers, axis=0).argmax()) - delay) <= 1


@pytest.mark.parametrize(("distance", "delay"), [(0.25, 64), (0.30, 77), (0.35, 90), (0.45, 116)])
def test_10_a_reflector_is_found_at_its_distance(distance: float, delay: int) -> None:
    found = locate(segments(band_pass(echo_at(distance))))
    assert abs(found - delay) <= 2
    assert abs(found - 2 * distance / SPEED * RATE) <= 1


@given(st.floats(0.27, 0.7), st.integers(0, 3000))
@settings(max_examples=25, deadline=None)
def test_10_wherever_it_is_and_whenever_the_recording_began(distance: float, shift: int) -> None:
    found = locate(segments(band_pass(np.r_[np.zeros(shift), echo_at(distance)])))
    length = distance + math.hypot(distance, SPACING)
    assert abs(found - length / SPEED * RATE) <= 1


@pytest.mark.parametrize("shift", [1, 137, 4000])
def test_11_when_the_recording_began_does_not_matter(shift: int) -> None:
    heard_at = echo_at(0.35)
    moved = np.r_[np.zeros(shift), heard_at]
    np.testing.assert_allclose(face_echo(moved), face_echo(heard_at), atol=1e-6)
    assert face_echo(heard_at).shape == (9, 60)


def test_11_the_spectrogram_is_torchs() -> None:
    echo = rng().standard_normal((9, 60))
    found = spectrogram(echo)
    assert found.shape == (2, 33, 61)
    window = torch.hann_window(64, dtype=torch.float64)
    row = torch.from_numpy(echo.ravel())
    theirs = torch.stft(row, 64, 9, window=window, return_complex=True)
    np.testing.assert_allclose(found[0], theirs.real.numpy(), atol=1e-5)
    np.testing.assert_allclose(found[1], theirs.imag.numpy(), atol=1e-5)
    assert not spectrogram(np.zeros((9, 60))).any()


@pytest.mark.parametrize("hertz", [500.0, 4_000.0])
def test_the_band_pass_leaves_what_is_heard_out(hertz: float) -> None:
    t = np.arange(20_000) / RATE
    voice, tone = np.sin(2 * np.pi * hertz * t), np.sin(2 * np.pi * 15_000 * t)
    inner = slice(2_000, -2_000)
    assert np.abs(band_pass(voice)[inner]).max() < 0.02
    np.testing.assert_allclose(band_pass(tone)[inner], tone[inner], atol=0.02)


def test_a_live_face_answers_longer_than_a_sheet() -> None:
    """Energy 15 to 60 samples after the first echo, over its peak."""

    def tail(kind: str, seed: int) -> float:
        parts = segments(band_pass(recording(kind, Setting(), rng(seed))))
        delay = locate(parts)
        answers = [matched(p, b) for p, b in zip(parts, BANDS, strict=True)]
        envelope = np.mean(answers, axis=0)
        energy = envelope**2
        return float(energy[delay + 15 : delay + 60].mean() / energy[delay])

    live, flat = (np.mean([tail(kind, k) for k in range(12)]) for kind in ("live", "screen"))
    assert live > 2 * flat


@pytest.mark.parametrize("kind", KINDS)
def test_recordings_come_from_their_seed(kind: str) -> None:
    setting = Setting(distance=0.4, pitch=10, noise=60, bend=0.5)
    phone = draw_phone(rng(9))
    first, again = (recording(kind, setting, rng(1), phone) for _ in range(2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, recording(kind, setting, rng(2), phone))
    assert not np.array_equal(first, recording(kind, setting, rng(1), Phone()))
    assert echo_spectrogram(first).dtype == np.float32


def test_says_what_it_wants() -> None:
    with pytest.raises(ValueError, match="want a recording at 44100 samples a second, got 48000"):
        echo_spectrogram(np.zeros(50_000), 48_000)
    with pytest.raises(ValueError, match="want 35919 samples or more"):
        echo_spectrogram(np.zeros(1000))
    with pytest.raises(ValueError, match="want one channel"):
        band_pass(np.zeros((2, 50_000)))
    with pytest.raises(ValueError, match="want live, paper, screen"):
        recording("mask", Setting(), rng())


@pytest.mark.parametrize("width", [2, 3, 4])
def test_wav_files_of_every_width(width: int, tmp_path: Path) -> None:
    samples = probe()[::50]
    whole = (samples * (2 ** (8 * width - 1) - 1)).astype("<i4" if width > 2 else "<i2")
    data = whole.view(np.uint8).reshape(len(samples), -1)[:, :width].tobytes()
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, width, RATE, 0, "NONE", ""))
        file.writeframes(data)
    found, rate = read_wav(tmp_path / "a.wav")
    assert rate == RATE
    np.testing.assert_allclose(found, samples, atol=2 ** (2 - 8 * width))


def test_a_file_that_is_no_recording(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFF nothing")
    with pytest.raises(ValueError, match=r"a\.wav: cannot be read as a WAV recording"):
        read_wav(tmp_path / "a.wav")
    write_wav(tmp_path / "b.wav", probe())
    assert not [*tmp_path.glob("*.part")]


def test_the_signal_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "probe.wav"
    assert run(["m3fas-signal", str(out)]) == 0
    samples, rate = read_wav(out)
    assert rate == RATE
    np.testing.assert_allclose(samples, probe(), atol=1e-4)
    assert "0.81 s" in capsys.readouterr().out
    assert run(["m3fas-signal", str(out)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert run(["m3fas-signal", str(tmp_path / "gone" / "a.wav")]) == 2
    assert run(["m3fas-signal", str(tmp_path / "a.mp3")]) == 2
