"""C-ECHO, and whether the association is granted at all (PS3.4 Annex A; PS3.8 9.3.4)."""

from __future__ import annotations

from collections.abc import Sequence

from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from triage_node.dimse.calling import GRACE_S, Callee, NotAssociated, abort, associate, release
from triage_node.processes.connecting import Step, StepFailed


def echo_problem(callee: Callee) -> str:
    """What keeps a peer from answering C-ECHO with success and what mostly lies behind it; empty when it does."""
    try:
        echo_step(callee, ()).run()
    except StepFailed as failed:
        return f"{failed}. {failed.cause}"
    return ""


def echo_step(callee: Callee, ours: Sequence[PresentationContext]) -> Step:
    """`ours` are proposed beside Verification: some peers have no Verification, and an association is proof enough there."""
    return Step("association, C-ECHO", lambda: _echo(callee, ours))


def _echo(callee: Callee, ours: Sequence[PresentationContext]) -> str:
    try:
        association, line = associate(callee, [build_context(Verification), *ours])
    except NotAssociated as error:
        raise StepFailed(str(error)) from None
    names = f"{callee.calling_ae_title} may call {callee.ae_title}"
    if Verification not in {c.abstract_syntax for c in association.accepted_contexts}:
        release(association, line, callee.response_timeout_s)
        return f"{names}; it has no C-ECHO"
    try:
        with line.cut_after(callee.response_timeout_s + GRACE_S):
            status = association.send_c_echo().get("Status")
    except (RuntimeError, OSError, AttributeError, ValueError) as error:
        abort(association, line)
        raise StepFailed(f"C-ECHO: no valid answer in time ({type(error).__name__})") from None
    if status is None:
        abort(association, line)
        raise StepFailed("C-ECHO: no valid answer in time, or the association was lost")
    release(association, line, callee.response_timeout_s)
    if status != 0:
        raise StepFailed(f"C-ECHO answered 0x{int(status):04X}")
    return names
