from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from tests.console.sample import SampleNode, night
from triage_node.console.app import create_app


@pytest.fixture
def node() -> SampleNode:
    return night()


@pytest.fixture
def client(node: SampleNode) -> TestClient:
    return client_of(node)


def client_of(node: SampleNode) -> TestClient:
    return TestClient(create_app(node.deps()).guarded, base_url="http://127.0.0.1:8080", raise_server_exceptions=False)
