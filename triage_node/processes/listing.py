"""From the store's rows to the list that a page shows: who sees which flags, in which order, under which name."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from triage_node.console.deps import About, ReadingList
from triage_node.console.texts import displayable, person_name
from triage_node.domain.message import MessageRow
from triage_node.domain.priority import ListPolicy, Mode
from triage_node.domain.study import StudyIdentity
from triage_node.processes import feeds
from triage_node.processes.told import alarms, told_at
from triage_node.store import messages, meta, worklist
from triage_node.store.engine import Store
from triage_node.worklist.leaving import as_readers_see, late_flags, not_confirmed
from triage_node.worklist.order import is_claimed, order


def reading_list(store: Store, policy: ListPolicy, now: datetime, flags_count: bool, shows_names: bool) -> ReadingList:
    """The list under `policy`, or with `flags_count` the one that active mode would show, with the places without flags.

    In observe mode the flags are taken out of the rows here, so that no page can show what readers must not see.
    """
    version = meta.list_version(store)  # first: what changes while the rows are read shows as a newer version
    listed = worklist.rows(store)
    rows = [item.row for item in listed]
    plain_places: dict[str, int] = {}
    if flags_count:
        plain = order(rows, now, replace(policy, mode=Mode.OBSERVE))
        plain_places = {p.row.study_instance_uid: p.position for p in plain}
        policy = replace(policy, mode=Mode.ACTIVE)
    else:
        rows = as_readers_see(rows, policy)
    told: dict[str, list[MessageRow]] = {}
    if policy.mode is Mode.ACTIVE:  # what others were told would betray a flag
        shown = {item.row.study_instance_uid for item in listed}
        told = {uid: held for uid, held in messages.of_open_studies(store).items() if uid in shown}
    return ReadingList(
        version=version,
        policy=policy,
        placed=tuple(order(rows, now, policy)),
        about={item.row.study_instance_uid: about(item, shows_names) for item in listed},
        late=tuple(late_flags(rows, policy)),
        not_confirmed=tuple(not_confirmed(rows, policy)),
        claimed=frozenset(row.study_instance_uid for row in rows if is_claimed(row, now, policy)),
        moved_from=plain_places,
        told={uid: told_at(held) for uid, held in told.items()},
        alarms=alarms(told),
        feed_alarms=feeds.alarms(store),
    )


def about(item: worklist.ListedStudy, shows_names: bool) -> About:
    """What a row of the list says beside its reason; that a live study was acquired just now goes without saying."""
    label, rest = study_label(item.identity, item.description, shows_names)
    is_plain = item.row.live and item.live_words.startswith("acquired ")
    return About(
        label,
        rest,
        item.state,
        "" if is_plain else item.live_words,
        item.revision,
        source=item.calling_ae_title,
        accession_number=item.identity.accession_number,
        patient_id=item.identity.patient_id,
    )


def study_label(identity: StudyIdentity, description: str, shows_names: bool) -> tuple[str, str]:
    """What names a study, and the line below it: by default no name of a person, since the page has no login yet."""
    number = displayable(identity.accession_number) or displayable(identity.patient_id)
    name = person_name(identity.patient_name) if shows_names else ""
    what = displayable(description)
    if name:
        return name, " · ".join(part for part in (number, what) if part)
    return number or "no accession number", what
