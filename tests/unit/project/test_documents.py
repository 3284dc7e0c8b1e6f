"""Documents: links lead somewhere, dependencies have reasons, commands that the README names exist."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
DOCUMENTS = sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/**/*.md")) + sorted(ROOT.glob("tests/**/*.md"))
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def headings(path: Path) -> set[str]:
    """Anchors of a document as code forges make them."""
    found = set()
    for line in path.read_text().splitlines():
        if line.startswith("#"):
            text = re.sub(r"[^\w\- ]", "", line.lstrip("#").strip().lower())
            found.add(text.replace(" ", "-"))
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document):
    bad = []
    for target in LINK.findall(document.read_text()):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = target.partition("#")
        file = (document.parent / name) if name else document
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in headings(file)):
            bad.append(target)
    assert not bad


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=!~\[; ]", item)[0].lower() for item in requirements}


def test_every_dependency_has_its_reason():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = names(project["dependencies"]).union(*map(names, project["optional-dependencies"].values()))
    rows = re.findall(r"^\| ([a-z0-9-]+) \|(.*)\|$", (ROOT / "docs" / "dependencies.md").read_text(), re.MULTILINE)
    reasons = {name: cells.split("|")[-1].strip() for name, cells in rows if name != "package"}
    assert set(reasons) == wanted
    assert all(len(reason) > 20 for reason in reasons.values())


def test_make_targets_that_documents_name_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {word for path in DOCUMENTS for word in re.findall(r"`make ([a-z-]+)`", path.read_text())}
    assert named <= targets


def test_the_version_is_said_once_and_the_same():
    import sandbox

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert sandbox.__version__ == project["version"]
