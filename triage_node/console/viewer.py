"""The slices of a study on its page. The browser windows them; nothing is decoded here.

GET /studies/{uid}/slices/{digest}/{index}            pixels of one slice, HU, as report/display.py packs them
GET /studies/{uid}/slices/{digest}/{index}/findings   mask and heat of one slice, for those who may see the result
GET /studies/{uid}/maps/{revision}/{index}            where a network looked for one task, likewise

`digest` names the pixels, so that a page never mixes slices of two volumes: when the study was read again, the old address is
gone and the page says so. The page keeps what it fetched in its own memory; answers are `no-store` like all others, since a
browser's cache would leave patients' pixels on the disk of a shared PC.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response

from triage_node.console.deps import ConsoleDeps
from triage_node.console.pages import Pages, Room
from triage_node.console.study import is_due, may_show
from triage_node.domain.display import Frame, HeatMap
from triage_node.domain.finding import EvidenceLevel
from triage_node.domain.identifiers import is_uid

_LEAST_SHARE = 0.26
"""Of a direction along an axis of the patient, from which the axis gets a letter: 15 degrees of tilt get none."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What there is to draw of one study. What the model says is empty where the slices were not analysed (`revision` 0).

    `probabilities`: one a slice; `with_findings`: slices that have mask or heat; `evidence` of the detection; `apart`: the node
    only observes this study. `maps`: where networks looked; `idle`: places of those whose network says nothing of this study;
    `silent`: (label, why) of what has no map; `maps_come`: there will be maps, they are not made yet.
    """

    digest: str
    frame: Frame
    revision: int
    with_findings: tuple[int, ...] = ()
    probabilities: tuple[float, ...] = ()
    key_slice: int | None = None
    raise_probability: float | None = None
    evidence: EvidenceLevel = EvidenceLevel.E0
    apart: bool = False
    maps: tuple[HeatMap, ...] = ()
    idle: frozenset[int] = frozenset()
    silent: tuple[tuple[str, str], ...] = ()
    maps_come: bool = False


@dataclass(frozen=True, slots=True)
class ViewerDeps:
    """`shown(uid)`: None where no slices are kept. `pixels`, `findings` (uid, digest, index), `heat_map` (uid, revision, index):
    compressed; None: not there.
    """

    shown: Callable[[str], Shown | None]
    pixels: Callable[[str, str, int], bytes | None]
    findings: Callable[[str, str, int], bytes | None]
    heat_map: Callable[[str, int, int], bytes | None]


def room(viewer: ViewerDeps) -> Room:
    return Room(lambda deps, pages: _routes(deps, pages, viewer))


def _routes(deps: ConsoleDeps, pages: Pages, viewer: ViewerDeps) -> APIRouter:
    router = APIRouter()

    def may_see_findings(request: Request, shown: Shown) -> bool:
        return may_show(deps, request, deps.mode(), shown) and is_due(deps, request, shown.evidence)

    def due_maps(request: Request, shown: Shown) -> dict[int, HeatMap]:
        """By place; a task's own evidence decides, as for its figures."""
        of_use = ((i, m) for i, m in enumerate(shown.maps) if i not in shown.idle)
        return {i: m for i, m in of_use if is_due(deps, request, m.evidence)}

    def viewer_of(request: Request, uid: str) -> str:
        """What viewer.js needs, as JSON; empty where there are no slices."""
        shown = viewer.shown(uid)
        if shown is None:
            return ""
        found = _found(uid, shown, due_maps(request, shown)) if may_see_findings(request, shown) else None
        return json.dumps(_for_page(uid, shown, found))

    pages.environment.globals["viewer_of"] = viewer_of

    @router.get("/studies/{study_instance_uid}/slices/{digest}/{index}", include_in_schema=False)
    def show_slice(study_instance_uid: str, digest: str, index: int) -> Response:
        # asked forty times a page, so what was found is not looked up for it
        return _packed(viewer.pixels(study_instance_uid, digest, index) if is_uid(study_instance_uid) else None)

    @router.get("/studies/{study_instance_uid}/slices/{digest}/{index}/findings", include_in_schema=False)
    def show_findings(request: Request, study_instance_uid: str, digest: str, index: int) -> Response:
        shown = viewer.shown(study_instance_uid) if is_uid(study_instance_uid) else None
        if shown is None or not may_see_findings(request, shown):
            raise HTTPException(404, "There are no such findings.")
        return _packed(viewer.findings(study_instance_uid, digest, index))

    @router.get("/studies/{study_instance_uid}/maps/{revision}/{index}", include_in_schema=False)
    def show_map(request: Request, study_instance_uid: str, revision: int, index: int) -> Response:
        shown = viewer.shown(study_instance_uid) if is_uid(study_instance_uid) else None
        if shown is None or not may_see_findings(request, shown) or index not in due_maps(request, shown):
            raise HTTPException(404, "There is no such map.")
        return _packed(viewer.heat_map(study_instance_uid, revision, index))

    return router


