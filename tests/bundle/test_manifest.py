"""What a manifest may not say."""

from __future__ import annotations

import pytest

from tests.bundle.bundles import small_bundle
from triage_node.bundle.load import load_bundle
from triage_node.domain.errors import ManifestInvalid

HASH = "0" * 64


def refused(tmp_path, change, match):
    with pytest.raises(ManifestInvalid, match=match):
        load_bundle(small_bundle(tmp_path, change))


@pytest.mark.parametrize(
    "key", ["name", "evidence", "files", "network_data_format", "preprocessing", "operating_points"]
)
def test_missing_key_is_named(tmp_path, key):
    refused(tmp_path, lambda m: m.pop(key), key)


def test_unknown_key_is_named(tmp_path):
    refused(tmp_path, lambda m: m.update(post_install="run.sh"), "post_install")
    refused(tmp_path, lambda m: m["preprocessing"].update(gamma=2), "gamma")


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd.json", "/etc/shadow.json", "models/../../x.onnx", "models//x.onnx", "a\\b.onnx", ".x.onnx"],
)
def test_file_name_that_leads_elsewhere_is_refused(tmp_path, name):
    refused(tmp_path, lambda m: m["files"].update({name: HASH}), "plain relative path")


@pytest.mark.parametrize("name", ["models/model.pt", "models/model.pkl", "scripts/run.py", "models/x"])
def test_file_that_could_carry_code_is_refused(tmp_path, name):
    refused(tmp_path, lambda m: m["files"].update({name: HASH}), "is no .onnx")


def test_hash_that_is_none_is_refused(tmp_path):
    refused(tmp_path, lambda m: m["files"].update({"models/model.onnx": "abc"}), "files")


def test_network_that_is_not_listed_is_refused(tmp_path):
    refused(tmp_path, lambda m: m.update(network="models/other.onnx"), "not among files")


def test_evidence_that_only_a_site_can_have_is_refused(tmp_path):
    refused(tmp_path, lambda m: m["evidence"].update(ich="E2"), "cannot claim more than E1")


def test_finding_nobody_knows_is_refused(tmp_path):
    refused(tmp_path, lambda m: m["evidence"].update(fracture="E0"), "no such finding: fracture")


def test_thresholds_out_of_order_or_range_are_refused(tmp_path):
    point = {"raise_probability": 0.9, "notify_probability": 0.5, "chosen_on": "x"}
    refused(tmp_path, lambda m: m["operating_points"].update(ich=point), "must not exceed")
    refused(tmp_path, lambda m: m["operating_points"]["ich"].update(raise_probability=1.5), "raise_probability")


def test_band_of_not_sure_above_raise_or_an_unknown_way_of_joining_slices_is_refused(tmp_path):
    point = {"raise_probability": 0.5, "notify_probability": 0.9, "chosen_on": "x", "unsure_from": 0.6}
    refused(tmp_path, lambda m: m["operating_points"].update(ich=point), "unsure_from")
    bent = {"aggregation": "mean", "slope": 1, "offset": 0, "slice_slope": 1, "slice_offset": 0, "chosen_on": "x"}
    refused(tmp_path, lambda m: m.update(calibration={"ich": bent}), "aggregation")
    falling = {**bent, "aggregation": "max", "slope": -1}
    refused(tmp_path, lambda m: m.update(calibration={"ich": falling}), "slope")


def test_channels_without_names_are_refused(tmp_path):
    def drop(manifest):
        manifest["network_data_format"]["outputs"]["mask"]["channel_def"].pop("5")

    refused(tmp_path, drop, "channel_def")
