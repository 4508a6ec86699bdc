"""What made the pixels of a scan: scanner, kernel and software, as the coverage of an evaluation names them (DESIGN.md section 4)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from triage_node.domain.instance import InstanceHeader

NAMELESS = "a scanner without a name"


@dataclass(frozen=True, slots=True, order=True)
class ScanSource:
    """scanner: maker and model; kernel: Convolution Kernel (0018,1210); software: Software Versions (0018,1020).

    Values of several parts are joined by a space. Empty: the scan does not say, and then nothing covers it.
    """

    scanner: str
    kernel: str = ""
    software: str = ""


def source_of(headers: Iterable[InstanceHeader | None]) -> ScanSource:
    """Of the images of one series: the first that names a kernel, since a localizer among them names none."""
    known = [h for h in headers if h is not None]
    header = next((h for h in known if any(h.convolution_kernel)), known[0] if known else None)
    if header is None:
        return ScanSource("")
    return ScanSource(
        f"{header.manufacturer} {header.manufacturer_model_name}".strip(),
        " ".join(k for k in header.convolution_kernel if k),
        " ".join(v for v in header.software_versions if v),
    )


def not_covered(source: ScanSource, covered: frozenset[ScanSource]) -> str:
    """Why an evaluation over `covered` says nothing of this scan, as the end of a sentence; empty when it does.

    Kernel and software are asked for each by itself, but of this scanner: a kernel's name means nothing on another maker's.
    """
    scanner = source.scanner[:80]
    same = [c for c in covered if c.scanner == source.scanner]
    if not source.scanner or not same:
        return f"does not cover {scanner or NAMELESS}"
    for what, value, known in (
        ("kernel", source.kernel, {c.kernel for c in same}),
        ("software version", source.software, {c.software for c in same}),
    ):
        if not value:
            return f"cannot cover a scan of {scanner} that does not say its {what}"
        if value not in known:
            return f"does not cover {what} {value[:64]} of {scanner}"
    return ""
