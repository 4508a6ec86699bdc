"""The stock path uses names of pynetdicom that its authors may change; the version is pinned and the names are looked up."""

import importlib
from pathlib import Path

import pynetdicom
import pytest

import triage_node.association
from triage_node.association import stock_path


def test_version_is_the_one_that_was_tested():
    assert pynetdicom.__version__ == stock_path.TESTED_VERSION == "3.0.4"


@pytest.mark.parametrize("name", stock_path.PRIVATE_NAMES)
def test_private_name_exists(name):
    module, _, path = name.partition(":")
    found = importlib.import_module(module)
    for part in path.split("."):
        found = getattr(found, part)


def test_no_other_module_uses_private_names():
    for path in Path(triage_node.association.__file__).parent.glob("*.py"):
        if path.name != "stock_path.py":
            lines = [x for x in path.read_text(encoding="utf-8").splitlines() if "pynetdicom" in x and "import" in x]
            assert not [x for x in lines if " _" in x or "._" in x or "dimse" in x], path.name
