"""The link that opens a study in the site's own viewer: OHIF, an archive's page, or any address with these placeholders.

Values come from DICOM headers, so each is encoded as one component of an address (RFC 3986, 2.1): none can leave its place.
"""

from __future__ import annotations

from urllib.parse import quote

PLACEHOLDERS = ("study_instance_uid", "accession_number", "patient_id")


def viewer_link(template: str, study_instance_uid: str, accession_number: str = "", patient_id: str = "") -> str:
    """The address, or nothing where no template is set, or where it needs a number that this study does not have."""
    values = dict(zip(PLACEHOLDERS, (study_instance_uid, accession_number, patient_id), strict=True))
    link = template
    for name, value in values.items():
        if f"{{{name}}}" in template:
            if not value:
                return ""
            link = link.replace(f"{{{name}}}", quote(value, safe=""))
    return link
