"""From the settings of a worklist peer to the adapter that talks to it. A new kind of peer is one branch here."""

from __future__ import annotations

from triage_node.config.worklist_peers import FhirPeerSettings, UpsPeerSettings, UpsRsPeerSettings
from triage_node.domain.errors import ConfigError
from triage_node.processes.wiring import WorklistPeer
from triage_node.worklist.adapter import WorklistAdapter


def adapter_for(peer: WorklistPeer) -> WorklistAdapter:
    """Each library is loaded only where such a peer is configured. Raises: ConfigError when a file or a library is not there."""
    if isinstance(peer, UpsPeerSettings):
        from triage_node.worklist.ups import UpsAdapter

        return UpsAdapter(peer)
    if isinstance(peer, UpsRsPeerSettings):
        from triage_node.worklist.ups_rs import UpsRsAdapter

        return UpsRsAdapter(peer)
    if isinstance(peer, FhirPeerSettings):
        try:
            from triage_node.worklist.fhir import FhirAdapter
        except ModuleNotFoundError as error:
            raise ConfigError("fhir_peers needs fhir.resources: pip install 'triage-node[fhir]'") from error

        return FhirAdapter(peer)
    from triage_node.worklist.hl7 import Hl7Adapter

    return Hl7Adapter(peer)
