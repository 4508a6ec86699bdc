"""Every coded concept that the node's objects carry. Findings come from domain.finding.FINDINGS.

A terminologist checks this file and that table before clinical use. Source: PS3.16 (CID 218, 240, 7010, 7011, 7035, 7150,
7162), STANDARDS.md 2.2.4.
"""

from __future__ import annotations

from pydicom.sr.coding import Code

from triage_node.domain.finding import FINDINGS

# documents
REPORT_TITLE = Code("126000", "DCM", "Imaging Measurement Report")
CT_HEAD = Code("24725-4", "LN", "CT Head")
COMMENT = Code("121106", "DCM", "Comment")
REJECTED_FOR_QUALITY = Code("113001", "DCM", "Rejected for Quality Reasons")
REJECTED_FOR_SAFETY = Code("113037", "DCM", "Rejected for Patient Safety Reasons")

# statements about a finding
PRESENCE = Code("121052", "DCM", "Presence of property")
PRESENT = Code("121053", "DCM", "Present")
UNDETERMINED = Code("121059", "DCM", "Presence Undetermined")
SIGNIFICANCE = Code("121403", "DCM", "Level of Significance")
ACTIONABLE_1 = Code("RID49480", "RADLEX", "ACR Category 1 Actionable Finding")
PROBABILITY = Code("122157", "DCM", "Probability")
VOLUME = Code("118565006", "SCT", "Volume")
AREA = Code("42798000", "SCT", "Area")
SCORE = Code("246262008", "SCT", "Score")
MINIMUM = Code("255605001", "SCT", "Minimum")
MAXIMUM = Code("56851009", "SCT", "Maximum")

# anatomy and segments
BRAIN = Code("12738006", "SCT", "Brain")
ABNORMAL_STRUCTURE = Code("49755003", "SCT", "Morphologically Abnormal Structure")
HEMORRHAGE = Code("50960005", "SCT", "Hemorrhage")

# who made it
DEVICE = Code("121007", "DCM", "Device")
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
PROCESSING_EQUIPMENT = Code("109102", "DCM", "Processing Equipment")
SOURCE_IMAGE = Code("121322", "DCM", "Source Image for Image Processing Operation")

# units
NO_UNITS = Code("1", "UCUM", "no units")
MILLILITER = Code("ml", "UCUM", "milliliter")
SQUARE_MM = Code("mm2", "UCUM", "square millimeter")
SCORE_UNIT = Code("{score}", "UCUM", "score")


def finding_code(key: str) -> Code:
    """The concept of one finding. Raises KeyError for a finding that the table lacks."""
    return Code(*FINDINGS[key].code)


def root_finding(key: str) -> str:
    """The finding of which this one is a subtype, or itself."""
    return FINDINGS[key].parent or key


def subtypes_of(key: str) -> tuple[str, ...]:
    return tuple(f.key for f in FINDINGS.values() if f.parent == key)
