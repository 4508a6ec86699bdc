"""A bundle is believed only as far as its hashes go."""

from __future__ import annotations

import hashlib

import pytest

from tests.bundle.bundles import SOURCE, small_bundle
from triage_node.bundle.load import LARGEST_MANIFEST, load_bundle
from triage_node.domain.errors import BundleError, HashMismatch, ManifestInvalid
from triage_node.domain.finding import EvidenceLevel


def test_shipped_bundle_loads_and_says_who_it_is():
    identity = load_bundle(SOURCE).identity("onnxruntime test")
    assert identity.name == "bloodnet"
    assert len(identity.digest) == 64
    assert identity.level("iph") is EvidenceLevel.E1
    assert identity.level("sdh") is EvidenceLevel.E0


def test_changed_byte_in_a_file_is_found_and_the_file_named(tmp_path):
    folder = small_bundle(tmp_path)
    data = bytearray((folder / "models/model.onnx").read_bytes())
    data[3] ^= 1
    (folder / "models/model.onnx").write_bytes(data)
    with pytest.raises(HashMismatch, match=r"models/model\.onnx.*SHA-256"):
        load_bundle(folder)


def test_file_exchanged_after_loading_is_found_when_it_is_read(tmp_path):
    bundle = load_bundle(small_bundle(tmp_path))
    (tmp_path / "models/model.onnx").write_bytes(b"other")
    with pytest.raises(HashMismatch, match="model.onnx"):
        bundle.read("models/model.onnx")


def test_missing_file_is_found(tmp_path):
    folder = small_bundle(tmp_path)
    (folder / "models/model.safetensors").unlink()
    with pytest.raises(HashMismatch, match="cannot be read"):
        load_bundle(folder)


def test_digest_changes_with_manifest_and_with_any_file(tmp_path):
    def other_version(manifest):
        manifest["version"] = "9.9.9"

    def other_file(manifest):
        (tmp_path / "c/models/model.onnx").write_bytes(b"else")
        manifest["files"]["models/model.onnx"] = hashlib.sha256(b"else").hexdigest()

    for name in "abc":
        (tmp_path / name).mkdir()
    digests = {
        load_bundle(small_bundle(tmp_path / "a")).digest,
        load_bundle(small_bundle(tmp_path / "b", other_version)).digest,
        load_bundle(small_bundle(tmp_path / "c", other_file)).digest,
    }
    assert len(digests) == 3
    assert load_bundle(tmp_path / "a").digest in digests


def test_manifest_that_is_missing_no_json_or_endless_is_refused(tmp_path):
    with pytest.raises(ManifestInvalid, match="cannot be read"):
        load_bundle(tmp_path)
    path = small_bundle(tmp_path) / "configs" / "metadata.json"
    for text in ("{", "[" * 100_000, "\x00\xff", "null"):
        path.write_text(text)
        with pytest.raises(ManifestInvalid, match=r"metadata\.json"):
            load_bundle(tmp_path)
    path.write_bytes(b" " * (LARGEST_MANIFEST + 1))
    with pytest.raises(ManifestInvalid, match="larger than"):
        load_bundle(tmp_path)


def test_listed_file_that_is_a_link_out_of_the_bundle_is_refused(tmp_path):
    outside = tmp_path / "outside.onnx"
    outside.write_bytes(b"not a network")
    folder = tmp_path / "bundle"
    folder.mkdir()
    small_bundle(folder)
    (folder / "models/model.onnx").unlink()
    (folder / "models/model.onnx").symlink_to(outside)
    with pytest.raises(ManifestInvalid, match="out of the bundle"):
        load_bundle(folder)


def test_every_failure_is_a_bundle_error():
    assert issubclass(HashMismatch, BundleError)
    assert issubclass(ManifestInvalid, BundleError)
