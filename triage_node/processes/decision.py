"""The moment of truth, in one transaction: result, flag, place on the list, messages to others, audit (DESIGN.md invariant 3).

Nothing is drawn before this is committed: a radiologist sees the move first, pictures later.
"""

from __future__ import annotations

from datetime import datetime

from triage_node.domain.durations import in_words
from triage_node.domain.finding import Detection, EvidenceLevel, FindingDecision
from triage_node.domain.priority import Flag, ListPolicy, Mode, Placed, Urgency
from triage_node.domain.study import Moment
from triage_node.processes import withdrawal
from triage_node.processes.telling import Teller
from triage_node.store import audit, messages, orders, results, studies, worklist
from triage_node.store.engine import Connection, Store
from triage_node.worklist.leaving import as_readers_see
from triage_node.worklist.moves import moves, would_move
from triage_node.worklist.order import order
from triage_node.worklist.repeat import Repeat
from triage_node.worklist.urgency import urgency_of
from triage_node.worklist.wording import flag_words


def flag_of(
    decision: FindingDecision,
    detection: Detection,
    least: EvidenceLevel,
    at: datetime,
    repeat: Repeat | None = None,
    calibrated: bool = False,
) -> Flag | None:
    """What the decision means for the reader, None when there is nothing to raise.

    A repeat is raised also when the model did not raise it by itself, and then as weakly as a flag can be (worklist/repeat.py).
    """
    if decision.flagged:
        words = ", ".join((flag_words(decision, calibrated), *([repeat.words] if repeat else ())))
        return Flag(decision.finding, urgency_of(decision, detection.components, least), words, at)
    if repeat is None:
        return None
    words = f"Repeat after {in_words(repeat.after)} of a flagged scan; this one by itself: {decision.answer}"
    return Flag(decision.operating_point.finding, Urgency.MODERATE, words, at)


def commit_decision(
    store: Store,
    record: results.ResultRecord,
    decision: FindingDecision,
    flag: Flag | None,
    policy: ListPolicy,
    at: datetime,
    apart: bool = False,
    why: str = "",
    teller: Teller | None = None,
    repeat: Repeat | None = None,
    owner: str = "",
    images_at: datetime | None = None,
) -> None:
    """Store the result and raise the study. In observe mode the flag is kept and the move recorded as "would move".

    `apart`: the node observes this study only, and `why`; `policy` is then the one of observe mode. `teller` writes what
    other worklists and people are told; None where there are none. Of a `repeat` without news no person is notified.
    `owner`: who has the study at work. `images_at`: when the last image came that the decision rests on.
    Raises: LeaseLost, and nothing is stored, when somebody else has the study by now.
    """
    uid = record.study_instance_uid
    with store.write() as c:
        if owner:
            studies.hold(c, uid, owner)
        before: list[Placed] = []
        if flag is not None and policy.mode is Mode.ACTIVE:
            # nothing else moves, and reading thousands of rows holds the database for longer than all the rest
            before = order(as_readers_see([listed.row for listed in worklist.rows(c)], policy), at, policy)
        results.save(c, record, decision)
        studies.mark(c, uid, Moment.DECIDED, at, decision.answer)
        is_raised = _raise(c, uid, decision, flag, policy, at, apart, why, images_at)
        # in observe mode a row that comes back would betray its flag
        may_return = decision.flagged and images_at is not None and policy.mode is Mode.ACTIVE
        if may_return and worklist.bring_back(c, uid, images_at, at):
            is_raised = True
        # a repeat that is not flagged by itself has no finding that others could be told
        tells = flag is not None and decision.flagged
        if tells and teller is not None and (listed := worklist.row_of(c, uid)) is not None:
            # also for a flag that stood before: what was found while the node observed was told to nobody
            before_it = messages.of_study(c, uid)
            told = orders.told_class(c, uid, listed.identity.accession_number)
            raises = teller.raises(listed, record.revision, decision, policy.mode, before_it, at, told or "")
            messages.put(c, raises, at)
            if repeat is None or repeat.is_news:
                notices = teller.notices.first(listed, record.revision, decision, policy.mode, before_it, at)
                messages.put(c, notices, at)
        if not is_raised:
            return
        rows = [listed.row for listed in worklist.rows(c)]
        if policy.mode is Mode.ACTIVE:
            found = moves(before, order(as_readers_see(rows, policy), at, policy))
        else:
            found = [m for m in would_move(rows, at, policy) if m.study_instance_uid == uid]
        worklist.record_moves(
            c,
            [
                worklist.Move(m.study_instance_uid, at, policy.mode.value, m.old_position, m.new_position, m.reason)
                for m in found
            ],
        )


def shows_flag(listed: worklist.ListedStudy | None) -> bool:
    """Whether the row has a flag that readers see where the node acts: no scan that it only observes changes that."""
    return listed is not None and listed.row.flag is not None and not listed.row.apart


def _raise(
    c: Connection,
    uid: str,
    decision: FindingDecision,
    flag: Flag | None,
    policy: ListPolicy,
    at: datetime,
    apart: bool,
    why: str,
    images_at: datetime | None,
) -> bool:
    """Answer and flag on the row. True when a flag was raised or became more urgent.

    What readers see already, no scan takes away whose scanner nobody has evaluated here, nor does it add to it; and what they
    must not see does not appear because another scan of the study was covered, unless that one is raised itself.
    """
    ended = worklist.disagreed_at(c, uid)
    is_back = False
    if decision.flagged and not apart and ended is not None and images_at is not None and images_at > ended:
        # the person had not seen these images: that the others showed no bleed says nothing of them
        is_back = withdrawal.undo(c, uid, "node", at, policy.expires_after)
    listed = worklist.row_of(c, uid)
    stands = listed is not None and listed.row.flag is not None
    was_apart = listed is not None and listed.row.apart
    if apart and shows_flag(listed):
        audit.record(c, at, "node", "gate", uid, new=f"{why}; the flag that stands is left as it is")
        return False
    worklist.set_unsure(c, uid, decision.unsure, at)
    if stands and was_apart and not apart:
        if flag is None or policy.mode is not Mode.ACTIVE:
            return False
        worklist.forget_hidden_flag(c, uid, at)
    worklist.set_apart(c, uid, apart, at, why)
    return (flag is not None and worklist.raise_flag(c, uid, flag)) or is_back
