"""The guides in deploy/guides name nothing that is not there: pictures, files, pages, commands."""

import re
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from tests.console.test_roles import TABLE
from triage_node.cli.main import app
from triage_node.domain.errors import EvaluationError
from triage_node.evaluation import screenshots

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
GUIDES = sorted((ROOT / "deploy" / "guides").glob("*.md"))
TWO_SCREENS = 75
_LINK = re.compile(r'\]\(([^)#:]+)\)|src="([^":]+)"')
_PAGE = re.compile(r"`(/[a-z/]*)`")
_COMMAND = re.compile(r"triage-node ([a-z]+(?: [a-z]+)?)")


def links(document: Path) -> set[Path]:
    """Files of ours that a document points to."""
    found = _LINK.findall(document.read_text(encoding="utf-8"))
    return {(document.parent / (linked or source)).resolve() for linked, source in found}


def test_each_guide_is_linked_from_readme():
    assert [g.stem for g in GUIDES] == ["administrator", "modality", "radiologist"]
    assert set(GUIDES) <= links(README)


@pytest.mark.parametrize("document", [README, *GUIDES], ids=lambda d: d.stem)
def test_what_a_document_points_to_is_there(document):
    assert not [path for path in links(document) if not path.exists()]


@pytest.mark.parametrize("guide", GUIDES, ids=lambda g: g.stem)
def test_guide_is_short_has_a_picture_and_says_what_silence_means(guide):
    text = guide.read_text(encoding="utf-8")
    assert "Silence of the node in the PACS means nothing" in text
    assert "not for diagnostic use" in text.lower()
    assert len(text.splitlines()) <= TWO_SCREENS
    assert any(path.suffix == ".png" for path in links(guide))


@pytest.mark.parametrize("guide", GUIDES, ids=lambda g: g.stem)
def test_pages_and_commands_of_a_guide_exist(guide):
    text = guide.read_text(encoding="utf-8")
    assert not [page for page in _PAGE.findall(text) if f"GET {page}" not in TABLE]
    for command in set(_COMMAND.findall(text)):
        asked = CliRunner().invoke(app, [*command.split(), "--help"])
        assert asked.exit_code == 0, f"triage-node {command}: {asked.output}"


def test_each_picture_is_small_and_shown_somewhere():
    pictures = set((ROOT / "deploy" / "pictures").iterdir())
    assert len(pictures) <= 8
    assert not [p.name for p in pictures if p.stat().st_size > screenshots.LARGEST_BYTES]
    assert pictures <= set().union(*(links(document) for document in (README, *GUIDES)))


def test_picture_that_stays_too_large_is_an_error():
    noise = Image.effect_noise((600, 600), 100)
    with pytest.raises(EvaluationError, match="noise"):
        screenshots.small(noise, "noise")
