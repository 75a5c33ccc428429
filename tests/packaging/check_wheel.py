"""Check what a user installs: the wheel built from the sdist, in a clean environment.

Editable installs hide packaging mistakes: a folder missing from the wheel is there all the same,
and an sdist that swallows the editable install's links yields a wheel without modules. So this
builds the sdist from the checkout, the wheel from the sdist, looks into both, installs the wheel
outside the checkout and compiles the packaged model with it.

    python tests/packaging/check_wheel.py
"""

import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("compiler", "dialects", "passes", "backends")
SHIPPED = {".py", ".toml", ".onnx", ".npz", ".html", ".j2", ".md"}

OWN = ("__init__.py", "onnx_backend.py", "py.typed")
"""Files of `src/tilewright`, beside the links to the four folders."""


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command and return what it printed; show its output and stop if it fails."""
    result = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False
    )
    if result.returncode:
        print(result.stdout, result.stderr, sep="\n", file=sys.stderr)
        sys.exit(f"failed ({result.returncode}): {' '.join(map(str, command))}")
    return result.stdout


def sources() -> set[str]:
    """List the files of the four folders that a wheel must hold, by their path in the wheel."""
    files = {f"tilewright/{name}" for name in OWN}
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in SHIPPED and path.is_file():
                files.add(f"tilewright/{path.relative_to(ROOT).as_posix()}")
    return files


def check_sdist(path: Path) -> None:
    """The sdist holds the folders once: at the top level, not behind the links as well."""
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    linked = {name for name in names if name.startswith("src/tilewright/")}
    unexpected = linked - {f"src/tilewright/{name}" for name in OWN}
    if unexpected:
        sys.exit(f"the sdist swallowed the editable install's links: {sorted(unexpected)[:5]}")


def check_wheel(path: Path) -> None:
    """The wheel holds every module and data file, and installs a single top-level name."""
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
    missing = sources() - names
    if missing:
        sys.exit(f"missing from the wheel: {sorted(missing)}")
    top_level = {name.partition("/")[0] for name in names}
    if {name for name in top_level if not name.endswith(".dist-info")} != {"tilewright"}:
        sys.exit(f"the wheel installs other names than tilewright: {sorted(top_level)}")


def main() -> None:
    """Build, inspect, install and use the wheel."""
    with tempfile.TemporaryDirectory(prefix="tilewright-wheel-") as name:
        directory = Path(name)
        run(sys.executable, "-m", "build", "--outdir", directory, ROOT, cwd=directory)
        (sdist,) = directory.glob("*.tar.gz")
        (wheel,) = directory.glob("*.whl")
        check_sdist(sdist)
        check_wheel(wheel)

        environment = directory / "environment"
        venv.create(environment, with_pip=True)
        scripts = environment / "bin"
        python = scripts / "python"
        run(python, "-m", "pip", "install", "--quiet", wheel, cwd=directory)
        installed = run(python, "-m", "pip", "list", "--format=freeze", cwd=directory)
        if any(line.lower().startswith("torch==") for line in installed.splitlines()):
            sys.exit("installing tilewright installs torch")
        run(scripts / "tilewright", "--help", cwd=directory)
        run(scripts / "tilewright-opt", "--help", cwd=directory)
        print(run(scripts / "tilewright", "demo", cwd=directory))
        print(f"{wheel.name}: builds from the sdist, installs and runs")


if __name__ == "__main__":
    main()
