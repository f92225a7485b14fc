"""Check the files of a release: `python tests/check_distributions.py FOLDER`, as .ci/package does.

The source distribution must hold every file of the repository, and the wheel those of the package and no others.
"""

import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
NOT_SHIPPED = {".git", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".venv", "__pycache__", "_build", "build", "dist"}


def files_below(folder: Path) -> set[str]:
    """Return the files of a folder, relative to it, without what tools leave there."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {
        path.as_posix()
        for path in paths
        if not any(part in NOT_SHIPPED or part.endswith(".egg-info") for part in path.parts)
    }


def main(folder: Path) -> None:
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    lacking = sorted(files_below(ROOT) - packed)
    with zipfile.ZipFile(wheel) as archive:
        installed = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = {f"hf_jukebox/{name}" for name in files_below(ROOT / "src" / "hf_jukebox")}
    faults = [f"The source distribution lacks {name}." for name in lacking]
    faults += [f"The wheel lacks {name}." for name in sorted(expected - installed)]
    faults += [f"The wheel holds {name}, which is not in the package." for name in sorted(installed - expected)]
    if faults:
        sys.exit("\n".join(faults))
    print(
        f"{sdist.name}: {len(packed)} files, {wheel.name}: {len(installed)} files, {wheel.stat().st_size / 1e6:.1f} MB"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
