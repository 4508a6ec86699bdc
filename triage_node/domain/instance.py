"""One SOP instance as it was received."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

LOCALIZERS = ("LOCALIZER", "SCOUT", "REF_SURVIEW")
"""Values 3 and following of Image Type (PS3.3 C.8.2.1.1.1; the last one is Philips's own)."""


@dataclass(frozen=True, slots=True)
class InstanceHeader:
    """The attributes that selection, completeness, intake and identity need. Empty string or None means absent.

    Text is decoded with the instance's own Specific Character Set. Dates and times stay as DICOM strings (DA, TM):
    what they mean as an instant is decided where a time zone is known.
    """

    sop_instance_uid: str
    sop_class_uid: str
    study_instance_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str = ""
    specific_character_set: str = ""
    modality: str = ""
    image_type: tuple[str, ...] = ()
    manufacturer: str = ""
    station_name: str = ""
    # identity
    patient_id: str = ""
    issuer_of_patient_id: str = ""
    patient_name: str = ""
    patient_birth_date: str = ""
    patient_sex: str = ""
    patient_age: str = ""
    accession_number: str = ""
    # study and series
    study_date: str = ""
    study_time: str = ""
    acquisition_date: str = ""
    acquisition_time: str = ""
    timezone_offset_from_utc: str = ""
    study_description: str = ""
    series_description: str = ""
    series_number: int | None = None
    instance_number: int | None = None
    acquisition_number: int | None = None
    images_in_acquisition: int | None = None
    body_part_examined: str = ""
    protocol_name: str = ""
    convolution_kernel: tuple[str, ...] = ()
    contrast_bolus_agent: str = ""
    # geometry
    frame_of_reference_uid: str = ""
    slice_thickness_mm: float | None = None
    spacing_between_slices_mm: float | None = None
    pixel_spacing_mm: tuple[float, float] | None = None
    image_orientation_patient: tuple[float, ...] | None = None
    image_position_patient: tuple[float, ...] | None = None
    gantry_detector_tilt_deg: float | None = None
    rows: int | None = None
    columns: int | None = None
    number_of_frames: int = 1
    samples_per_pixel: int | None = None
    photometric_interpretation: str = ""
    burned_in_annotation: str = ""
    manufacturer_model_name: str = ""
    software_versions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReceivedInstance:
    """An instance whose bytes are durable.

    `sha256` names the blob (DESIGN.md section 3). `header` is None when the data set could not be read; the study of such
    an instance is then only what the command told.
    """

    sha256: str
    size_bytes: int
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    received_at: datetime
    header: InstanceHeader | None = None
    association_id: int | None = None
    calling_ae_title: str = ""
    called_ae_title: str = ""
    peer_address: str = ""
    quarantine_reason: str = field(default="")
