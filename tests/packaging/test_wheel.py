"""The wheel holds what the tree holds, and installs one top-level name."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = {
    "chainwatch": "chainwatch",
    "adapters": "chainwatch.adapters",
    "verifiers": "chainwatch.verifiers",
    "config": "chainwatch.config",
}
GENERIC = ("adapters", "verifiers", "config", "tests", "bench")


def files_of_the_tree() -> list[Path]:
    """Every file that git tracks, and those about to be: what a clean clone holds."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("this is no git checkout: what belongs in the wheel cannot be told")
    listed = subprocess.run(
        [git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        timeout=240,
    )
    paths = [Path(name) for name in listed.stdout.decode().split("\0") if name]
    return [p for p in paths if (ROOT / p).is_file()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names in a wheel built from a copy of the tree, so that no left-over can slip in."""
    copy = tmp_path_factory.mktemp("clean") / "tree"
    for path in files_of_the_tree():
        (copy / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, copy / path)
    out = copy.parent / "dist"
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(copy)],  # sdist, then wheel from it
        check=True,
        capture_output=True,
        timeout=240,
    )
    return set(zipfile.ZipFile(next(out.glob("*.whl"))).namelist())


def installed_name(path: Path) -> str:
    return "/".join((FOLDERS[path.parts[0]].replace(".", "/"), *path.parts[1:]))


def test_the_wheel_holds_every_file_of_the_four_folders_and_nothing_else(wheel: set[str]) -> None:
    """A package forgotten in pyproject.toml, or a page without package-data, is missing without a word."""
    wanted = {installed_name(p) for p in files_of_the_tree() if p.parts[0] in FOLDERS}
    held = {name for name in wheel if ".dist-info/" not in name}
    assert {"missing": sorted(wanted - held), "extra": sorted(held - wanted)} == {"missing": [], "extra": []}
    assert {"chainwatch/py.typed", "chainwatch/config/networks.toml"} <= held


def test_every_package_on_disk_is_listed_and_no_other() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["packages"]
    found = {
        ".".join((name, *init.parent.relative_to(ROOT / folder).parts))
        for folder, name in FOLDERS.items()
        for init in (ROOT / folder).rglob("__init__.py")
    }
    assert found == set(listed)
    assert len(listed) == len(set(listed))


def test_every_folder_with_python_is_a_package() -> None:
    """A folder without ``__init__.py`` works in a checkout and is not in the wheel."""
    folders = {m.parent for f in FOLDERS for m in (ROOT / f).rglob("*.py")}
    assert [str(f) for f in folders if not (f / "__init__.py").exists()] == []


def test_mapped_folders_do_not_exist_inside_the_package() -> None:
    """A real chainwatch/adapters would win over the mapping without a word."""
    assert [n for n in ("adapters", "verifiers", "config") if (ROOT / "chainwatch" / n).exists()] == []


def test_only_one_top_level_name_is_installed(wheel: set[str]) -> None:
    """``adapters``, ``verifiers`` and ``config`` belong to other distributions on the index."""
    assert {name.split("/")[0] for name in wheel if ".dist-info/" not in name} == {"chainwatch"}
    code = f"import importlib.util as u, sys; sys.exit(any(u.find_spec(n) for n in {GENERIC!r}))"
    assert subprocess.run([sys.executable, "-I", "-c", code], check=False, timeout=240).returncode == 0


def test_tests_are_no_package() -> None:
    """With an ``__init__.py`` two test files of one name would shadow each other."""
    assert list((ROOT / "tests").rglob("__init__.py")) == []
    names = [p.name for p in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))
