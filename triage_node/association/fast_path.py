"""Serves one established association in one thread, from the socket straight into the reception's buffer.

DESIGN. pynetdicom passes every PDU through two threads, an event queue and five copies, and sleeps a millisecond in
both threads whenever a queue is empty (MEASUREMENTS.md 2.3). Here one thread reads the ten bytes that every PDU has,
then the payload of each presentation data value into memory that the reception lends, and after the last one sends the
response itself. What it speaks: C-ECHO, C-STORE, N-EVENT-REPORT; other requests get 0x0211; release and abort.

Whatever breaks the protocol ends the association with A-ABORT; nothing that arrived of an unfinished instance stays.
Source: PS3.8 section 9.3 and annex E, PS3.7 sections 8 to 10.
"""

from __future__ import annotations

import io
import logging
import struct
import time

from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_dataset

from triage_node.association import messages
from triage_node.association.contexts import IMPLICIT_VR_LITTLE_ENDIAN
from triage_node.association.limits import COMMAND_BYTES, EVENT_REPORT_BYTES, LEAST_BYTES_PER_S
from triage_node.association.messages import Command, NotACommand
from triage_node.association.negotiation import RELEASED, Context, abort
from triage_node.association.session import Outcome, Services, report_commitment
from triage_node.association.status import Abort, Status
from triage_node.association.wire import ConnectionLost, TooSlow, Wire
from triage_node.domain.errors import UNREADABLE, InstanceRefused
from triage_node.domain.reception import Peer, Reception, StoreRequest

_P_DATA, _RELEASE_RQ, _ABORT = 4, 5, 7
_HEAD = struct.Struct(">BBLL")  # type, reserved, length, and the first four bytes of what follows
_IS_COMMAND, _IS_LAST = 1, 2

log = logging.getLogger(__name__)


class _Broken(Exception):
    """The peer broke the protocol or a limit."""

    def __init__(self, answer: tuple[int, int], reason: str) -> None:
        super().__init__(reason)
        self.answer = answer


