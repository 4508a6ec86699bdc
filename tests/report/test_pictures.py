"""Heatmaps, summary and the page for a study that was not analysed, as pixels and as attributes."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from tests.report import sample
from triage_node.domain.delivery import ObjectKind
from triage_node.domain.errors import ReportError
from triage_node.domain.finding import Location
from triage_node.report import drawing, summary_capture
from triage_node.report.build import build_objects
from triage_node.report.pngs import heatmap_png
from triage_node.report.read_back import read, read_capture

HEATMAPS = frozenset({ObjectKind.HEATMAP_SC})
SUMMARY = frozenset({ObjectKind.SUMMARY_SC})


def reddish(pixels: np.ndarray) -> np.ndarray:
    red, green, blue = (pixels[..., i].astype(int) for i in range(3))
    return (red - blue > 40) & (red - green > 15)


def test_heatmaps_cover_the_bleed_and_one_slice_around():
    request = sample.request(kinds=HEATMAPS)
    numbers = [read(f.data).InstanceNumber for f in build_objects(request)]
    marked = np.flatnonzero(request.detection.mask.any(axis=(1, 2))) + 1
    assert numbers == list(range(marked[0] - 1, marked[-1] + 2))


def test_the_heat_lies_on_the_bleed_and_the_ct_stays_visible():
    request = sample.request(sample.volume(size=256), kinds=HEATMAPS)
    middle = build_objects(request)[3]
    index = read(middle.data).InstanceNumber - 1
    pixels, mask = read_capture(middle.data), request.detection.mask[index] > 0
    assert reddish(pixels)[mask].mean() > 0.99
    far = request.detection.heat[index] == 0
    far &= ~drawing.border_of(mask)
    far[:60] = far[-80:] = False  # text
    plain = drawing.rgb(drawing.gray(request.volume.hu[index]))
    assert np.array_equal(pixels[far], plain[far])


def test_warning_and_words_are_burnt_in_and_said_to_be():
    plain = build_objects(sample.request(sample.volume(size=256), kinds=HEATMAPS))[0]
    simulated = build_objects(sample.request(sample.volume(size=256), kinds=HEATMAPS, simulation=True))[0]
    ds = read(plain.data)
    assert ds.BurnedInAnnotation == "YES"
    assert list(ds.ImageType) == ["DERIVED", "SECONDARY", "AI_HEATMAP"]
    assert ds.SourceImageSequence[0].PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
    one, other = read_capture(plain.data), read_capture(simulated.data)
    assert (one[:14] > 200).any()  # "AI - NOT FOR DIAGNOSTIC USE"
    assert (one[-50:] > 200).any()
    difference = np.flatnonzero((one != other).any(axis=(1, 2)))
    assert 10 < difference.min()
    assert difference.max() < 40  # "SIMULATED DATA" is the second line


def test_no_name_and_no_identifier_is_drawn():
    one = build_objects(sample.request(kinds=sample.FLAGGED))
    volume = sample.volume()
    other = build_objects(sample.request(volume, sources=sample.headers(volume, "SOMEBODY^ELSE")))
    pictures = [(a, b) for a, b in zip(one, other, strict=True) if a.built.kind in HEATMAPS | SUMMARY]
    assert len(pictures) == 8
    for a, b in pictures:
        assert np.array_equal(read_capture(a.data), read_capture(b.data))
        assert a.data != b.data


def test_the_probability_is_a_number_only_when_it_is_calibrated():
    words = build_objects(sample.request(kinds=SUMMARY))[0]
    number = build_objects(sample.request(kinds=SUMMARY, calibrated=True))[0]
    assert not np.array_equal(read_capture(words.data), read_capture(number.data))


@pytest.mark.parametrize("subtypes", [(), ("iph",), ("iph", "ivh", "sah", "sdh", "edh")])
def test_the_words_of_the_summary_never_run_into_the_warning(subtypes):
    request = sample.request(kinds=SUMMARY)
    crowded = dataclasses.replace(request.decision, subtypes=subtypes, locations=tuple(Location) if subtypes else ())
    pixels = read_capture(build_objects(dataclasses.replace(request, decision=crowded))[0].data)
    assert pixels.shape == (summary_capture.HEIGHT, summary_capture.WIDTH, 3)
    above_band = pixels[
        summary_capture.HEIGHT - summary_capture.BAND - 6 : summary_capture.HEIGHT - summary_capture.BAND
    ]
    assert above_band[:, summary_capture.PICTURE :].max() == 0


def test_the_summary_is_large_type_of_high_contrast():
    pixels = read_capture(build_objects(sample.request(kinds=SUMMARY))[0].data)
    words = pixels[:864, summary_capture.PICTURE + 10 :].max(axis=2)
    inked = np.flatnonzero((words > 128).any(axis=1))
    lines = np.split(inked, np.flatnonzero(np.diff(inked) > 1) + 1)
    assert max(len(line) for line in lines) >= 40  # the headline's letters with their descenders, in pixels
    assert pixels[-5, 5].tolist() == list(drawing.AMBER)


def test_pixels_of_unequal_sides_are_shown_in_true_proportion():
    base = sample.volume(size=64)
    squeezed = dataclasses.replace(base, pixel_spacing_mm=(base.pixel_spacing_mm[0], base.pixel_spacing_mm[1] / 2))
    pixels = read_capture(build_objects(sample.request(squeezed, kinds=SUMMARY))[0].data)[:768, :768].max(axis=2)
    skull = pixels[:, 100:668] == 255
    high, wide = np.flatnonzero(skull.any(axis=1)), np.flatnonzero(skull.any(axis=0))
    assert 2 * 0.9 < np.ptp(high) / np.ptp(wide) * (1 / 1.15) < 2 * 1.1


def test_a_long_reason_stays_on_the_page_and_control_characters_do_not_get_there():
    request = dataclasses.replace(
        sample.request(),
        kinds=frozenset({ObjectKind.NOT_ANALYSED_SC}),
        volume=None,
        detection=None,
        decision=None,
        not_analysed_reason="a\x1b[0m reason \u6f22 that goes on " * 500,
    )
    pixels = read_capture(build_objects(request)[0].data)
    assert pixels[840:860].max() == 0


def test_words_are_wrapped_inside_their_width_even_without_spaces():
    lines = drawing.wrapped("w" * 200 + " and more", 20, 150)
    assert all(drawing.font(20).getlength(line) <= 150 for line in lines)
    assert "".join(lines).replace(" ", "") == "w" * 200 + "andmore"


def test_png_of_a_capture_has_its_pixels_and_other_bytes_are_refused():
    files = build_objects(sample.request())
    heatmap = next(f for f in files if f.built.kind is ObjectKind.HEATMAP_SC)
    png = np.asarray(Image.open(io.BytesIO(heatmap_png(heatmap.data))))
    assert np.array_equal(png, read_capture(heatmap.data))
    report = next(f for f in files if f.built.kind is ObjectKind.FINDINGS_SR)
    for other in (report.data, b"", b"not dicom at all", heatmap.data[:5000]):
        with pytest.raises(ReportError):
            heatmap_png(other)


def test_slices_are_counted_from_below_whichever_way_the_normal_points():
    volume = sample.volume()
    count = len(volume.hu)
    down = dataclasses.replace(volume, column_cosine=-volume.column_cosine)
    assert [summary_capture.slice_from_below(volume, i) for i in (0, count - 1)] == [1, count]
    assert [summary_capture.slice_from_below(down, i) for i in (0, count - 1)] == [count, 1]


def test_an_outline_whose_volume_is_not_proven_here_is_not_called_none():
    request = sample.request(kinds=SUMMARY)
    unproven = dataclasses.replace(request.decision, hematoma_volume_ml=0.0)
    assert "outlined" not in summary_capture.blood_words(request.detection, request.decision)
    assert summary_capture.blood_words(request.detection, unproven) == "outlined, volume not proven here"
    empty = dataclasses.replace(request.detection, mask=np.zeros_like(request.detection.mask))
    assert summary_capture.blood_words(empty, unproven) == "not outlined"
    (written,) = build_objects(dataclasses.replace(request, decision=unproven))
    assert read(written.data).SeriesDescription
