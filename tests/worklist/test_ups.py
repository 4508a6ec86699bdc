"""Raising at a UPS manager over DIMSE: managers on pynetdicom and, independent of it, on dcmjs-dimse."""

from __future__ import annotations

import pytest

from tests.counterparts.ups_peer import dcmjs_managers
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


@pytest.fixture(scope="module")
def dcmjs():
    with dcmjs_managers() as managers:
        yield managers


class TestAtAManagerOnDcmjsDimse(AdapterContract):
    @pytest.fixture(autouse=True)
    def _manager(self, dcmjs):
        self.manager = dcmjs.fresh()

    def make(self):
        self.manager.adapter = UpsAdapter(self.manager.settings())
        return self.manager.adapter, self.manager
