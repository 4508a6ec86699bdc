"""`triage-node send`: every DICOM file below a folder goes to a peer as a modality would send it, bytes unchanged."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.presentation import build_context
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from triage_node.cli.terminal import plain
from triage_node.dimse.checkpoint import steady
from triage_node.domain.errors import TriageNodeError
from triage_node.domain.identifiers import is_ae_title

MAX_CONTEXTS = 128
"""Presentation contexts of one association: odd numbers up to 255 (PS3.8 9.3.2.2)."""
CONNECT_TIMEOUT_S = 5.0
RESPONSE_TIMEOUT_S = 60.0
_PEER = re.compile(r"(?P<ae>[^@]+)@(?P<host>\[[0-9A-Fa-f:.]+\]|[^:@\[\]]+):(?P<port>[0-9]{1,5})\Z")
_CAUSE = {
    "Called AE title not recognised": "the peer has another AE title: correct the part before the @",
    "Calling AE title not recognised": "the peer does not know us: register our AE title there, or set --from",
}


@dataclass(frozen=True, slots=True)
class Peer:
    ae_title: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.ae_title}@{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One file and what its association must offer for it."""

    path: Path
    sop_class_uid: str
    transfer_syntax_uid: str

    @property
    def context(self) -> tuple[str, str]:
        return self.sop_class_uid, self.transfer_syntax_uid


@dataclass
class Sent:
    """What became of the files. `statuses` counts answers by their code (PS3.4 B.2.3); every failure has its reason."""

    statuses: Counter[int] = field(default_factory=Counter)
    failures: list[tuple[Path, str]] = field(default_factory=list)
    skipped: list[tuple[Path, str]] = field(default_factory=list)
    files: int = 0
    size_bytes: int = 0
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        return self.files > 0 and not self.failures


OnProgress = Callable[[Path, int | None], None]
"""Called after each file with the status, or None when there was no answer."""


def parse_peer(text: str) -> Peer:
    """Read AE@host:port. Raises TriageNodeError that says what is wrong and how it should look."""
    match = _PEER.match(text.strip())
    if match is None:
        raise TriageNodeError(f"{text!r} is no peer; write AE@host:port, for example TRIAGE@127.0.0.1:11112")
    ae, host, port = match["ae"].strip(), match["host"].strip("[]"), int(match["port"])
    if not is_ae_title(ae):
        raise TriageNodeError(f"{ae!r} is no AE title: 1 to 16 printable ASCII characters without backslash")
    if not 1 <= port <= 65535:
        raise TriageNodeError(f"{port} is no port: 1 to 65535")
    return Peer(ae, host, port)


def find_dicom(folder: Path) -> tuple[list[Outgoing], list[tuple[Path, str]]]:
    """Every DICOM file below a folder (or the file itself) in order of path, and what is none, with the reason."""
    if not folder.exists():
        raise TriageNodeError(f"{folder} does not exist")
    paths = [folder] if folder.is_file() else sorted(p for p in folder.rglob("*") if p.is_file())
    found, skipped = [], []
    for path in paths:
        try:
            meta = read_file_meta_info(path)
            found.append(Outgoing(path, str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)))
        except InvalidDicomError:
            skipped.append((path, "no DICOM file"))
        except AttributeError as error:
            skipped.append((path, f"its file header lacks {str(error).rsplit(' ', 1)[-1]}"))
        except (OSError, ValueError, EOFError, NotImplementedError) as error:
            skipped.append((path, f"cannot be read: {error}"))
    return found, skipped


def send_files(
    files: Sequence[Outgoing],
    peer: Peer,
    calling_ae_title: str = "SENDER",
    associations: int = 1,
    on_progress: OnProgress | None = None,
) -> Sent:
    """Send files over as many parallel associations as asked for, each file in its own transfer syntax.

    Raises TriageNodeError when the peer cannot be reached at all. A file that is not taken is a failure in the result.
    """
    if not is_ae_title(calling_ae_title):
        raise TriageNodeError(f"{calling_ae_title!r} is no AE title: 1 to 16 printable ASCII characters")
    _reach(peer)
    _config.STORE_SEND_CHUNKED_DATASET = True  # files go out as they lie on the disk, never decoded and encoded again
    sent, lock, started = Sent(), threading.Lock(), time.monotonic()

    def note(file: Outgoing, status: int | None, failure: str = "") -> None:
        with lock:
            if status is not None:
                sent.statuses[status] += 1
            if failure:
                sent.failures.append((file.path, failure))
            else:
                sent.files += 1
                sent.size_bytes += file.path.stat().st_size
            if on_progress is not None:
                on_progress(file.path, status)

    with ThreadPoolExecutor(max_workers=associations, thread_name_prefix="send") as pool:
        for group in _groups(files):
            parts = [part for i in range(associations) if (part := group[i::associations])]
            for work in [pool.submit(_one_association, part, peer, calling_ae_title, note) for part in parts]:
                work.result()
    sent.seconds = time.monotonic() - started
    return sent


def _groups(files: Iterable[Outgoing]) -> list[list[Outgoing]]:
    """Files in order, cut where an association would need more presentation contexts than there are."""
    groups: list[list[Outgoing]] = []
    contexts: set[tuple[str, str]] = set()
    for file in files:
        if not groups or (file.context not in contexts and len(contexts) == MAX_CONTEXTS):
            groups.append([])
            contexts = set()
        contexts.add(file.context)
        groups[-1].append(file)
    return groups


