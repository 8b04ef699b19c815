"""Build the wheel, install it into an empty environment and use it: `python tools/check_wheel.py`.

Catches what a source tree hides: an undeclared import, a file that the wheel forgot, an install
that grew. Everything happens in a temporary folder, so that the sources are not importable.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "examples/media/astronaut.jpg"
LARGEST = 260  # MB of site-packages with the core only
BROUGHT = ("pip", "setuptools", "_distutils_hack", "pkg_resources")  # by venv itself: not counted
HEAVY = ("torch", "torchvision", "cv2", "transformers", "timm", "scipy", "av")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="telltale-wheel-") as folder:
        home = Path(folder)
        wheel = build(home)
        started = time.perf_counter()
        python = install(home, wheel)
        telltale = str(python.with_name("telltale"))
        look_at_help(run(telltale, "--help", cwd=home))
        run(telltale, "doctor", cwd=home)
        scan(home, telltale)
        seconds = time.perf_counter() - started
        megabytes = size(python, home)
        print(
            f"wheel {wheel.stat().st_size / 1e6:.1f} MB; core install {megabytes:.0f} MB "
            f"(limit {LARGEST}); from pip install to the first verdict {seconds:.0f} s"
        )
        if megabytes > LARGEST:
            fail(f"the core install has {megabytes:.0f} MB, more than {LARGEST}")


def build(home: Path) -> Path:
    """The wheel, from a copy of the sources; checked to hold what the package reads at run time."""
    out = home / "wheel"
    run(sys.executable, "-m", "build", "--wheel", "--outdir", str(out), str(ROOT), cwd=home)
    (wheel,) = out.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    source = ROOT / "src"
    needed = {
        path.relative_to(source).as_posix()
        for path in (source / "telltale").rglob("*")
        if path.is_file() and path.suffix != ".pyc" and not path.name.startswith(".")
    }
    if missing := sorted(needed - inside):
        fail(f"the wheel lacks {', '.join(missing)}")
    if extra := sorted(name for name in inside if not name.startswith(("telltale/", "telltale_"))):
        fail(f"the wheel also installs {', '.join(extra)}")
    return wheel


def install(home: Path, wheel: Path) -> Path:
    """The interpreter of a new environment with the wheel and the core's dependencies."""
    folder = home / "empty"
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    run(str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", wheel, cwd=home)
    return python


def look_at_help(text: str) -> None:
    if missing := [verb for verb in ("scan", "doctor", "methods") if verb not in text]:
        fail(f"telltale --help does not name {', '.join(missing)}")


def scan(home: Path, telltale: str) -> None:
    """One picture, with both kinds of report; it must give a finding about a face."""
    picture = shutil.copy(PICTURE, home / "picture.jpg")
    page, lines = home / "report.html", home / "report.jsonl"
    command = (telltale, "scan", picture, "--report", str(page), "--json", str(lines))
    run(*command, cwd=home, good=(0, 1))
    report = json.loads(lines.read_text().splitlines()[0])
    verdicts = [finding["verdict"] for finding in report["findings"]]
    if not any(finding["score"] is not None for finding in report["findings"]):
        fail(f"the scan of {PICTURE.name} weighed nothing: {verdicts}")
    if not page.read_text().lstrip().lower().startswith("<!doctype html"):
        fail("the report is no HTML page")
    print(f"scanned {PICTURE.name}: {', '.join(verdicts)}")


def size(python: Path, home: Path) -> float:
    """Megabytes (10⁶ bytes) that pip installed; nothing heavy may be among them."""
    code = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    packages = Path(run(str(python), "-c", code, cwd=home).strip())
    if heavy := [name for name in HEAVY if (packages / name).exists()]:
        fail(f"the core installs {', '.join(heavy)}")
    return (
        sum(
            path.stat().st_size
            for path in packages.rglob("*")
            if path.is_file() and not path.relative_to(packages).parts[0].startswith(BROUGHT)
        )
        / 1e6
    )


def run(*command: str | Path, cwd: Path, good: tuple[int, ...] = (0,)) -> str:
    """What a command prints; leaves with its output if it fails."""
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode not in good:
        fail(f"{' '.join(words)} gave exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def fail(why: str) -> None:
    sys.exit(f"wheel check: {why}")


if __name__ == "__main__":
    main()
