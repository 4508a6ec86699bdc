"""Secondary captures of ours as PNG, for people without a viewer."""

from __future__ import annotations

import io

from PIL import Image

from triage_node.report.read_back import read_capture


def heatmap_png(capture: bytes) -> bytes:
    """The picture of a heatmap, summary or status page. Raises: ReportError when the bytes are none of ours."""
    out = io.BytesIO()
    Image.fromarray(read_capture(capture)).save(out, "PNG")
    return out.getvalue()
