import pytest
from pynetdicom.sop_class import CTImageStorage, StorageCommitmentPushModel, Verification

from triage_node.association.contexts import ALWAYS, PREFERRED, offered_syntaxes, supported_contexts

DEFLATED, BIG_ENDIAN, JPIP = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.4.94"


@pytest.mark.parametrize("decodable", [(), (DEFLATED, BIG_ENDIAN, JPIP, "", "1.2.3")])
def test_only_uncompressed_little_endian_is_offered_when_nothing_known_was_decoded(decodable):
    assert set(offered_syntaxes(decodable)) == set(ALWAYS)


def test_lossless_is_preferred_to_lossy_and_explicit_to_everything():
    offered = offered_syntaxes(PREFERRED)
    assert offered[0] == "1.2.840.10008.1.2.1"
    assert offered.index("1.2.840.10008.1.2.4.90") < offered.index("1.2.840.10008.1.2.4.91")
    assert offered == PREFERRED


def test_storage_of_every_kind_verification_and_commitment_are_supported():
    contexts = {c.abstract_syntax: c for c in supported_contexts(("1.2.840.10008.1.2.4.70",))}
    assert "1.2.840.10008.1.2.4.70" in contexts[CTImageStorage].transfer_syntax
    assert Verification in contexts
    assert (contexts[StorageCommitmentPushModel].scu_role, contexts[StorageCommitmentPushModel].scp_role) == (
        True,
        True,
    )
    assert len(contexts) > 150
