"""The built wheel: what it holds, what it declares, and that it runs where nothing else of this tree is.

Its dependencies are taken from the environment that runs the tests, since downloading torch again would take minutes;
that every one of them is declared is tested by reading the imports.
"""

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def declared(*, extra: str | None = None) -> set[str]:
    """Normalised names of the distributions that pyproject.toml asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = project["dependencies"] if extra is None else project["optional-dependencies"][extra]
    return {normal(re.split(r"[^\w.-]", requirement, maxsplit=1)[0]) for requirement in asked}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def run(*command: str | Path, cwd: Path) -> str:
    """Output of a command that must succeed, with nothing of this tree on its path."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command} failed:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def bare_environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that has this package from the wheel only, and its dependencies from where the tests run."""
    folder = tmp_path_factory.mktemp("bare") / "env"
    venv.create(folder, symlinks=True)
    run(
        *(sys.executable, "-m", "pip", "--python", folder / "bin" / "python"),
        *("install", "--quiet", "--no-deps", "--no-index", wheel),
        cwd=folder,
    )
    # A folder named in a .pth file goes on the path, but its own .pth files (editable installs) are not read.
    (site_packages,) = folder.glob("lib/python*/site-packages")
    borrowed = {sysconfig.get_paths()["purelib"], sysconfig.get_paths()["platlib"]}
    (site_packages / "borrowed.pth").write_text("\n".join(sorted(borrowed)) + "\n")
    return folder


def test_wheel_holds_types_and_template(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"multidelete/py.typed", "multidelete/report/template.html"} <= names
    stray = {name for name in names if not name.startswith(("multidelete/", "multidelete-"))}
    assert not stray, f"the wheel installs more than this package: {sorted(stray)}"


def test_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    package = ROOT / "src"
    there = {
        str(path.relative_to(package))
        for path in (package / "multidelete").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    missing = there - set(zipfile.ZipFile(wheel).namelist())
    assert not missing


def test_wheel_installed_elsewhere_is_what_gets_imported(bare_environment: Path, tmp_path: Path) -> None:
    shown = run(
        bare_environment / "bin" / "python", "-c", "import multidelete; print(multidelete.__file__)", cwd=tmp_path
    )
    assert Path(shown.strip()).is_relative_to(bare_environment)


def test_wheel_installed_elsewhere_runs_its_command(bare_environment: Path, tmp_path: Path) -> None:
    shown = run(bare_environment / "bin" / "multidelete", "--help", cwd=tmp_path)
    assert "unlearn" in shown
    assert not list(tmp_path.iterdir()), "--help must leave nothing behind"


def test_every_imported_distribution_is_declared() -> None:
    """An import that only works because another dependency happens to bring it breaks in an empty environment."""
    owners = importlib.metadata.packages_distributions()
    allowed = declared() | declared(extra="graph") | {"multidelete", "-typeshed"}  # the latter for type checkers only
    undeclared = set()
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                modules = [node.module or ""]
            else:
                continue
            for module in (name.partition(".")[0] for name in modules):
                names = {normal(name) for name in owners.get(module, [module])}
                if module not in sys.stdlib_module_names and not names & allowed:
                    undeclared.add(f"{path.relative_to(ROOT)}: {module}")
    assert not undeclared


def test_constraints_pin_every_dependency_to_one_version() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    loose = [pin for pin in pins if not re.fullmatch(r"[\w.-]+==[\w.]+", pin)]
    assert not loose, f"not of the form name==version: {loose}"
    unpinned = (declared() | declared(extra="dev")) - {normal(pin.partition("==")[0]) for pin in pins}
    assert not unpinned


def test_lowest_constraints_are_the_declared_lower_bounds() -> None:
    """All but torch: its file says why."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bounds = dict(requirement.split(">=") for requirement in project["dependencies"])
    lines = (ROOT / "constraints-lowest.txt").read_text().splitlines()
    lowest = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert set(lowest) == set(bounds)
    for name in set(bounds) - {"torch"}:
        assert [int(part) for part in (lowest[name] + ".0.0").split(".")][:3] == [
            int(part) for part in (bounds[name] + ".0.0").split(".")
        ][:3], name
