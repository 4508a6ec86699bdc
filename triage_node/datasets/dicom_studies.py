"""Folders of whole DICOM studies: one series of each is taken, by the node's own selection; the others say why not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import partial

from triage_node.datasets import dicom_slices, words
from triage_node.datasets.data_set import Ledger
from triage_node.datasets.dicom_slices import DicomFile
from triage_node.datasets.folder import Folder
from triage_node.domain.case import Case, Labels
from triage_node.domain.errors import CaseUnreadable
from triage_node.domain.scan_source import source_of
from triage_node.study.selection import SeriesHeaders, select
from triage_node.study.stack import images_of


def read_all(folder: Folder, ledger: Ledger) -> list[DicomFile]:
    """The header of every DICOM file; what is none, or is broken, is skipped. The same instance twice is used once."""
    found: dict[tuple[str, str], DicomFile] = {}
    for name in folder.files:
        path = folder.at(name)
        if not dicom_slices.is_dicom(path):
            continue
        ledger.see(name)
        try:
            file = dicom_slices.read_header(path, name)
        except CaseUnreadable as error:
            ledger.skip(name, str(error))
            continue
        key = (file.header.series_instance_uid, file.header.sop_instance_uid)
        if key in found:
            ledger.skip(name, f"the same instance as {found[key].name}")
        else:
            found[key] = file
    return list(found.values())


def choose(study: str, files: Iterable[DicomFile], ledger: Ledger) -> list[DicomFile]:
    """The images of the series that the node would analyse, from the lowest up. Raises CaseUnreadable when there is none.

    Files of the other series are skipped with the selection's reason: contrast agent, bone kernel, localizer and so on.
    """
    by_series: defaultdict[str, list[DicomFile]] = defaultdict(list)
    for file in files:
        by_series[file.header.series_instance_uid].append(file)
    chosen = select(SeriesHeaders(uid, tuple(f.header for f in members)) for uid, members in by_series.items())
    for uid, _, reason in chosen.rejected:
        for file in by_series[uid]:
            ledger.skip(file.name, f"study {study}: {reason}")
    if chosen.series_instance_uid is None:
        raise CaseUnreadable(f"study {study}: {chosen.reason}")
    members = by_series[chosen.series_instance_uid]
    images = {h.sop_instance_uid for h in images_of(f.header for f in members)}
    for file in members:
        if file.header.sop_instance_uid not in images:
            ledger.skip(file.name, "localizer image in the series")
    taken = [f for f in members if f.header.sop_instance_uid in images]
    return dicom_slices.in_order(taken) or sorted(taken, key=lambda f: (dicom_slices.position_mm(f) or 0.0, f.name))


def case_of(
    files: list[DicomFile],
    labels: Labels,
    *,
    source: str,
    patient: str,
    study: str,
    licence: str,
    family: str,
    overlap_keys: tuple[str, ...] = (),
    sex: str = "",
) -> Case:
    """The case of one chosen series. `sex`: what a table says, which goes before the header. What the node would decline raises CaseUnreadable with its reason when loaded."""
    first, made_by = files[0], source_of(f.header for f in files)
    return Case(
        source=source,
        patient_id=patient,
        study_id=study,
        slice_ids=tuple(f.name for f in files),
        labels=labels,
        load=partial(dicom_slices.read_stack, files, True),
        scanner=made_by.scanner,
        kernel=made_by.kernel,
        software=made_by.software,
        sex=sex or words.sex(first.header.patient_sex),
        thickness_mm=first.header.slice_thickness_mm,
        licence=licence,
        family=family,
        overlap_keys=overlap_keys,
        simulated=any(dicom_slices.says_simulated(f) for f in files),
    )