class FastAssociation:
    """One established association. `serve` runs until it ends."""

    def __init__(self, wire: Wire, peer: Peer, contexts: dict[int, Context], services: Services) -> None:
        self._wire, self._peer, self._contexts, self._services = wire, peer, contexts, services
        self._limits = services.limits
        self.instances = 0  # answered 0x0000
        self._head = memoryview(bytearray(10))
        self._pdv_head = memoryview(bytearray(2))
        self._length = memoryview(bytearray(4))
        # the message that is arriving
        self._command_bytes = bytearray()
        self._command: Command | None = None
        self._context_id = 0
        self._reception: Reception | None = None
        self._event_report: bytearray | None = None
        self._received_bytes = 0
        self._began_at = 0.0

    def serve(self) -> Outcome:
        """Returns how the association ended. The wire is left open, its end is the caller's."""
        try:
            while self._wait():
                kind, _, length, first = _HEAD.unpack(self._head)
                if kind == _P_DATA:
                    self._p_data(length, first)
                elif length != 4:
                    raise _Broken(Abort.UNRECOGNIZED_PDU, f"PDU of type {kind} with {length} bytes")
                elif kind == _RELEASE_RQ:
                    self._wire.send(RELEASED)
                    return Outcome.RELEASED
                elif kind == _ABORT:
                    return Outcome.ABORTED
                else:
                    raise _Broken(Abort.UNEXPECTED_PDU, f"PDU of type {kind}")
            self._wire.send(abort(*Abort.BY_USER))  # the node stops
            return Outcome.ABORTED
        except _Broken as broken:
            log.warning("association aborted peer=%s reason=%s", self._peer.address, broken)
            self._try_to_send(abort(*broken.answer))
            return Outcome.ABORTED
        except InstanceRefused as refusal:
            log.warning("association aborted peer=%s reason=%s", self._peer.address, refusal.reason)
            self._try_to_send(abort(*Abort.BY_USER))
            return Outcome.ABORTED
        except TooSlow:
            self._try_to_send(abort(*Abort.NOT_SPECIFIED))
            return Outcome.TIMED_OUT
        except ConnectionLost:
            return Outcome.LOST
        finally:
            if self._reception is not None:
                self._reception.abandon()
                self._reception = None

    def _wait(self) -> bool:
        """Read the head of the next PDU; False when the node stops and no message is under way."""
        under_way = self._command is not None or bool(self._command_bytes)
        limits = self._limits
        seconds = limits.dimse_timeout_s if under_way else limits.network_timeout_s
        return self._wire.wait_for(
            self._head, seconds, _never if under_way else self._services.stopping, limits.pdu_deadline_s
        )

    def _p_data(self, length: int, first: int) -> None:
        """Read one P-DATA-TF PDU of which ten bytes are read; `first` is the length of its first PDV."""
        if not 6 <= length <= self._limits.maximum_pdu_bytes:
            raise _Broken(Abort.INVALID_PARAMETER, f"P-DATA PDU with {length} bytes")
        deadline = time.monotonic() + self._limits.pdu_deadline_s
        left, item = length - 4, first
        while True:
            if not 2 <= item <= left:
                raise _Broken(Abort.INVALID_PARAMETER, f"presentation data value with {item} bytes")
            self._value(item - 2, deadline)
            left -= item
            if left == 0:
                return
            if left < 6:
                raise _Broken(Abort.INVALID_PARAMETER, f"{left} bytes after the last presentation data value")
            self._wire.read(self._length, deadline)
            item = int.from_bytes(self._length, "big")
            left -= 4

    def _value(self, size: int, deadline: float) -> None:
        """Read one presentation data value with `size` bytes after its two of head."""
        if self._reception is not None:
            self._store_value(self._reception, size, deadline)
            return
        self._wire.read(self._pdv_head, deadline)
        context_id, control = self._pdv_head
        fragment = bytearray(size)
        if size:
            self._wire.read(memoryview(fragment), deadline)
        if self._command is not None:
            self._other_data(context_id, control, fragment)
            return
        if not control & _IS_COMMAND:
            raise _Broken(Abort.INVALID_PARAMETER, "a data set without a command")
        if context_id not in self._contexts:
            raise _Broken(Abort.INVALID_PARAMETER, f"presentation context {context_id} was not accepted")
        if self._command_bytes and context_id != self._context_id:
            raise _Broken(Abort.INVALID_PARAMETER, "a command over two presentation contexts")
        self._context_id = context_id
        self._command_bytes += fragment
        if len(self._command_bytes) > COMMAND_BYTES:
            raise _Broken(Abort.INVALID_PARAMETER, f"a command with more than {COMMAND_BYTES} bytes")
        if control & _IS_LAST:
            try:
                command = messages.read_command(self._command_bytes)
            except NotACommand as error:
                raise _Broken(Abort.INVALID_PARAMETER, "a command that cannot be read") from error
            self._command_bytes = bytearray()
            self._begin(command)

    def _store_value(self, reception: Reception, size: int, deadline: float) -> None:
        """Read a fragment of the instance straight into the reception's buffer."""
        left, first = size, True
        if not left:
            self._wire.read(self._pdv_head, deadline)
        while left:
            room = reception.room(left)
            if first:
                self._wire.read_two(self._pdv_head, room, deadline)
                first = False
            else:
                self._wire.read(room, deadline)
            reception.filled(len(room))
            left -= len(room)
        context_id, control = self._pdv_head
        if context_id != self._context_id or control & _IS_COMMAND:
            raise _Broken(Abort.INVALID_PARAMETER, "a data set that is interrupted by another message")
        self._check_speed(size)
        if control & _IS_LAST:
            # this thread's reference goes first, so that `abandon` can never follow `finish`
            self._reception = None
            self._answer(reception.finish())

    def _begin(self, command: Command) -> None:
        """A command is complete."""
        if command.field == messages.C_CANCEL_RQ:
            return  # every request is answered before the next PDU is read, so there is nothing left to cancel
        if command.field & messages.RESPONSE:
            raise _Broken(Abort.UNEXPECTED_PDU, "a response to nothing")
        self._command = command
        self._received_bytes, self._began_at = 0, time.monotonic()
        context = self._contexts[self._context_id]
        if command.field == messages.C_STORE_RQ and command.has_data_set:
            if command.sop_class_uid != context.sop_class_uid:
                log.warning("SOP class of the command is another than its presentation context's")
            self._reception = self._services.open_reception(
                StoreRequest(self._peer, command.sop_class_uid, command.sop_instance_uid, context.transfer_syntax_uid)
            )
            return
        if command.has_data_set:
            self._event_report = bytearray() if command.field == messages.N_EVENT_REPORT_RQ else None
            return
        self._answer(Status.SUCCESS if command.field == messages.C_ECHO_RQ else Status.UNRECOGNIZED_OPERATION)

    def _other_data(self, context_id: int, control: int, fragment: bytearray) -> None:
        """A fragment of a data set that is no instance: kept for an N-EVENT-REPORT, else dropped."""
        if context_id != self._context_id or control & _IS_COMMAND:
            raise _Broken(Abort.INVALID_PARAMETER, "a data set that is interrupted by another message")
        self._check_speed(len(fragment))
        if self._received_bytes > EVENT_REPORT_BYTES:
            raise _Broken(Abort.BY_USER, f"a data set with more than {EVENT_REPORT_BYTES} bytes")
        if self._event_report is not None:
            self._event_report += fragment
        if not control & _IS_LAST:
            return
        if self._event_report is None:
            self._answer(Status.UNRECOGNIZED_OPERATION)
            return
        data, self._event_report = self._event_report, None
        self._answer(self._commitment(bytes(data)))

    def _commitment(self, data: bytes) -> Status:
        syntax = self._contexts[self._context_id].transfer_syntax_uid
        try:
            data_set = read_dataset(io.BytesIO(data), syntax == IMPLICIT_VR_LITTLE_ENDIAN, True)
        except (InvalidDicomError, *UNREADABLE) as error:
            log.warning("data set of an N-EVENT-REPORT cannot be read: %s", type(error).__name__)
            return Status.PROCESSING_FAILURE
        return report_commitment(self._services, data_set)

    def _answer(self, status: int) -> None:
        command = self._command
        assert command is not None
        self._command = None
        if command.field == messages.C_STORE_RQ and status == Status.SUCCESS:
            self.instances += 1
        self._wire.send(messages.response(self._context_id, command, status))

    def _check_speed(self, count: int) -> None:
        """A sender that dribbles whole small PDUs keeps every other deadline; this one it does not keep."""
        self._received_bytes += count
        seconds = time.monotonic() - self._began_at
        if seconds > self._limits.dimse_timeout_s and self._received_bytes < seconds * LEAST_BYTES_PER_S:
            raise TooSlow

    def _try_to_send(self, data: bytes) -> None:
        try:
            self._wire.send(data)
        except (ConnectionLost, TooSlow):
            log.info("peer=%s was gone before it could be told", self._peer.address)


def _never() -> bool:
    return False
