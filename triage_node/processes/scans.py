"""What of a study is read: the best series of each acquisition, as volumes. Stored by whoever asks, live or on trial."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from triage_node.domain.errors import NoImageContent, NotAHead, StudyRejected, VolumeError
from triage_node.domain.instance import ReceivedInstance
from triage_node.domain.study import SelectedSeries
from triage_node.domain.volume import Volume
from triage_node.processes.limits.bounds import MOST_SCANS
from triage_node.study.selection import (
    AXIAL_COSINE,
    SelectionPolicy,
    SeriesHeaders,
    of_other_acquisitions,
    refusal_of_frames,
    select,
)
from triage_node.volume.assemble import assemble_volume
from triage_node.volume.checks import check_head
from triage_node.volume.decode import Decoder

log = logging.getLogger(__name__)

_FINAL = (NotAHead, NoImageContent)
"""What another series of the same scan would show too."""


@dataclass(frozen=True, slots=True)
class Scan:
    """One acquisition: its best series, the volume, the digest of the pixels (DESIGN.md section 3, UIDs)."""

    series_instance_uid: str
    instances: list[ReceivedInstance]
    volume: Volume
    digest: str


def _nothing(_: Any) -> None: ...


@dataclass(frozen=True, slots=True)
class Told:
    """What is told on the way. `selected`: each choice of the first scan; `pixels`: SHA-256 of a blob to its pixel digest;

    `assembled`: a volume before it is checked, `checked`: after.
    """

    selected: Callable[[SelectedSeries], None] = _nothing
    pixels: Callable[[dict[str, str]], None] = _nothing
    assembled: Callable[[Volume], None] = _nothing
    checked: Callable[[Volume], None] = _nothing


class Scans:
    """Reads scans with one decoder. `path` of a blob by its SHA-256; `fetch` is told first which of them are about to be asked for."""

    def __init__(
        self,
        decoder: Decoder,
        path: Callable[[str], Path],
        told: Told,
        fetch: Callable[[Iterable[str]], None] = _nothing,
    ) -> None:
        self._decoder, self._path, self._told, self._fetch = decoder, path, told, fetch

    def read(self, held: Sequence[ReceivedInstance]) -> list[Scan]:
        """The best series of each acquisition, best first: what a study shows is what its worst scan shows.

        Raises: StudyRejected when there is none.
        """
        by_series: dict[str, list[ReceivedInstance]] = {}
        for i in held:
            if i.header is not None:
                by_series.setdefault(i.header.series_instance_uid, []).append(i)
        series = {s: SeriesHeaders(s, tuple(i.header for i in members if i.header)) for s, members in by_series.items()}
        scan = self._best(list(series.values()), by_series, is_first=True)
        if not isinstance(scan, Scan):
            raise scan
        scans = [scan]
        left = list(series.values())
        while len(scans) < MOST_SCANS:
            left = of_other_acquisitions(left, series[scans[-1].series_instance_uid])
            try:
                scan = self._best(left, by_series, is_first=False)
            except StudyRejected as rejected:  # the first scan stands, whatever is wrong with this one
                scan = rejected
            if not isinstance(scan, Scan):
                log.info("series=%s no further scan: %s", scans[0].series_instance_uid, scan.reason)
                break
            scans.append(scan)
        return scans

    def _best(
        self, series: list[SeriesHeaders], by_series: dict[str, list[ReceivedInstance]], is_first: bool
    ) -> Scan | StudyRejected:
        """The best series that makes a volume, or the first reason why none does.

        A series whose slices do not fit together gives way to the next one. Raises: StudyRejected for what is no head.
        """
        unfit: list[tuple[str, int | None, str]] = []
        first_reason: StudyRejected | None = None
        while True:
            selection = select([s for s in series if s.series_instance_uid not in {u for u, _, _ in unfit}])
            selection = replace(selection, rejected=(*unfit, *selection.rejected))
            chosen_uid = selection.series_instance_uid
            if is_first:
                self._told.selected(selection)
            if chosen_uid is None:
                return first_reason or StudyRejected(selection.reason)
            chosen = by_series[chosen_uid]
            try:
                volume, digest = self._volume(chosen)
                return Scan(chosen_uid, chosen, volume, digest)
            except VolumeError as error:
                if isinstance(error, _FINAL):
                    raise
                first_reason = first_reason or error
                header = chosen[0].header
                unfit.append((chosen_uid, header.series_number if header else None, error.reason))

    def _volume(self, chosen: list[ReceivedInstance]) -> tuple[Volume, str]:
        """The volume of one series, and the digest of its pixels (DESIGN.md section 3, UIDs). Raises: VolumeError."""
        self._fetch([i.sha256 for i in chosen])
        pixels = self._decoder.read_series([self._path(i.sha256) for i in chosen])
        by_uid = {i.sop_instance_uid: i.sha256 for i in chosen}
        self._told.pixels({by_uid[u]: d for u, d in pixels.pixel_digests.items() if u in by_uid})
        if refusal := refusal_of_frames((s.contrast_bolus_agent, s.convolution_kernel) for s in pixels.slices):
            raise VolumeError(refusal)
        volume = assemble_volume(pixels)
        _refuse_part_of_a_head(volume)
        self._told.assembled(volume)
        check_head(volume)
        self._told.checked(volume)
        return volume, digest_of(sorted(pixels.pixel_digests.items()))


def _refuse_part_of_a_head(volume: Volume) -> None:
    """What the headers of multi-frame images do not tell before their frames are read. Raises: VolumeError."""
    policy = SelectionPolicy()
    if abs(volume.normal[2]) < AXIAL_COSINE:
        raise VolumeError("not axial")
    covered = float(volume.slice_extent_mm.sum())
    if covered < policy.minimum_coverage_mm:
        raise VolumeError(f"covers {covered:.0f} mm only, at least {policy.minimum_coverage_mm:.0f} mm needed")


def digest_of_all(scans: Sequence[Scan]) -> str:
    """Of all pixels that a study is judged by."""
    return scans[0].digest if len(scans) == 1 else digest_of([s.digest for s in scans])


def digest_of(parts: list[Any]) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()
