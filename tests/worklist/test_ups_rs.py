"""Raising at a UPS manager over UPS-RS: a manager on the standard library's HTTP server."""

from __future__ import annotations

import pytest

from tests.worklist.adapter_contract import AdapterContract
from tests.worklist.http_manager import http_manager
from triage_node.worklist.ups_rs import UpsRsAdapter


class TestAtAnHttpManager(AdapterContract):
    @pytest.fixture(autouse=True)
    def _manager(self):
        with http_manager() as self.manager:
            yield

    def make(self):
        self.manager.adapter = UpsRsAdapter(self.manager.settings())
        return self.manager.adapter, self.manager
