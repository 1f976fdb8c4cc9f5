"""The documentation is true of the code: links, examples, names, and nothing of the machine it was written on."""

import ast
import importlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import multidelete

ROOT = Path(__file__).parents[1]
DOCS = [
    *("quickstart", "methods", "solver", "tuning", "models", "data", "shards", "deletions", "operation"),
    *("audits", "comparisons", "design", "cli"),
]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *(ROOT / "docs" / f"{name}.md" for name in DOCS),
    *sorted((ROOT / "benchmarks").rglob("*.md")),
]

FENCED = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(\s*<?([^)\s>]+)|(?:src|href)=\"([^\"]+)\"")
HEADING = re.compile(r"^#+\s+(.*?)\s*$", re.MULTILINE)

# Written in two parts, so that this file does not hold what it looks for.
UNWANTED = [
    *("/" + path for path in ("work/", "tmp/env", "opt/wheels", "opt/pypi", "farm/", "root/")),
    *(host + ".org" for host in ("pypi", "pythonhosted", "download.pytorch")),
]


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose(page: Path) -> str:
    """A page without its code blocks."""
    return FENCED.sub("", page.read_text())


def python_blocks(page: Path) -> Iterator[str]:
    for language, code in FENCED.findall(page.read_text()):
        if language == "python":
            yield code


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in HEADING.findall(prose(page)))
    return {heading.strip().replace(" ", "-") for heading in kept}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    dead = []
    for target in (markdown or html for markdown, html in LINK.findall(prose(page))):
        if re.match(r"[a-z]+:", target):  # the web is not asked
            continue
        path, _, anchor = target.partition("#")
        aim = (page.parent / path).resolve() if path else page
        if not aim.exists() or (anchor and aim.suffix == ".md" and anchor not in anchors(aim)):
            dead.append(target)
    assert not dead


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_python_blocks_compile_and_name_what_exists(page: Path) -> None:
    missing = []
    for code in python_blocks(page):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "multidelete":
                module = importlib.import_module(node.module or "")
                missing += [f"{node.module}.{alias.name}" for alias in node.names if not hasattr(module, alias.name)]
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "multidelete":
                missing += [] if hasattr(multidelete, node.attr) else [f"multidelete.{node.attr}"]
    assert not missing


def test_public_names_are_documented() -> None:
    assert multidelete.__all__
    text = "\n".join(page.read_text() for page in PAGES if page.parent in (ROOT, ROOT / "docs"))
    unknown = [name for name in multidelete.__all__ if not re.search(rf"\b{re.escape(name)}\b", text)]
    assert not unknown


@pytest.mark.parametrize(
    ("module", "registry", "page"),
    [
        ("multidelete.methods", "METHODS", "methods"),
        ("multidelete.models", "FAMILIES", "models"),
        ("multidelete.data.readers", "READERS", "data"),
    ],
)
def test_registered_names_are_documented(module: str, registry: str, page: str) -> None:
    names = list(getattr(importlib.import_module(module), registry))
    assert names
    text = (ROOT / "docs" / f"{page}.md").read_text()
    unknown = [name for name in names if f"`{name}`" not in text]
    assert not unknown, f"docs/{page}.md does not mention {unknown}"


def test_every_method_has_its_section_and_its_row() -> None:
    text = (ROOT / "docs" / "methods.md").read_text()
    assert [name for name in multidelete.METHODS if f"\n## `{name}`\n" not in text] == []
    assert [name for name in multidelete.METHODS if f"\n| `{name}` |" not in text] == []


def test_tracked_files_name_no_machine_and_no_registry() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout, so what is tracked cannot be told")
    found = []
    tracked = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    assert Path(__file__) in tracked
    for path in tracked:
        if not path.is_file():  # deleted, not yet committed
            continue
        content = path.read_bytes()
        if b"\0" in content[:8192]:
            continue
        found += [f"{path.relative_to(ROOT)}: {word}" for word in UNWANTED if word.encode() in content]
    assert not found
