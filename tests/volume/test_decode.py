"""The decoding child: what it gives back, and that nothing a file holds ends the process that asks (STANDARDS.md 4.4)."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.encaps import encapsulate

from tests.support.unpacked import ge_head, philips
from tests.support.waiting import wait_until
from tests.volume.ct import COLUMNS, COMPRESSED, ROWS, ct_dataset, enhanced, picture, recompressed, saved, stack
from tests.volume.make_self_test_images import streams_of
from triage_node.domain.errors import DecodeError, VolumeError
from triage_node.volume import codecs
from triage_node.volume.decode import CrashedDecoder, Decoder, KilledDecoder


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder() as child:
        yield child


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return saved(ct_dataset(picture()), tmp_path / "good.dcm")


def refused(decoder: Decoder, path: Path, good: Path) -> str:
    """The reason for which a file is refused; a good one must be decoded right after."""
    with pytest.raises(DecodeError) as error:
        decoder.read_series([path])
    assert not isinstance(error.value, CrashedDecoder)
    assert np.array_equal(decoder.read_series([good]).words[0], picture())
    return error.value.reason


def memory_kb(pid: int | None, key: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1])
    raise AssertionError(f"no {key}")


def test_child_says_which_transfer_syntaxes_it_decoded(decoder: Decoder) -> None:
    assert decoder.decodable() == codecs.SUPPORTED


def test_series_comes_back_as_stored_with_its_headers(decoder: Decoder, tmp_path: Path) -> None:
    series = decoder.read_series(stack(tmp_path))
    assert series.words.shape == (6, ROWS, COLUMNS)
    assert series.words.dtype == np.uint16
    for i, header in enumerate(series.slices):
        assert np.array_equal(series.words[i], picture(i))
        assert header.sop_instance_uid == f"1.2.3.9.{i + 1}"
        assert header.image_position_patient == (-10.0, -20.0, 5.0 * i)
        assert header.pixel_spacing_mm == (0.6, 0.45)
        assert (header.rescale_slope, header.rescale_intercept) == (1.0, -1024.0)
    assert set(series.pixel_digests) == {f"1.2.3.9.{i}" for i in range(1, 7)}
    assert len(set(series.pixel_digests.values())) == 6


@pytest.mark.parametrize("syntax", [s for s in COMPRESSED if s not in codecs.LOSSY])
def test_recompressed_instance_has_the_same_pixels_and_the_same_digest(
    decoder: Decoder, tmp_path: Path, good: Path, syntax: str
) -> None:
    other = saved(recompressed(ct_dataset(picture()), picture(), syntax), tmp_path / "other.dcm")
    series = decoder.read_series([other])
    assert np.array_equal(series.words[0], picture())
    assert not series.slices[0].lossy
    assert decoder.pixel_digest(other) == decoder.pixel_digest(good) == series.pixel_digests["1.2.3.9.1"]


def test_digest_changes_with_a_pixel_the_rescale_and_the_shape(decoder: Decoder, tmp_path: Path, good: Path) -> None:
    one = picture()
    one[3, 4] += 1
    variants = [
        ct_dataset(one),
        ct_dataset(picture(), RescaleIntercept=-1000),
        ct_dataset(picture(), RescaleSlope=2),
        ct_dataset(picture().reshape(COLUMNS, ROWS)),
    ]
    digests = {decoder.pixel_digest(saved(v, tmp_path / f"{i}.dcm")) for i, v in enumerate(variants)}
    assert len(digests | {decoder.pixel_digest(good)}) == 5


def test_digest_does_not_change_with_identity_or_spelling_of_the_rescale(
    decoder: Decoder, tmp_path: Path, good: Path
) -> None:
    moved = ct_dataset(picture(), PatientName="OTHER^NAME", PatientID="77", RescaleSlope="1.000", InstanceNumber=99)
    assert decoder.pixel_digest(saved(moved, tmp_path / "moved.dcm")) == decoder.pixel_digest(good)


@pytest.mark.parametrize("syntax", sorted(codecs.LOSSY & set(COMPRESSED)))
def test_lossy_syntax_is_accepted_and_labelled(decoder: Decoder, tmp_path: Path, syntax: str) -> None:
    path = saved(recompressed(ct_dataset(picture()), picture(), syntax), tmp_path / "lossy.dcm")
    series = decoder.read_series([path])
    assert series.slices[0].lossy
    assert np.abs(series.words[0].astype(int) - picture()).max() < 60


def test_lossy_attribute_counts_in_an_uncompressed_syntax_too(decoder: Decoder, tmp_path: Path) -> None:
    path = saved(ct_dataset(picture(), LossyImageCompression="01"), tmp_path / "was_lossy.dcm")
    assert decoder.read_series([path]).slices[0].lossy


def test_localizer_inside_the_series_is_left_out(decoder: Decoder, tmp_path: Path) -> None:
    scout = ct_dataset(picture(rows=20, columns=30), number=99, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    series = decoder.read_series([saved(scout, tmp_path / "scout.dcm"), *stack(tmp_path)])
    assert series.left_out == ("1.2.3.9.99",)
    assert len(series.words) == 6


# lies and damage


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", *COMPRESSED])
@pytest.mark.parametrize(("rows", "columns"), [(30000, 30000), (24, 32), (4000, 4000)])
def test_false_rows_and_columns(
    decoder: Decoder, tmp_path: Path, good: Path, syntax: str, rows: int, columns: int
) -> None:
    ds = ct_dataset(picture())
    if syntax in COMPRESSED:
        ds = recompressed(ds, picture(), syntax)
    ds.Rows, ds.Columns = rows, columns
    assert refused(decoder, saved(ds, tmp_path / "false.dcm"), good)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", *COMPRESSED])
def test_half_a_stream(decoder: Decoder, tmp_path: Path, good: Path, syntax: str) -> None:
    ds = ct_dataset(picture())
    if syntax in COMPRESSED:
        stream = streams_of(picture().astype(np.int32), 12, False)[syntax]
        ds = recompressed(ds, picture(), syntax)
        ds.PixelData = encapsulate([stream[: len(stream) // 2]])
    else:
        ds.PixelData = ds.PixelData[: len(ds.PixelData) // 2]
    assert refused(decoder, saved(ds, tmp_path / "half.dcm"), good)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95, 0.999])
def test_file_cut_off(decoder: Decoder, tmp_path: Path, good: Path, share: float) -> None:
    data = good.read_bytes()
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(data[: int(len(data) * share)])
    assert refused(decoder, cut, good)


@pytest.mark.parametrize(
    ("syntax", "frames"),
    [
        ("1.2.840.10008.1.2.1", 2),
        ("1.2.840.10008.1.2.4.70", 2),
        ("1.2.840.10008.1.2.5", 2),
        ("1.2.840.10008.1.2.4.90", 1000),
        ("1.2.840.10008.1.2.1", 1000),
        ("1.2.840.10008.1.2.4.70", 5000),
    ],
)
def test_more_frames_than_there_are(decoder: Decoder, tmp_path: Path, good: Path, syntax: str, frames: int) -> None:
    ds = enhanced(picture()[None], [(0.0, 0.0, float(i)) for i in range(frames)])
    if syntax in COMPRESSED:
        ds = recompressed(ds, picture(), syntax)
    reason = refused(decoder, saved(ds, tmp_path / "frames.dcm"), good)
    assert "frames" in reason or "need" in reason


def test_frames_without_functional_groups(decoder: Decoder, tmp_path: Path, good: Path) -> None:
    ds = ct_dataset(np.stack([picture()] * 3), NumberOfFrames=3)
    assert "functional groups" in refused(decoder, saved(ds, tmp_path / "plain.dcm"), good)


def test_deflate_bomb_is_refused_without_being_inflated(decoder: Decoder, tmp_path: Path, good: Path) -> None:
    ds = ct_dataset(picture())
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    path = saved(ds, tmp_path / "deflated.dcm")
    data = path.read_bytes()
    (meta_length,) = struct.unpack_from("<I", data, 140)  # File Meta Information Group Length, the first element
    head = data[: 144 + meta_length]
    pump = zlib.compressobj(9, zlib.DEFLATED, -15)
    with path.open("wb") as f:
        f.write(head)
        for _ in range(500):
            f.write(pump.compress(bytes(1 << 20)))
        f.write(pump.flush())
    assert path.stat().st_size < 1_000_000
    assert "1.2.840.10008.1.2.1.99 is not supported" in refused(decoder, path, good)
    assert memory_kb(decoder.child_pid, "VmHWM") < 400_000


@pytest.mark.parametrize("depth", [50, 5_000, 200_000])
def test_deep_sequences(decoder: Decoder, tmp_path: Path, good: Path, depth: int) -> None:
    """Sequences inside sequences of undefined length, before the tags that are wanted."""
    opened = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    closed = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    path = tmp_path / "deep.dcm"
    path.write_bytes(with_element(good, opened * depth + closed * depth))
    with contextlib.suppress(DecodeError):  # either is well
        assert np.array_equal(decoder.read_series([path]).words[0], picture())
    assert np.array_equal(decoder.read_series([good]).words[0], picture())


def test_wide_sequence(decoder: Decoder, tmp_path: Path, good: Path) -> None:
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0)
    path = tmp_path / "wide.dcm"
    path.write_bytes(with_element(good, struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 8 * 500_000) + item * 500_000))
    assert np.array_equal(decoder.read_series([path]).words[0], picture())


@pytest.mark.parametrize("length", [0xFFFFFFFE, 0x7FFFFFFF, 1_000_000])
def test_false_element_length(decoder: Decoder, tmp_path: Path, good: Path, length: int) -> None:
    path = tmp_path / "length.dcm"
    path.write_bytes(with_element(good, struct.pack("<HH2sHI", 0x0008, 0x1140, b"OB", 0, length) + b"short"))
    assert refused(decoder, path, good)


@pytest.mark.parametrize(
    "changes",
    [
        {"Rows": None},
        {"BitsAllocated": 32},
        {"BitsAllocated": 8},
        {"BitsStored": 0},
        {"HighBit": 40},
        {"SamplesPerPixel": 3},
        {"NumberOfFrames": -1},
        {"PixelData": None},
    ],
)
def test_impossible_pixel_description(
    decoder: Decoder, tmp_path: Path, good: Path, changes: dict[str, int | None]
) -> None:
    assert refused(decoder, saved(ct_dataset(picture(), **changes), tmp_path / "odd.dcm"), good)


def test_images_of_different_size_are_refused_as_a_volume(decoder: Decoder, tmp_path: Path) -> None:
    paths = [*stack(tmp_path), saved(ct_dataset(picture(rows=40), number=50), tmp_path / "small.dcm")]
    with pytest.raises(VolumeError, match="images of different size in one series: 40 x 64, 48 x 64"):
        decoder.read_series(paths)


@pytest.mark.parametrize("content", [b"", b"DICM", b"\0" * 128 + b"DICM", b"not DICOM at all" * 100])
def test_file_that_is_no_dicom(decoder: Decoder, tmp_path: Path, good: Path, content: bytes) -> None:
    path = tmp_path / "text.dcm"
    path.write_bytes(content)
    assert refused(decoder, path, good)


def test_missing_file_and_empty_series(decoder: Decoder, tmp_path: Path, good: Path) -> None:
    assert refused(decoder, tmp_path / "gone.dcm", good)
    with pytest.raises(DecodeError, match="no instance"):
        decoder.read_series([])


def test_object_without_pixels_has_no_digest(decoder: Decoder, tmp_path: Path) -> None:
    with pytest.raises(DecodeError, match="no pixels"):
        decoder.pixel_digest(saved(ct_dataset(picture(), PixelData=None), tmp_path / "sr.dcm"))


def test_damaged_real_slices_never_end_the_asking_process(decoder: Decoder, tmp_path: Path, good: Path) -> None:
    """40 GE and JPEG-LS slices with random bytes written over random places, headers included."""
    rng = random.Random(20260105)
    sources = [ge_head()[0], philips("A202")[70]]
    for i in range(40):
        data = bytearray(sources[i % 2].read_bytes())
        for _ in range(rng.choice((1, 4, 30))):
            at = rng.randrange(132, rng.choice((3_000, len(data))))
            data[at : at + rng.choice((1, 8))] = rng.randbytes(rng.choice((1, 8)))
        path = tmp_path / f"damaged{i}.dcm"
        path.write_bytes(data)
        with contextlib.suppress(VolumeError):
            assert decoder.read_series([path]).words.ndim == 3
    assert np.array_equal(decoder.read_series([good]).words[0], picture())


# limits of the child


@pytest.mark.parametrize(
    "at", [b"\x10\x00\x10\x00PN", b"\x02\x00\x10\x00UI"], ids=["data set", "file meta information"]
)
def test_element_that_says_four_gigabytes_takes_no_memory(tmp_path: Path, good: Path, at: bytes) -> None:
    """Find of the fuzzer: as much was reserved as the element says, and the child ended."""
    data = saved(ct_dataset(picture(), PatientName="A"), tmp_path / "lying.dcm").read_bytes()
    (tmp_path / "lying.dcm").write_bytes(data.replace(at, at[:4] + b"OB\0\0\xf0\xff\xff\xff", 1))
    with Decoder(memory_limit_bytes=220 << 20) as small:
        assert "memory" not in refused(small, tmp_path / "lying.dcm", good)


def test_series_beyond_the_memory_limit_is_refused_and_the_next_one_read(tmp_path: Path, good: Path) -> None:
    big = np.zeros((40, 1024, 1024), np.uint16)
    path = saved(enhanced(big, [(0.0, 0.0, float(i)) for i in range(40)]), tmp_path / "big.dcm")
    with Decoder(memory_limit_bytes=220 << 20) as small:
        assert "more memory" in refused(small, path, good)


def test_decoder_that_takes_too_long_is_ended_and_replaced(tmp_path: Path, good: Path) -> None:
    """A FIFO that nobody writes to stands for a decoder that never comes back."""
    fifo = tmp_path / "fifo.dcm"
    os.mkfifo(fifo)
    with Decoder(timeout_s=5.0) as decoder:
        decoder.read_series([good])
        first = decoder.child_pid
        assert refused(decoder, fifo, good) == "decoding took longer than 5 s"
        assert decoder.child_pid != first
        assert not Path(f"/proc/{first}").exists()


class _Reading:
    """A request that hangs at a FIFO, asked from another thread."""

    def __init__(self, decoder: Decoder, paths: list[Path]) -> None:
        self.result: object = None
        self._decoder, self._paths = decoder, paths
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        try:
            self.result = self._decoder.read_series(self._paths)
        except (DecodeError, KilledDecoder) as error:
            self.result = error

    def joined(self) -> object:
        self._thread.join(20)
        assert not self._thread.is_alive()
        return self.result


def waits_at_fifo(decoder: Decoder, not_pid: int | None) -> int:
    def found() -> int | None:
        pid = decoder.child_pid
        if pid is None or pid == not_pid or not Path(f"/proc/{pid}/wchan").exists():
            return None
        return pid if "fifo" in Path(f"/proc/{pid}/wchan").read_text() or _opens_fifo(pid) else None

    return wait_until(found, 20, "the decoding child waits at the FIFO")


def _opens_fifo(pid: int) -> bool:
    """openat (257 on x86-64, 56 on arm64) that does not come back is a FIFO without a writer."""
    try:
        return Path(f"/proc/{pid}/syscall").read_text().split()[0] in ("257", "56")
    except (OSError, IndexError):
        return False


def test_child_that_dies_once_is_asked_again(tmp_path: Path, good: Path) -> None:
    fifo = tmp_path / "second.dcm"
    os.mkfifo(fifo)
    with Decoder() as decoder:
        reading = _Reading(decoder, [good, fifo])
        pid = waits_at_fifo(decoder, None)
        saved(ct_dataset(picture(1), (0.0, 0.0, 5.0), 2), tmp_path / "whole.dcm").replace(fifo)
        os.kill(pid, signal.SIGKILL)
        series = reading.joined()
        assert not isinstance(series, DecodeError)
        assert np.array_equal(series.words[1], picture(1))  # type: ignore[attr-defined]


def test_file_that_ends_the_child_twice_is_named(tmp_path: Path, good: Path) -> None:
    fifo = tmp_path / "killer.dcm"
    os.mkfifo(fifo)
    with Decoder() as decoder:
        reading = _Reading(decoder, [good, fifo])
        first = waits_at_fifo(decoder, None)
        os.kill(first, signal.SIGABRT)
        os.kill(waits_at_fifo(decoder, first), signal.SIGSEGV)
        error = reading.joined()
        assert isinstance(error, CrashedDecoder)
        assert error.path == fifo
        assert "quarantine" in error.reason
        assert np.array_equal(decoder.read_series([good]).words[0], picture())


def test_child_that_is_killed_from_outside_twice_is_no_fault_of_the_file(tmp_path: Path, good: Path) -> None:
    fifo = tmp_path / "second.dcm"
    os.mkfifo(fifo)
    with Decoder() as decoder:
        reading = _Reading(decoder, [good, fifo])
        first = waits_at_fifo(decoder, None)
        os.kill(first, signal.SIGKILL)
        os.kill(waits_at_fifo(decoder, first), signal.SIGKILL)
        assert isinstance(reading.joined(), KilledDecoder)
        assert np.array_equal(decoder.read_series([good]).words[0], picture())


def test_child_ends_with_its_decoder_and_knows_no_secrets(
    tmp_path: Path, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIAGE_DATABASE_URL", "postgresql://secret")
    decoder = Decoder()
    decoder.read_series([good])
    pid = decoder.child_pid
    assert b"secret" not in Path(f"/proc/{pid}/environ").read_bytes()
    limits = Path(f"/proc/{pid}/limits").read_text()
    assert f"Max address space         {1 << 30}" in limits
    assert "Max core file size        0 " in limits
    decoder.close()
    assert not Path(f"/proc/{pid}").exists()


def test_child_ends_when_the_asking_process_is_killed(good: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from triage_node.volume.decode import Decoder\n"
        "d = Decoder(); d.read_series([Path(sys.argv[1])]); print(d.child_pid, flush=True); sys.stdin.read()"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(good)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    wait_until(lambda: not running(child), 10, "the decoding child ends")


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def test_reading_140_slices_takes_little_memory() -> None:
    """1 mm JPEG-LS series, in a fresh process."""
    code = (
        "import sys; from pathlib import Path\n"
        "from triage_node.volume.decode import Decoder\n"
        "from triage_node.volume.assemble import assemble_volume\n"
        "d = Decoder(); d.decodable()\n"
        "v = assemble_volume(d.read_series([Path(p) for p in sys.argv[1:]]))\n"
        # ru_maxrss would count the test process from which this one was started
        "def peak(pid): return Path(f'/proc/{pid}/status').read_text().split('VmHWM:')[1].split()[0]\n"
        "peaks = peak('self'), peak(d.child_pid)\n"
        "d.close(); print(len(v.hu), *peaks)"
    )
    env = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, philips("A202"))], capture_output=True, env=env, check=True
    )
    slices, own_kb, child_kb = (float(n) for n in done.stdout.split())
    assert slices == 140
    assert own_kb < 400_000
    assert child_kb < 400_000


def with_element(path: Path, element: bytes) -> bytes:
    """The file with raw bytes put before Study Instance UID (0020,000D), after its group 0008."""
    data = path.read_bytes()
    at = data.index(struct.pack("<HH2s", 0x0008, 0x0060, b"CS"))
    assert dcmread(path, stop_before_pixels=True).Modality == "CT"
    end = at + 10  # tag, VR, length, "CT"
    return data[:end] + element + data[end:]
