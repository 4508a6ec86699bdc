"""Which series of a study is the non-contrast head CT to analyse, and why each other one is not.

Pure: headers in, a choice with reasons out. Attributes decide before words (PAPERS.md 7.2). The order of what comes in never
matters. Derived axial reformats are taken when nothing better is there (DESIGN.md section 1, PEERS.md 2.4).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from triage_node.domain.instance import InstanceHeader
from triage_node.domain.study import SelectedSeries
from triage_node.study import vocabulary
from triage_node.study.stack import Stack, images_of, is_localizer, stack_of
from triage_node.study.vocabulary import Kernel

CT_CLASSES = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.2",  # CT Image Storage
        "1.2.840.10008.5.1.4.1.1.2.1",  # Enhanced CT
        "1.2.840.10008.5.1.4.1.1.2.2",  # Legacy Converted Enhanced CT
    }
)
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
STRUCTURED_REPORTS = "1.2.840.10008.5.1.4.1.1.88."
AXIAL_COSINE = 0.7071
"""The normal is at most 45 degrees from the patient's long axis: gantries tilt to 30, and heads lie askew."""
GRAY = frozenset({"", "MONOCHROME1", "MONOCHROME2"})
HEAD_PARTS = frozenset({"HEAD", "BRAIN", "SKULL", "HEADNECK", "CEREBRUM", "CRANIUM"})


@dataclass(frozen=True, slots=True)
class SeriesHeaders:
    """All headers of one series that are there."""

    series_instance_uid: str
    headers: tuple[InstanceHeader, ...]


