"""The link into the site's own viewer, with text from DICOM headers in it."""

from __future__ import annotations

import pytest

from triage_node.domain.viewer_link import viewer_link


@pytest.mark.parametrize(
    ("template", "link"),
    [
        ("", ""),
        (
            "https://ohif.site/viewer?StudyInstanceUIDs={study_instance_uid}",
            "https://ohif.site/viewer?StudyInstanceUIDs=1.2.3",
        ),
        ("http://orthanc.site/app/#study?uuid={study_instance_uid}", "http://orthanc.site/app/#study?uuid=1.2.3"),
        ("ris://open/{accession_number}/{patient_id}", "ris://open/A%2F1%3F%26x%3D1/P%20%237"),
        ("https://pacs.site/{unknown}", "https://pacs.site/{unknown}"),
    ],
)
def test_each_place_takes_one_encoded_value(template, link):
    assert viewer_link(template, "1.2.3", "A/1?&x=1", "P #7") == link


@pytest.mark.parametrize("accession", ["{patient_id}", "..", "javascript:alert(1)", "山田\u202e"])
def test_hostile_numbers_stay_in_their_place(accession):
    link = viewer_link("https://pacs.site/{accession_number}?p={patient_id}", "1.2.3", accession, "P7")
    assert link.startswith("https://pacs.site/")
    assert link.endswith("?p=P7")
    assert "{" not in link
    assert ":" not in link.removeprefix("https:")


def test_a_link_that_needs_a_number_which_the_study_lacks_is_none():
    assert viewer_link("https://pacs.site/{accession_number}", "1.2.3", "", "P7") == ""
