"""What a file says of itself: credentials really signed, metadata really written."""

import datetime
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from telltale.media import MediaError, read_picture
from telltale.media.provenance import provenance
from telltale.media.traces import segments
from telltale.records import Observation

MEDIA = Path(__file__).parents[2] / "examples/media"


def told(path: Path, **options: Any) -> dict[str, Observation]:
    picture = read_picture(path)
    return {it.name: it for it in provenance(path, picture.subject, picture.pixels, **options)}


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A photograph with content credentials by a test press, and its root certificate."""
    c2pa = pytest.importorskip("c2pa")
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    now = datetime.datetime.now(datetime.UTC)

    def name(common: str) -> Any:  # noqa: ANN401
        named = ((NameOID.COMMON_NAME, common), (NameOID.ORGANIZATION_NAME, "Test press"))
        return x509.Name([x509.NameAttribute(*it) for it in named])

    def certificate(subject: str, key: Any, issuer: Any, is_root: bool) -> Any:  # noqa: ANN401
        builder = (
            x509.CertificateBuilder()
            .subject_name(name(subject))
            .issuer_name(name("Root"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=30))
            .add_extension(x509.BasicConstraints(is_root, None), critical=True)
            .add_extension(
                x509.KeyUsage(
                    not is_root, False, False, False, False, is_root, is_root, False, False
                ),
                critical=True,
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()),
                critical=False,
            )
        )
        if not is_root:
            usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
            builder = builder.add_extension(usage, critical=False)
        return builder.sign(issuer, hashes.SHA256())

    root, leaf = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    pem = serialization.Encoding.PEM
    anchor = certificate("Root", root, root, True).public_bytes(pem)
    chain = certificate("Picture desk", leaf, root, False).public_bytes(pem) + anchor
    key = leaf.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    source = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    actions = {"actions": [{"action": "c2pa.created", "digitalSourceType": source}]}
    manifest = {
        "claim_generator_info": [{"name": "desk", "version": "1"}],
        "format": "image/jpeg",
        "assertions": [{"label": "c2pa.actions", "data": actions}],
    }
    folder = tmp_path_factory.mktemp("signed")
    signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo(b"es256", chain, key, None))
    out = io.BytesIO()
    photograph = io.BytesIO((MEDIA / "astronaut.jpg").read_bytes())
    c2pa.Builder(json.dumps(manifest)).sign(signer, "image/jpeg", photograph, out)
    (folder / "signed.jpg").write_bytes(out.getvalue())
    (folder / "anchor.pem").write_bytes(anchor)
    return folder / "signed.jpg", folder / "anchor.pem"


def test_integrity_trust_and_signer_are_three_answers(
    signed: tuple[Path, Path], tmp_path: Path
) -> None:
    path, anchor = signed
    plain, trusting = told(path), told(path, anchors=anchor)
    assert plain["c2pa.integrity"].value == trusting["c2pa.integrity"].value == "intact"
    assert (plain["c2pa.trust"].value, trusting["c2pa.trust"].value) == ("not checked", "trusted")
    assert plain["c2pa.signer"].value == "Picture desk, Test press"
    assert plain["c2pa.actions"].value == "created"
    assert "generative model" in plain["declared.source"].says
    other = tmp_path / "other.pem"
    other.write_bytes(_stranger())
    assert told(path, anchors=other)["c2pa.trust"].value == "untrusted"
    assert told(path, anchors=other)["c2pa.integrity"].value == "intact"


def _stranger() -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Stranger")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(True, None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)


def test_a_changed_pixel_breaks_integrity_and_says_nothing_on_trust(
    signed: tuple[Path, Path], tmp_path: Path
) -> None:
    path, anchor = signed
    data = bytearray(path.read_bytes())
    data[-2000] ^= 1
    changed = tmp_path / "changed.jpg"
    changed.write_bytes(data)
    found = told(changed, anchors=anchor)
    assert found["c2pa.integrity"].value == "broken"
    assert "dataHash.mismatch" in found["c2pa.integrity"].says
    assert found["c2pa.trust"].value in ("trusted", "untrusted")


def test_credentials_cut_out_are_none(signed: tuple[Path, Path], tmp_path: Path) -> None:
    plain = tmp_path / "plain.jpg"
    Image.open(signed[0]).save(plain)
    assert told(plain)["c2pa"].value == "none"


def test_wrong_anchors_are_named(signed: tuple[Path, Path], tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.pem"
    with pytest.raises(MediaError, match=r"wrong\.pem"):
        told(signed[0], anchors=wrong)


def photograph(seed: int, size: tuple[int, int] = (320, 240)) -> Image.Image:
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (9, 12, 3), np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def with_thumbnail(path: Path, picture: Image.Image, thumb: Image.Image, turn: int = 1) -> None:
    """A JPEG with an EXIF thumbnail, the second directory written by hand."""
    import struct

    buffer = io.BytesIO()
    thumb.save(buffer, "JPEG")
    small = buffer.getvalue()
    first = struct.pack("<HHHIHH", 1, 0x0112, 3, 1, turn, 0)
    after = 8 + len(first) + 4
    entries = ((513, 4, 1, after + 2 + 24 + 4), (514, 4, 1, len(small)))
    second = struct.pack("<H", 2) + b"".join(struct.pack("<HHII", *it) for it in entries)
    tiff = b"II*\0" + struct.pack("<I", 8) + first + struct.pack("<I", after)
    exif = b"Exif\0\0" + tiff + second + struct.pack("<I", 0) + small
    picture.save(path, exif=exif, quality=90)


@pytest.mark.parametrize("turn", [1, 6, 3])
def test_thumbnail_of_the_picture_and_of_another(tmp_path: Path, turn: int) -> None:
    path, picture = tmp_path / "a.jpg", photograph(1)
    with_thumbnail(path, picture, picture.resize((160, 120)), turn)
    assert told(path)["exif.thumbnail"].value == "same"
    with_thumbnail(path, picture, photograph(2).resize((160, 120)), turn)
    found = [it for it in provenance(path, *_read(path)) if it.name == "exif.thumbnail"]
    assert [(it.basis, it.value) for it in found] == [
        ("derived", "different"),
        ("inferred", "stale"),
    ]


def _read(path: Path) -> tuple[Any, Any]:
    picture = read_picture(path)
    return picture.subject, picture.pixels


def test_bars_beside_a_wide_pictures_thumbnail_do_not_count(tmp_path: Path) -> None:
    picture = photograph(3, (480, 270))
    thumb = Image.new("RGB", (160, 120))
    thumb.paste(picture.resize((160, 90)), (0, 15))
    with_thumbnail(tmp_path / "wide.jpg", picture, thumb)
    assert told(tmp_path / "wide.jpg")["exif.thumbnail"].value == "same"


def test_a_damaged_thumbnail_does_not_stop_anything(tmp_path: Path) -> None:
    path, picture = tmp_path / "a.jpg", photograph(1)
    with_thumbnail(path, picture, picture.resize((160, 120)))
    data = path.read_bytes()
    at = data.index(b"\xff\xd8", 2)
    path.write_bytes(data[: at + 2] + b"\x00" * 40 + data[at + 42 :])
    assert told(path)["exif.thumbnail"].value in ("damaged", "different")


def test_programs_prompts_and_cameras(tmp_path: Path) -> None:
    picture = photograph(4)
    exif = Image.Exif()
    exif[0x0131] = "Adobe Photoshop 25.1 (Windows)"
    exif[0x010F], exif[0x0110] = "Canon", "Canon EOS R5"
    picture.save(tmp_path / "edited.jpg", exif=exif, quality=75)
    found = told(tmp_path / "edited.jpg")
    assert found["software.editor"].value == "Adobe Photoshop 25.1 (Windows)"
    assert found["exif.camera"].value == "Canon EOS R5"
    assert (found["jpeg.tables"].basis, found["jpeg.tables"].value) == ("derived", "standard 75")
    assert found["jpeg.encoder"].basis == "inferred"
    text = PngImagePlugin.PngInfo()
    text.add_text("parameters", "a cat, Steps: 20")
    text.add_text("Software", "ImageMagick 7")
    picture.save(tmp_path / "made.png", pnginfo=text)
    found = told(tmp_path / "made.png")
    assert found["software.generator"].value == "parameters"
    assert found["software.editor"].value == "ImageMagick 7"
    xmp = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description xmp:CreatorTool="Snapseed 2.0" '
        'Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/'
        'trainedAlgorithmicMedia"/></x:xmpmeta>'
    )
    picture.save(tmp_path / "x.jpg", xmp=xmp.encode())
    found = told(tmp_path / "x.jpg")
    assert found["software.editor"].value == "Snapseed 2.0"
    assert found["declared.source"].value == "trainedAlgorithmicMedia"


def test_photoshops_segments_and_the_iptc_credit(tmp_path: Path) -> None:
    picture, path = photograph(5), tmp_path / "p.jpg"
    picture.save(path)
    field = b"\x1c\x02\x6e\x00\x05Press"
    block = b"8BIM\x04\x04\x00\x00" + len(field).to_bytes(4, "big") + field
    body = b"Photoshop 3.0\0" + block
    segment = b"\xff\xed" + (len(body) + 2).to_bytes(2, "big") + body
    data = path.read_bytes()
    path.write_bytes(data[:2] + segment + data[2:])
    found = told(path)
    assert found["iptc.credit"].value == "Press"
    assert "Photoshop" in found["jpeg.segment"].says


@given(st.binary(max_size=400))
def test_segments_of_anything_end(data: bytes) -> None:
    assert sum(len(body) for _, body in segments(b"\xff\xd8" + data)) <= len(data)


def test_an_observation_survives_json() -> None:
    one = Observation("history", "derived", "a.b", "c", "says d")
    assert Observation.from_json(one.to_json()) == one
    with pytest.raises(ValueError, match="want a stage"):
        Observation("later", "derived", "a", "b", "c")  # type: ignore[arg-type]