def _reach(peer: Peer) -> None:
    """A plain TCP connection first: pynetdicom tells a refused port and a wrong host name apart from nothing else."""
    try:
        with socket.create_connection((peer.host, peer.port), timeout=CONNECT_TIMEOUT_S):
            return
    except socket.gaierror:
        raise TriageNodeError(f"the host name {peer.host!r} is not known; check it or use an address") from None
    except ConnectionRefusedError:
        raise TriageNodeError(
            f"nothing listens at {peer.host}:{peer.port}; is the node running on that port?"
        ) from None
    except (TimeoutError, OSError) as error:
        reason = "no answer" if isinstance(error, TimeoutError) else error.strerror or str(error)
        raise TriageNodeError(
            f"{peer.host}:{peer.port} cannot be reached ({reason}); check network and firewall"
        ) from None


def _opened(event: evt.Event) -> None:
    """Without TCP_NODELAY each instance waits for the peer's delayed acknowledgement, about 40 ms."""
    steady(event.assoc)
    event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _one_association(
    files: Sequence[Outgoing], peer: Peer, calling: str, note: Callable[[Outgoing, int | None, str], None]
) -> None:
    ae = AE(ae_title=calling)
    ae.maximum_pdu_size = 0  # what we receive is a few hundred bytes; what we send follows the peer's limit
    ae.connection_timeout, ae.acse_timeout = CONNECT_TIMEOUT_S, CONNECT_TIMEOUT_S * 2
    ae.dimse_timeout = ae.network_timeout = RESPONSE_TIMEOUT_S
    contexts = [build_context(c, t) for c, t in dict.fromkeys(f.context for f in files)]
    association = ae.associate(
        peer.host, peer.port, contexts, ae_title=peer.ae_title, evt_handlers=[(evt.EVT_CONN_OPEN, _opened)]
    )
    if not association.is_established:
        reason = _why_refused(association)
        for file in files:
            note(file, None, reason)
        return
    try:
        _store_all(association, files, note)
    finally:
        if association.is_established:
            association.release()


def _why_refused(association: Association) -> str:
    answer = association.acceptor.primitive
    if association.is_rejected and answer is not None:
        words = answer.reason_str
        return f"association rejected: {_CAUSE.get(words, words)}"
    if association.is_aborted:
        return "the peer accepts none of what these files need, or aborted"
    return "the peer did not answer the association request"


def _store_all(
    association: Association, files: Sequence[Outgoing], note: Callable[[Outgoing, int | None, str], None]
) -> None:
    accepted = {(str(c.abstract_syntax), str(c.transfer_syntax[0])) for c in association.accepted_contexts}
    lost = False
    for number, file in enumerate(files, 1):
        if file.context not in accepted:
            what, how = UID(file.sop_class_uid).name, UID(file.transfer_syntax_uid).name
            note(file, None, f"the peer does not take {what} in {how}")
            continue
        if lost or not association.is_established:
            note(file, None, "the peer ended the association before this file")
            continue
        try:
            status = association.send_c_store(file.path, msg_id=(number - 1) % 65535 + 1).get("Status")
        except (OSError, ValueError, AttributeError, RuntimeError) as error:
            note(file, None, f"not sent: {error}")
            continue
        if status is None:
            lost = True  # pynetdicom may still call it established, and would wait out the timeout for the next file
            note(file, None, "no answer: the peer ended the association or took too long")
        elif status == 0x0000 or status >> 12 == 0xB:
            note(file, status, "")
        else:
            note(file, status, f"refused with 0x{status:04X} ({_meaning(status)})")


def _meaning(status: int) -> str:
    """What the peer says with a failure status, and what helps (PS3.4 B.2.3, PS3.7 C)."""
    if 0xA700 <= status <= 0xA7FF:
        return "out of resources: the peer's disk or queue is full, send again later"
    if 0xA900 <= status <= 0xA9FF:
        return "data set does not match its SOP class: the file is damaged or mislabelled"
    if 0xC000 <= status <= 0xCFFF:
        return "the peer cannot understand the data set: the file is damaged"
    return {0x0122: "SOP class not supported", 0x0124: "not authorised"}.get(status, "see the peer's log")


def send_folder(folder: Path, to: str, calling_ae_title: str, associations: int, console: Console) -> int:
    """The sub-command. Returns the exit status: 0 when there was something to send and all of it was taken."""
    peer = parse_peer(to)
    with console.status(Text(f"Looking for DICOM files in {folder} …")):
        files, skipped = find_dicom(folder)
    for path, reason in skipped:
        console.print(f"skipped {path}: {plain(reason)}", style="yellow", soft_wrap=True)
    if not files:
        console.print(f"no DICOM file in {folder}: nothing was sent", style="bold red", soft_wrap=True)
        return 1
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(f"Sending to {peer}", total=len(files))
        sent = send_files(files, peer, calling_ae_title, associations, lambda *_: progress.advance(task))
    _print_summary(sent, peer, console)
    return 0 if sent.ok else 1


def _print_summary(sent: Sent, peer: Peer, console: Console) -> None:
    rate = sent.size_bytes / 1e6 / max(sent.seconds, 1e-3)
    console.print(
        f"{sent.files} files ({sent.size_bytes / 1e6:.1f} MB) taken by {peer} in {sent.seconds:.1f} s, {rate:.0f} MB/s"
    )
    for status, count in sorted(sent.statuses.items()):
        kind = "success" if status == 0 else "warning" if status >> 12 == 0xB else "failure"
        console.print(f"  0x{status:04X} {kind}: {count}")
    by_reason = Counter(reason for _, reason in sent.failures)
    for reason, count in by_reason.most_common():
        first = next(path for path, why in sent.failures if why == reason)
        more = f" and {count - 1} more" if count > 1 else ""
        console.print(f"not sent: {first}{more}: {plain(reason)}", style="bold red", soft_wrap=True)
