"""What an object store adds to a head CT; measured by `make prove`, on loopback."""

import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.blobs.conftest import settings
from tests.blobs.test_shelves import received
from tests.support.prove import record
from triage_node.blobs.opened import open_blobs

SLICES, SLICE_BYTES = 40, 526_000
BOUND_S = 5.0


@pytest.mark.prove
def test_head_ct_goes_up_and_is_fetched_within_seconds(object_store, tmp_path):
    place = object_store.place()
    a, b = (open_blobs(settings(tmp_path / name, place, object_store.credentials)) for name in "ab")
    held = [received(tmp_path / "a", os.urandom(SLICE_BYTES)) for _ in range(SLICES)]
    began = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(a.received.upload, held))
    up_s, began = time.monotonic() - began, time.monotonic()
    b.received.fetch(held)
    fetched_s, began = time.monotonic() - began, time.monotonic()
    for digest in held:
        b.received.path(digest)
    cached_s = time.monotonic() - began
    here = open_blobs(settings(tmp_path / "a", ""))
    began = time.monotonic()
    for digest in held:
        here.received.path(digest)
    local_s = time.monotonic() - began
    record(
        "object_store",
        f"A head CT of {SLICES} slices is in the object store, read back, within {BOUND_S:g} s, and on another host within {BOUND_S:g} s",
        {
            "slices": SLICES,
            "MB": round(SLICES * SLICE_BYTES / 1e6),
            "uploaded and read back (s)": round(up_s, 2),
            "fetched by another host (s)": round(fetched_s, 2),
            "found in the cache (ms a slice)": round(1e3 * cached_s / SLICES, 3),
            "found without blob_url (ms a slice)": round(1e3 * local_s / SLICES, 3),
        },
    )
    assert up_s < BOUND_S
    assert fetched_s < BOUND_S
