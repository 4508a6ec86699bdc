from collections.abc import Iterator

import pytest

from tests.gateway.site import Client, DimseClient, RsClient, Site, running


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Iterator[Site]:
    with running(tmp_path_factory.mktemp("gateway") / "site") as found:
        yield found


@pytest.fixture
def site(served) -> Site:
    served.clear()
    return served


@pytest.fixture(params=[DimseClient, RsClient], ids=["DIMSE", "UPS-RS"])
def client(request, site) -> Iterator[Client]:
    found = request.param(site)
    yield found
    found.close()
