"""What the listener offers: SOP classes, and transfer syntaxes that the analysis can decode.

Every storage class is accepted, not only CT: an error for a dose report inside an auto-forward job stops the whole job
on many consoles (STANDARDS.md 5.2). What is not a CT is stored and not analysed.
"""

from __future__ import annotations

from collections.abc import Sequence

from pynetdicom import AllStoragePresentationContexts
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification

IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
ALWAYS = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)

# STANDARDS.md 4.5.2: the first of these that a context proposes is taken. Deflated (a bomb unpacks before anything can
# be checked) and big endian (retired) are in no list and so never offered.
PREFERRED = (
    EXPLICIT_VR_LITTLE_ENDIAN,
    "1.2.840.10008.1.2.4.70",  # JPEG Lossless SV1
    "1.2.840.10008.1.2.4.57",  # JPEG Lossless
    "1.2.840.10008.1.2.4.80",  # JPEG-LS lossless
    "1.2.840.10008.1.2.4.201",  # HTJ2K lossless
    "1.2.840.10008.1.2.4.202",  # HTJ2K lossless RPCL
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 lossless
    "1.2.840.10008.1.2.5",  # RLE
    IMPLICIT_VR_LITTLE_ENDIAN,
    # lossy, only when nothing else is proposed: they change HU
    "1.2.840.10008.1.2.4.81",  # JPEG-LS near-lossless
    "1.2.840.10008.1.2.4.203",  # HTJ2K
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
    "1.2.840.10008.1.2.4.51",  # JPEG Extended, 12 bit
    "1.2.840.10008.1.2.4.50",  # JPEG Baseline
)


def offered_syntaxes(decodable: Sequence[str]) -> tuple[str, ...]:
    """The two uncompressed syntaxes and those of `decodable` that we know, in our order of preference."""
    return tuple(uid for uid in PREFERRED if uid in ALWAYS or uid in decodable)


def supported_contexts(decodable: Sequence[str]) -> list[PresentationContext]:
    """Everything that an association may negotiate."""
    syntaxes = list(offered_syntaxes(decodable))
    storage = [build_context(c.abstract_syntax, syntaxes) for c in AllStoragePresentationContexts if c.abstract_syntax]
    commitment = build_context(StorageCommitmentPushModel, list(ALWAYS))
    # PS3.4 J.3.3: the archive that answers a commitment request opens the association and stays SCP; we remain SCU
    commitment.scu_role, commitment.scp_role = True, True
    return [build_context(Verification, list(ALWAYS)), commitment, *storage]
