"""The slices of a study for its page, from the file that analysis left and from the stored result."""

from __future__ import annotations

from pathlib import Path

from triage_node.blobs.places import Blobs
from triage_node.console.viewer import Shown, ViewerDeps
from triage_node.domain.display import HeatMap
from triage_node.domain.finding import EvidenceLevel
from triage_node.domain.study import StudyState
from triage_node.report import display
from triage_node.store import prognosis, results, studies
from triage_node.store.engine import Store


def viewer_deps(store: Store, blobs: Blobs, built_folder: Path) -> ViewerDeps:
    """The viewer's callables on this store."""

    def path(uid: str) -> Path:
        slices = display.path_of(built_folder, uid)
        for part in display.parts(slices):  # another host may have written them
            blobs.refresh(part)
        return slices

    def is_shown(uid: str) -> bool:
        """In quarantine it is not clear whose slices they are."""
        study = studies.get(store, uid)
        return study is not None and study.state is not StudyState.QUARANTINED

    def idle(uid: str, revision: int, maps: tuple[HeatMap, ...]) -> frozenset[int]:
        """Maps of prognosis networks that abstain, or were not asked (a study that is not raised)."""
        made = prognosis.latest(store, uid, revision)
        told = {p.name for p in made.predictions if not p.abstained} if made is not None else set()
        return frozenset(i for i, m in enumerate(maps) if m.prognosis and m.prognosis not in told)

    def shown(uid: str) -> Shown | None:
        held = display.read(path(uid)) if is_shown(uid) else None
        if held is None:
            return None
        record = results.latest(store, uid)
        is_of_result = record is not None and record.revision == held.revision
        detail = record.detail if record is not None and is_of_result else {}
        maps = display.read_maps(path(uid)) if is_of_result else None
        if maps is not None and maps.revision != held.revision:
            maps = None
        return Shown(
            digest=held.digest,
            frame=held.frame,
            revision=held.revision,
            with_findings=held.with_findings,
            probabilities=tuple(detail.get("slice_probabilities") or ()),
            key_slice=detail.get("key_slice_index"),
            raise_probability=detail.get("raise_probability"),
            evidence=EvidenceLevel(detail.get("evidence") or EvidenceLevel.E0),
            apart=bool(detail.get("apart")),
            maps=maps.maps if maps is not None else (),
            idle=idle(uid, held.revision, maps.maps) if maps is not None else frozenset(),
            silent=maps.silent if maps is not None else (),
            maps_come=maps is None and bool(detail.get("unsure") or (record is not None and record.flagged)),
        )

    return ViewerDeps(
        shown=shown,
        pixels=lambda uid, digest, i: display.pixels_of(path(uid), digest, i) if is_shown(uid) else None,
        findings=lambda uid, digest, i: display.findings_of(path(uid), digest, i),
        heat_map=lambda uid, revision, i: display.map_of(path(uid), revision, i),
    )
