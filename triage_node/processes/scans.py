"""What of a study is read: the best series of each acquisition, as volumes. Stored by whoever asks, live or on trial."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from triage_node.domain.errors import NoImageContent, NotAHead, StudyRejected, VolumeError
from triage_node.domain.instance import ReceivedInstance
from triage_node.domain.study import SelectedSeries
from triage_node.domain.volume import Volume
from triage_node.processes.limits.bounds import MOST_SCANS, MOST_TRIED
from triage_node.study.selection import (
    AXIAL_COSINE,
    SelectionPolicy,
    SeriesHeaders,
    of_newest_acquisition,
    of_other_acquisitions,
    refusal_of_frames,
    select,
)
from triage_node.volume.assemble import assemble_volume
from triage_node.volume.checks import check_head
from triage_node.volume.decode import Decoder

_FINAL = (NotAHead, NoImageContent)
"""What another series of the same scan would show too."""


@dataclass(frozen=True, slots=True)
class Scan:
    """One acquisition: its best series, the volume, the digest of the pixels (DESIGN.md section 3, UIDs)."""

    series_instance_uid: str
    instances: list[ReceivedInstance]
    volume: Volume
    digest: str


_Refused = tuple[str, int | None, str]
"""Series Instance UID, Series Number, why it is not read."""


def _nothing(_: Any) -> None: ...


@dataclass(frozen=True, slots=True)
class Told:
    """What is told on the way. `selected`: each choice of the first scan; `pixels`: SHA-256 of a blob to its pixel digest;

    `assembled`: a volume before it is checked, `checked`: after; `unread`: which scans were left out, and why.
    """

    selected: Callable[[SelectedSeries], None] = _nothing
    pixels: Callable[[dict[str, str]], None] = _nothing
    assembled: Callable[[Volume], None] = _nothing
    checked: Callable[[Volume], None] = _nothing
    unread: Callable[[str], None] = _nothing


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
        """The best series of each acquisition: what a study shows is what its worst scan shows. Raises: StudyRejected without any.

        First the best one, then the newest ones, since a patient is scanned again because something has changed. One that is
        no head, or does not make a volume, gives way to those of other acquisitions.
        """
        by_series: dict[str, list[ReceivedInstance]] = {}
        for i in held:
            if i.header is not None:
                by_series.setdefault(i.header.series_instance_uid, []).append(i)
        series = {s: SeriesHeaders(s, tuple(i.header for i in members if i.header)) for s, members in by_series.items()}
        left, scans, refused = list(series.values()), list[Scan](), list[_Refused]()
        first_words: StudyRejected | None = None
        while left and len(scans) < MOST_SCANS and len(scans) + len(refused) < MOST_TRIED:
            candidates = of_newest_acquisition(left) if scans else left
            found, tried = self._best(candidates, by_series, None if scans else refused)
            refused += tried
            if isinstance(found, Scan):
                scans.append(found)
                left = of_other_acquisitions(left, series[found.series_instance_uid])
            else:
                first_words = first_words or found
                if isinstance(found, _FINAL) and _has_time(series[tried[-1][0]]):
                    left = of_other_acquisitions(left, series[tried[-1][0]])
                elif not isinstance(found, _FINAL):  # headers and pixels refuse each of them
                    left = [s for s in left if s not in candidates]
            gone = {uid for uid, _, _ in refused}
            left = [s for s in left if s.series_instance_uid not in gone]
        if not scans:
            raise first_words or StudyRejected(select([]).reason)
        read = [series[s.series_instance_uid] for s in scans]
        missed = [r for r in refused if all(of_other_acquisitions([series[r[0]]], scan) for scan in read)]
        self._tell_of_unread(left, missed)
        return scans

    def _tell_of_unread(self, left: list[SeriesHeaders], missed: list[_Refused]) -> None:
        """Scans that look as if they should be read and were not: whoever reads the study must not take them for read."""
        beyond = 0
        while left and (uid := select(left).series_instance_uid) is not None:
            beyond += 1
            best = next(s for s in left if s.series_instance_uid == uid)
            left = [s for s in of_other_acquisitions(left, best) if s is not best]
        said = [f"series {'without number' if number is None else number} not read: {why}" for _, number, why in missed]
        if beyond:
            said.append(f"{beyond} further {'scan' if beyond == 1 else 'scans'} not read: too many")
        if said:
            self._told.unread("; ".join(said))

    def _best(
        self,
        series: list[SeriesHeaders],
        by_series: dict[str, list[ReceivedInstance]],
        before: list[_Refused] | None,
    ) -> tuple[Scan | StudyRejected, list[_Refused]]:
        """The best series that makes a volume, or the first reason why none does, and what was tried in vain, in order.

        A series whose slices do not fit together gives way to the next one; one that is no head ends the search. `before`: what
        was tried before for the scan that is to be the first of its study; None: another one was read already.
        """
        tried: list[_Refused] = []
        first: StudyRejected | None = None
        while True:
            selection = select([s for s in series if s.series_instance_uid not in {u for u, _, _ in tried}])
            chosen_uid = selection.series_instance_uid
            if before is not None and (chosen_uid is not None or not (before or tried)):
                self._told.selected(replace(selection, rejected=(*tried, *before, *selection.rejected)))
            if chosen_uid is None:
                return first or StudyRejected(selection.reason), tried
            chosen = by_series[chosen_uid]
            try:
                volume, digest = self._volume(chosen)
                return Scan(chosen_uid, chosen, volume, digest), tried
            except VolumeError as error:
                header = chosen[0].header
                tried.append((chosen_uid, header.series_number if header else None, error.reason))
                if isinstance(error, _FINAL):
                    return error, tried
                first = first or error

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


def _has_time(series: SeriesHeaders) -> bool:
    return any(h.acquisition_date for h in series.headers)


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