def _packed(piece: bytes | None) -> Response:
    if piece is None:
        raise HTTPException(404, "There are no such slices: the study was read again, or its images were removed.")
    # packed once, by analysis; whatever asks for this is a browser, and all of them know deflate
    headers = {"content-encoding": "deflate"} if piece else {}
    return Response(piece, media_type="application/octet-stream", headers=headers)


def _for_page(uid: str, shown: Shown, found: dict[str, Any] | None) -> dict[str, Any]:
    frame = shown.frame
    return {
        "address": f"/studies/{uid}/slices/{shown.digest}/",
        "rows": frame.rows,
        "columns": frame.columns,
        "spacing": frame.pixel_spacing_mm,
        "positions": frame.positions_mm,
        "thickness": frame.thickness_mm,
        "letters": _letters(frame),
        "analysed": shown.revision > 0,
        "found": found,
    }


def _found(uid: str, shown: Shown, maps: dict[int, HeatMap]) -> dict[str, Any] | None:
    if not shown.probabilities:
        return None
    kept_back = len(shown.maps) - len(shown.idle) - len(maps)
    silent = [f"{label}: {why}" for label, why in shown.silent]
    silent += [f"{shown.maps[i].label}: the prognosis says nothing of this study" for i in sorted(shown.idle)]
    if shown.maps_come:
        silent.append(
            "Grad-CAM: not made yet. It is when no other study waits, and not if the node was restarted before"
        )
    elif not shown.maps and not shown.silent:
        silent.append("Grad-CAM: made of studies that are raised or not sure")
    if kept_back:
        silent.append(f"{kept_back} maps: not yet evaluated at this site, so they are shown to administrators only")
    return {
        "slices": shown.with_findings,
        "scores": shown.probabilities,
        "key": shown.key_slice,
        "raise": shown.raise_probability,
        "maps": [asdict(m) | {"address": f"/studies/{uid}/maps/{shown.revision}/{i}"} for i, m in maps.items()],
        "silent": silent,
    }


def _letters(frame: Frame) -> dict[str, str]:
    """Where the patient lies in the picture, at its four edges (PS3.3 C.7.6.1.1.1: letters in descending share)."""
    right, bottom = frame.row_cosine, frame.column_cosine
    return {
        "right": _towards(right),
        "left": _towards(tuple(-x for x in right)),
        "bottom": _towards(bottom),
        "top": _towards(tuple(-x for x in bottom)),
    }


def _towards(direction: tuple[float, ...]) -> str:
    named = [("L" if direction[0] > 0 else "R"), ("P" if direction[1] > 0 else "A"), ("H" if direction[2] > 0 else "F")]
    shares = sorted(zip((abs(x) for x in direction), named, strict=True), reverse=True)
    return "".join(letter for share, letter in shares if share >= _LEAST_SHARE)
