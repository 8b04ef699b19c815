"""Make a virtual environment once: `python tools/make_venv.py .venv --extras dev,train numpy==2.4`.

A stamp inside the environment holds the hash of pyproject.toml and of the arguments; while it
agrees nothing is done, so `make` may call this before every target. It runs on the standard library
and on old interpreters far enough to say that they are too old.
"""

import argparse
import hashlib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST = (3, 11)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--extras", default="", help="comma-separated extras of the project")
    parser.add_argument("pins", nargs="*", help="further requirements, e.g. torch==2.14.1")
    options = parser.parse_intermixed_args()  # requirements may stand after options

    if sys.version_info < OLDEST:
        sys.exit(
            "Telltale needs Python 3.11 or newer, and {} is {}.{}; "
            "say which to use: make PYTHON=python3.12 …".format(sys.executable, *sys.version_info)
        )
    key = hashlib.sha256((ROOT / "pyproject.toml").read_bytes())
    key.update(repr((options.extras, options.pins, sys.version_info[:2], str(ROOT))).encode())
    stamp = options.folder / ".made-for"
    if stamp.is_file() and stamp.read_text() == key.hexdigest():
        return

    print(f"Making {options.folder} (once; again when pyproject.toml changes) …", flush=True)
    python = options.folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    if not python.exists():
        run(sys.executable, "-m", "venv", str(options.folder), hint="apt-get install python3-venv")
    project = f"{ROOT}[{options.extras}]" if options.extras else str(ROOT)
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "-q"]
    run(*pip, *options.pins, "-e", project, hint="look at pip's message above")
    stamp.write_text(key.hexdigest())


def run(*command: str, hint: str) -> None:
    """Run a command; on failure leave with its exit code and a hint, without a traceback."""
    code = subprocess.run(command, check=False).returncode
    if code:
        print(f"{' '.join(command)} failed; {hint}", file=sys.stderr)
        sys.exit(code)


if __name__ == "__main__":
    main()