@dataclass(frozen=True, slots=True)
class SelectionPolicy:
    """STANDARDS.md 6.4. `preferred_thickness_mm` is what the network was trained on."""

    minimum_slices: int = 10
    minimum_coverage_mm: float = 100.0
    maximum_coverage_mm: float = 400.0
    preferred_thickness_mm: float = 5.0
    own_manufacturer: str = "Triage Node"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One series judged. `refusal` is empty for an eligible one; `may_become_eligible` when only slices are missing to it.

    `rank` orders eligible series, smallest first; it is total, so that equal-looking series are chosen alike every time.
    """

    series_instance_uid: str
    series_number: int | None
    description: str
    refusal: str
    may_become_eligible: bool
    rank: tuple[int | float | str, ...]
    words: str
    thickness_mm: float | None

    @property
    def eligible(self) -> bool:
        return not self.refusal

    @property
    def name(self) -> str:
        number = "without number" if self.series_number is None else str(self.series_number)
        return f"series {number}" + (f" ({self.description})" if self.description else "")


def select(series: Iterable[SeriesHeaders], policy: SelectionPolicy = SelectionPolicy()) -> SelectedSeries:
    """Choose the best eligible series. The reason of every other one is given in words, in rank order."""
    candidates = sorted((judge(s, policy) for s in series), key=lambda c: (not c.eligible, c.rank))
    best = next((c for c in candidates if c.eligible), None)
    if best is None:
        why = "; ".join(c.refusal if len(candidates) == 1 else f"{c.name}: {c.refusal}" for c in candidates[:3])
        reason = f"no series is a non-contrast head CT ({why})" if why else "the study holds no series"
        return SelectedSeries(None, reason, tuple(_refused(c) for c in candidates))
    rejected = []
    for candidate in candidates:
        if candidate is best:
            continue
        if candidate.eligible:
            rejected.append(
                (candidate.series_instance_uid, candidate.series_number, _ranks_lower(candidate, best, policy))
            )
        else:
            rejected.append(_refused(candidate))
    return SelectedSeries(best.series_instance_uid, f"{best.name}: {best.words}", tuple(rejected))


def judge(series: SeriesHeaders, policy: SelectionPolicy = SelectionPolicy()) -> Candidate:
    """Say for one series whether it can be analysed, why not, and where it ranks."""
    headers = tuple(sorted(series.headers, key=lambda h: h.sop_instance_uid))
    images = images_of(headers)
    stack = stack_of(images)
    first = images[0] if images else None
    refusal = _refusal_of_kind(headers, images, stack, policy)
    short = "" if refusal else _refusal_of_extent(stack, policy)
    kernel = vocabulary.kernel_kind(first.convolution_kernel) if first else Kernel.UNKNOWN
    derived = any(_is_derived(h) for h in images)
    number = first.series_number if first else None
    return Candidate(
        series_instance_uid=series.series_instance_uid,
        series_number=number,
        description=first.series_description.strip() if first else "",
        refusal=refusal or short,
        may_become_eligible=bool(short) and stack.coverage_mm <= policy.maximum_coverage_mm,
        rank=(
            derived,
            stack.mixed_orientation or stack.has_duplicates or bool(stack.gaps),
            kernel is not Kernel.SOFT,
            _distance_from_preferred(stack, policy),
            -round(stack.coverage_mm / 10),
            10**9 if number is None else number,
            series.series_instance_uid,
        ),
        words=_words(stack, first, kernel, derived),
        thickness_mm=stack.thickness_mm,
    )


def of_other_acquisitions(series: Iterable[SeriesHeaders], analysed: SeriesHeaders) -> list[SeriesHeaders]:
    """What shows another scan than this series does: a repeat after a fit is worth a look of its own (DESIGN.md section 5).

    Series without a time of acquisition count as the same scan.
    """
    seen = {*_acquisitions(analysed), ("", "")}
    return [s for s in series if _acquisitions(s).isdisjoint(seen)]


def of_newest_acquisition(series: Sequence[SeriesHeaders]) -> list[SeriesHeaders]:
    """What shows the scan that was made last."""
    newest = max(at for s in series for at in _acquisitions(s))
    return [s for s in series if newest in _acquisitions(s)]


def _acquisitions(series: SeriesHeaders) -> set[tuple[str, str]]:
    """Scans that the series shows. Reconstructions of one scan share the time at which it began, to the second."""
    return {(h.acquisition_date, h.acquisition_time.partition(".")[0]) for h in series.headers}


def _refused(candidate: Candidate) -> tuple[str, int | None, str]:
    return candidate.series_instance_uid, candidate.series_number, candidate.refusal


def _refusal_of_kind(
    headers: tuple[InstanceHeader, ...], images: tuple[InstanceHeader, ...], stack: Stack, policy: SelectionPolicy
) -> str:
    """What no further slice can change."""
    if not headers:
        return "no readable instance"
    if any(h.manufacturer.strip().lower() == policy.own_manufacturer.lower() for h in headers):
        return "made by this node"
    first = images[0]
    described = (first.series_description,)
    if foreign := [h for h in headers if h.sop_class_uid not in CT_CLASSES]:
        return _not_a_ct_image(foreign)
    if any(h.modality not in ("CT", "") for h in headers):
        return f"modality {first.modality[:16]}, not CT"
    if all(is_localizer(h) for h in headers) or vocabulary.says_localizer(*described):
        return "localizer"
    if vocabulary.says_dose_page(*described) and not stack.slices:
        return "dose or protocol page"
    if any((h.samples_per_pixel or 1) != 1 or h.photometric_interpretation not in GRAY for h in images):
        return "color pictures, not a CT in Hounsfield units"
    values = {v.upper() for h in images for v in h.image_type[2:]}
    if rendering := values & {"MIP", "MAX_IP", "MINIP", "MIN_IP", "VRT", "SSD", "PROJECTION IMAGE", "VOLUME_RENDER"}:
        return f"projection or rendering ({', '.join(sorted(rendering))})"
    if bone := _bone_kernel(first.convolution_kernel):
        return bone
    if vocabulary.kernel_kind(first.convolution_kernel) is Kernel.UNKNOWN and vocabulary.says_bone(*described):
        return "bone reconstruction by its description"
    if given := _agent_given(h.contrast_bolus_agent for h in images):
        return given
    if vocabulary.says_contrast(*described):
        return "contrast, angiography or perfusion by its description"
    if part := _other_body_part(first):
        return part
    if stack.is_multi_frame and stack.normal is None:
        return ""
    if stack.normal is None:
        return "images hold no orientation and position"
    if abs(stack.normal[2]) < AXIAL_COSINE:
        return "not axial"
    return ""


def refusal_of_frames(frames: Iterable[tuple[str, tuple[str, ...]]]) -> str:
    """Why frames of a multi-frame image are not analysed, each told as contrast agent and convolution kernel; empty: they are.

    Their places hold what single-frame images say in attributes that `judge` reads.
    """
    told = set(frames)
    bones = (_bone_kernel(kernel) for _, kernel in sorted(told))
    return next((b for b in bones if b), "") or _agent_given(agent for agent, _ in sorted(told))


def _bone_kernel(names: tuple[str, ...]) -> str:
    return f"bone kernel {' '.join(names)[:32]}" if vocabulary.kernel_kind(names) is Kernel.SHARP else ""


def _agent_given(agents: Iterable[str]) -> str:
    return next((f"contrast agent given ({a.strip()[:32]})" for a in agents if vocabulary.says_agent(a)), "")


def _refusal_of_extent(stack: Stack, policy: SelectionPolicy) -> str:
    """What further slices may change."""
    count = "1 slice" if stack.slices == 1 else f"{stack.slices} slices"
    if stack.slices < policy.minimum_slices:
        return f"too few slices ({count} at different positions, at least {policy.minimum_slices} needed)"
    if stack.is_multi_frame and stack.coverage_mm < policy.minimum_coverage_mm:
        return ""  # the places of its frames are read when the volume is assembled
    if stack.coverage_mm < policy.minimum_coverage_mm:
        return f"covers {stack.coverage_mm:.0f} mm only, at least {policy.minimum_coverage_mm:.0f} mm needed"
    if stack.coverage_mm > policy.maximum_coverage_mm:
        return f"not a head: covers {stack.coverage_mm:.0f} mm"
    return ""


def _not_a_ct_image(foreign: list[InstanceHeader]) -> str:
    first = foreign[0]
    if first.sop_class_uid.startswith(STRUCTURED_REPORTS):
        return "structured report, not an image"
    if first.sop_class_uid.startswith(SECONDARY_CAPTURE):
        kinds = {v.upper() for h in foreign for v in h.image_type}
        page = "dose page and other screens" if any("DOSE" in k for k in kinds) else "screens or pictures"
        if vocabulary.says_dose_page(first.series_description):
            page = "dose page and other screens"
        return f"secondary capture ({page}), not an image of the scan"
    return "not a CT image"


def _is_derived(header: InstanceHeader) -> bool:
    """Reformats say DERIVED; some only say so in the third value. SECONDARY alone is a copy, not a reformat."""
    values = tuple(v.upper() for v in header.image_type)
    return values[:1] == ("DERIVED",) or any("MPR" in v or "REFORMAT" in v for v in values[2:])


def _other_body_part(header: InstanceHeader) -> str:
    """Body Part Examined is often left from the last protocol: a head in the description outweighs it."""
    told = (header.series_description, header.protocol_name, header.study_description)
    part = header.body_part_examined.strip().upper()
    if part in HEAD_PARTS or vocabulary.says_head(*told):
        return ""
    if part and (vocabulary.says_other_body_part(part) or part in ("CSPINE", "TSPINE", "LSPINE", "ABDOMENPELVIS")):
        return f"not a head: body part {part[:16]}"
    if vocabulary.says_other_body_part(*told):
        return "not a head by its description"
    return ""


def _distance_from_preferred(stack: Stack, policy: SelectionPolicy) -> float:
    """How far the slice thickness is from the preferred one, in steps of 0.5 mm; unknown is worst."""
    if stack.thickness_mm is None:
        return 99.0
    return round(abs(stack.thickness_mm - policy.preferred_thickness_mm) * 2) / 2


def _words(stack: Stack, first: InstanceHeader | None, kernel: Kernel, derived: bool) -> str:
    parts = ["axial reformat" if derived else "axial", "no contrast"]
    if first is not None and first.convolution_kernel:
        parts.append(f"{kernel} kernel {' '.join(first.convolution_kernel)[:32]}".removeprefix("unknown "))
    if stack.thickness_mm is not None:
        parts.append(f"{stack.thickness_mm:g} mm")
    return ", ".join([*parts, f"{stack.slices} slices"])


def _ranks_lower(candidate: Candidate, best: Candidate, policy: SelectionPolicy) -> str:
    why = (
        "it is a reformat",
        "its geometry is irregular",
        "its kernel is not known to be soft",
        f"its slices are further from the {policy.preferred_thickness_mm:g} mm that the detector was trained on",
        "it covers less",
        "it has the higher series number",
        "of two alike the one with the smaller UID is taken",
    )
    for mine, other, reason in zip(candidate.rank, best.rank, why, strict=True):
        if mine != other:
            return f"suitable, but {best.name} ranks higher: {reason}"
    return f"the same as {best.name}"
