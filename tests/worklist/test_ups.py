"""Raising at a UPS manager over DIMSE."""

from __future__ import annotations

import pytest

from tests.worklist.adapter_contract import AdapterContract
from tests.worklist.pynetdicom_manager import pynetdicom_manager
from triage_node.worklist.ups import UpsAdapter


class TestAtAManagerOnPynetdicom(AdapterContract):
    @pytest.fixture(autouse=True)
    def _manager(self):
        with pynetdicom_manager() as self.manager:
            yield

    def make(self):
        self.manager.adapter = UpsAdapter(self.manager.settings())
        return self.manager.adapter, self.manager
