"""Tables, in the order of the way of a head CT (DESIGN.md section 3). Instants are UTC.

Written as one hospital sees them. The column `tenant` is added to every one of them at the end of this file, and what else
makes a table fit to be shared is `tenancy.settle`'s, after each upgrade: a revision that makes a table need not think of it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    FetchedValue,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Instant(TypeDecorator[datetime]):
    """Aware UTC outside, naive UTC in the database: the same text order on SQLite and PostgreSQL."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("an instant needs a time zone")
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


def _id() -> Column[int]:
    # SQLite autoincrements only INTEGER; one million instances a site and year still fit for ever in BIGINT elsewhere
    return Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True)


def _uid(name: str, **kw: Any) -> Column[str]:
    return Column(name, String(64), nullable=kw.pop("nullable", False), **kw)


meta = Table("meta", metadata, Column("key", String(64), primary_key=True), Column("value", Text, nullable=False))

association = Table(
    "association",
    metadata,
    _id(),
    Column("calling_ae_title", String(16), nullable=False),
    Column("called_ae_title", String(16), nullable=False),
    Column("peer_address", String(64), nullable=False),
    Column("tls", Boolean, nullable=False),
    Column("opened_at", Instant, nullable=False),
    Column("closed_at", Instant),
    Column("outcome", String(32), nullable=False, default=""),
    Column("instances", Integer, nullable=False, default=0),
    Column("receiver", String(64), nullable=False, default="", server_default=""),  # the host that serves it
    Index(
        "ix_association_open", "id", sqlite_where=text("closed_at IS NULL"), postgresql_where=text("closed_at IS NULL")
    ),
)

instance = Table(
    "instance",
    metadata,
    _id(),
    Column("sha256", String(64), nullable=False, unique=True),
    _uid("sop_instance_uid", index=True),
    _uid("sop_class_uid"),
    _uid("transfer_syntax_uid"),
    _uid("study_instance_uid", nullable=True),
    _uid("series_instance_uid", nullable=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("received_at", Instant, nullable=False),
    Column("association_id", BigInteger().with_variant(Integer, "sqlite")),
    Column("calling_ae_title", String(16), nullable=False),
    Column("called_ae_title", String(16), nullable=False),
    Column("peer_address", String(64), nullable=False),
    Column("header", JSON(none_as_null=True)),
    Column("first", Boolean, nullable=False),  # the first bytes that came under this SOP Instance UID
    Column("pixel_digest", String(64)),
    Column("quarantine_reason", Text, nullable=False, default=""),
    Column("source_removed_at", Instant),
    Column(
        "upload", String(8), nullable=False, default="", server_default=""
    ),  # to the shared store (store/uploads.py)
    Column("forwarded_at", Instant),
    Column("hub_refusal", Text, nullable=False, default="", server_default=""),
    Index("ix_instance_study_instance_uid_series_instance_uid", "study_instance_uid", "series_instance_uid"),
    Index("ix_instance_upload", "upload", sqlite_where=text("upload = 'due'"), postgresql_where=text("upload = 'due'")),
    Index(
        "ix_instance_source_left",
        "study_instance_uid",
        sqlite_where=text("source_removed_at IS NULL"),
        postgresql_where=text("source_removed_at IS NULL"),
    ),
)

series = Table(
    "series",
    metadata,
    _uid("series_instance_uid", primary_key=True),
    _uid("study_instance_uid", index=True),
    Column("closed_at", Instant),
    Column("signal", String(64), nullable=False, default=""),
    Column("incomplete", Boolean, nullable=False, default=False),
)

study = Table(
    "study",
    metadata,
    _uid("study_instance_uid", primary_key=True),
    Column("state", String(16), nullable=False),
    Column("reason", Text, nullable=False, default=""),
    Column("tries", Integer, nullable=False, default=0),
    Column("lease_owner", String(128), nullable=False, default=""),
    Column("lease_until", Instant),
    Column("try_at", Instant),
    Column("arrived_at", Instant, nullable=False),
    Column("last_instance_at", Instant, nullable=False),
    Column("instances", Integer, nullable=False, default=0),
    Column("forwarded", Integer, nullable=False, default=0, server_default="0"),  # of them, when all were at the hub
    Column("closed_at", Instant),
    Column("close_signal", String(64), nullable=False, default=""),
    Column("incomplete", Boolean, nullable=False, default=False),
    Column("revision", Integer, nullable=False, default=0),
    Column("calling_ae_title", String(16), nullable=False, default=""),
    Column("identity", JSON, nullable=False),
    Column("patient_id", Text, nullable=False, default="", server_default=""),  # that of the identity, to be found by
    Column("listed", Boolean, nullable=False, default=False, server_default=false()),  # it was given a row on the list
    Column("description", Text, nullable=False, default=""),
    _uid("selected_series_uid", nullable=True),
    Column("selection", JSON, nullable=False, default=dict),
    Column("awaits_blobs", Boolean, nullable=False, default=False, server_default=false()),
    Index("ix_study_state_lease_until", "state", "lease_until"),
    Index("ix_study_patient_id", "patient_id"),
    Index("ix_study_arrived_at", "arrived_at"),
    Index("ix_study_unlisted", "arrived_at", sqlite_where=text("listed = 0"), postgresql_where=text("NOT listed")),
)

announcement = Table(
    "announcement",
    metadata,
    _uid("uid", primary_key=True),  # of the performed procedure step, or of the notification
    Column("source", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("sender", String(128), nullable=False),
    Column("study_instance_uids", JSON, nullable=False),
    Column("series", JSON, nullable=False),  # series -> SOP instances, while the step is in progress
    Column("received_at", Instant, nullable=False),
    Column("changed_at", Instant, nullable=False, index=True),
)

expected_count = Table(
    "expected_count",
    metadata,
    _id(),
    _uid("study_instance_uid"),
    _uid("series_instance_uid"),
    Column("source", String(16), nullable=False),
    Column("origin", String(64), nullable=False),  # UID of the announcement, or the archive's name
    Column("instances", Integer, nullable=False),
    Column("sop_instance_uids", JSON, nullable=False),  # empty for an archive, which tells a number only
    Column("first_told_at", Instant, nullable=False),
    Column("told_at", Instant, nullable=False, index=True),
    # PostgreSQL cuts a name after 63 characters
    UniqueConstraint(
        "study_instance_uid", "series_instance_uid", "source", "origin", name="uq_expected_count_of_origin"
    ),
)

identity_correction = Table(
    "identity_correction",
    metadata,
    _id(),
    _uid("study_instance_uid", index=True),
    Column("at", Instant, nullable=False),
    Column("by", String(128), nullable=False),
    Column("old", JSON, nullable=False),
    Column("new", JSON, nullable=False),
)

rejected_instance = Table(
    "rejected_instance",
    metadata,
    _uid("study_instance_uid", primary_key=True),
    _uid("sop_instance_uid", primary_key=True),  # may be one that has not come yet
    Column("reason", String(16), nullable=False),
    Column("by", String(16), nullable=False),
    Column("at", Instant, nullable=False),
    _uid("note_uid"),
)

timeline = Table(
    "timeline",
    metadata,
    _id(),
    _uid("study_instance_uid", index=True),
    Column("at", Instant, nullable=False),
    Column("moment", String(32), nullable=False),
    Column("detail", Text, nullable=False, default=""),
)

policy = Table(
    "policy",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("created_at", Instant, nullable=False),
    Column("created_by", String(128), nullable=False),
    Column("why", Text, nullable=False),
    Column("body", JSON, nullable=False),
    Column("bundle_digest", String(64), nullable=False, default="", server_default=""),  # the model that it is for
)

policy_draft = Table(
    "policy_draft",
    metadata,
    _id(),
    Column("created_at", Instant, nullable=False),
    Column("created_by", String(128), nullable=False),
    Column("why", Text, nullable=False),
    Column("replaces", Integer, ForeignKey("policy.version"), nullable=False),
    Column("body", JSON, nullable=False),
)

policy_event = Table(
    "policy_event",
    metadata,
    _id(),
    Column("draft_id", ForeignKey("policy_draft.id"), nullable=False, index=True),
    Column("at", Instant, nullable=False),
    Column("by", String(128), nullable=False),
    Column("event", String(16), nullable=False),
    Column("words", Text, nullable=False, default=""),
    Column("active_from", Instant),
    Column("policy_version", Integer, ForeignKey("policy.version")),
)

shadow_answer = Table(
    "shadow_answer",
    metadata,
    _id(),
    Column("draft_id", ForeignKey("policy_draft.id"), nullable=False),
    _uid("study_instance_uid"),
    Column("revision", Integer, nullable=False),
    Column("at", Instant, nullable=False),
    Column("answer", String(16), nullable=False),
    Column("answer_in_force", String(16), nullable=False),
    Column("policy_version", Integer, ForeignKey("policy.version"), nullable=False),
    UniqueConstraint("draft_id", "study_instance_uid", "revision"),
)

imported_truth = Table(
    "imported_truth",
    metadata,
    _id(),
    _uid("study_instance_uid", index=True),
    Column("positive", Boolean, nullable=False),
    Column("source", String(128), nullable=False),
    Column("covers_unflagged", Boolean, nullable=False),
    Column("by", String(128), nullable=False),
    Column("at", Instant, nullable=False),
)

result = Table(
    "result",
    metadata,
    _id(),
    _uid("study_instance_uid"),
    Column("revision", Integer, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("input_digest", String(64), nullable=False),
    Column("bundle_name", String(64), nullable=False),
    Column("bundle_version", String(32), nullable=False),
    Column("bundle_digest", String(64), nullable=False),
    Column("runtime", String(128), nullable=False),
    Column("policy_version", Integer, ForeignKey("policy.version"), nullable=False),
    Column("config_digest", String(64), nullable=False),
    Column("probability", Float, nullable=False),
    Column("hematoma_volume_ml", Float, nullable=False),
    Column("flagged", Boolean, nullable=False),
    Column("detail", JSON, nullable=False),
    UniqueConstraint("study_instance_uid", "revision"),
)

finding = Table(
    "finding",
    metadata,
    _id(),
    Column("result_id", ForeignKey("result.id"), nullable=False, index=True),
    Column("finding", String(32), nullable=False),
    Column("probability", Float, nullable=False),
    Column("raise_probability", Float),
    Column("notify_probability", Float),
    Column("decision", String(32), nullable=False),
    Column("evidence", String(2), nullable=False),
)

clinical_facts = Table(
    "clinical_facts",
    metadata,
    _id(),
    _uid("study_instance_uid"),
    Column("revision", Integer, nullable=False),
    Column("at", Instant, nullable=False),
    Column("by", String(128), nullable=False),
    Column("via", String(16), nullable=False),
    Column("patient_digest", String(64), nullable=False),  # facts do not follow a study to another patient
    Column("entry", JSON, nullable=False),
    UniqueConstraint("study_instance_uid", "revision"),
)

order_message = Table(
    "order_message",
    metadata,
    _id(),
    Column("sender", String(400), nullable=False),
    Column("control_id", String(199), nullable=False),
    Column("received_at", Instant, nullable=False, index=True),
    Column("event", String(32), nullable=False),
    Column("study_instance_uid", String(64), nullable=False, default="", index=True),
    Column("accession_number", String(64), nullable=False, default="", index=True),
    Column("patient_id", String(128), nullable=False, default="", index=True),
    Column("body", JSON, nullable=False),
    Column("applied_at", Instant),
    Column("outcome", Text, nullable=False, default=""),
    Index("ix_order_message_control_id_sender", "control_id", "sender"),
)

prognosis = Table(
    "prognosis",
    metadata,
    _id(),
    _uid("study_instance_uid"),
    Column("result_revision", Integer, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("at", Instant, nullable=False),
    Column("clinical_revision", Integer, nullable=False),  # 0: nobody has stated anything yet
    Column("clinical_inputs_digest", String(64), nullable=False),
    Column("measured", JSON, nullable=False),  # what the pixels said, so that later facts need no pixels
    Column("predictions", JSON, nullable=False),
    UniqueConstraint("study_instance_uid", "result_revision", "revision"),
)

built_object = Table(
    "object",
    metadata,
    _uid("sop_instance_uid", primary_key=True),
    _uid("sop_class_uid"),
    _uid("series_instance_uid"),
    _uid("study_instance_uid", index=True),
    Column("kind", String(32), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("refers_to", JSON, nullable=False),
    Column("built_at", Instant, nullable=False),
    Column("withdrawn_at", Instant),
)

outbox = Table(
    "outbox",
    metadata,
    _id(),
    Column("peer", String(64), nullable=False),
    Column("kind", String(32), nullable=False),
    _uid("study_instance_uid", index=True),
    _uid("sop_instance_uid"),
    _uid("sop_class_uid"),
    Column("sha256", String(64), nullable=False),
    Column("refers_to", JSON, nullable=False),
    _uid("fallback_sop_instance_uid", nullable=True),  # sent instead when something in refers_to was parked
    Column("state", String(16), nullable=False),
    Column("tries", Integer, nullable=False, default=0),
    Column("not_before", Instant, nullable=False),
    Column("reason", Text, nullable=False, default=""),
    _uid("transaction_uid", nullable=False, default="", index=True),
    Column("created_at", Instant, nullable=False),
    Column("sent_at", Instant),
    Column("final_at", Instant),
    Column("lease_owner", String(128), nullable=False, default=""),
    Column("lease_until", Instant),
    UniqueConstraint("peer", "sop_instance_uid"),
    Index("ix_outbox_state_peer_not_before", "state", "peer", "not_before"),
)

message = Table(
    "message",
    metadata,
    _id(),
    Column("peer", String(64), nullable=False),
    Column("kind", String(16), nullable=False),
    _uid("message_id"),
    _uid("study_instance_uid", index=True),
    Column("revision", Integer, nullable=False),
    Column("payload", JSON, nullable=False),
    Column("state", String(32), nullable=False),
    Column("tries", Integer, nullable=False, default=0),
    Column("not_before", Instant, nullable=False),
    Column("expires_at", Instant),
    Column("held", Text, nullable=False, default=""),  # the peer's priority before, in the peer's own words
    Column("written", Text, nullable=False, default=""),
    Column("words", Text, nullable=False, default=""),
    Column("created_at", Instant, nullable=False),
    Column("sent_at", Instant),
    Column("final_at", Instant),
    Column("lease_owner", String(128), nullable=False, default=""),
    Column("lease_until", Instant),
    UniqueConstraint("peer", "message_id"),
    Index("ix_message_state_peer_not_before", "state", "peer", "not_before"),
)

worklist_row = Table(
    "worklist_row",
    metadata,
    _uid("study_instance_uid", primary_key=True),
    Column("order_class", String(16), nullable=False),
    Column("arrived_at", Instant, nullable=False),
    Column("flag_finding", String(32)),
    Column("flag_urgency", String(16)),
    Column("flag_words", Text),
    Column("flagged_at", Instant),
    Column("flag_ended_at", Instant),  # a person disagreed; what was flagged stays known
    Column("flag_ended_by", String(128), nullable=False, default=""),
    Column("unsure", Boolean, nullable=False, default=False),  # the last answer was "not sure"; a flag overrides it
    Column("apart", Boolean, nullable=False, default=False),  # observed, while the node acts on other studies
    Column("live", Boolean, nullable=False, default=True),
    Column("live_words", Text, nullable=False, default=""),
    Column("pinned_at", Instant),
    Column("reading_state", String(32), nullable=False),
    Column("claimed_by", String(128), nullable=False, default=""),
    Column("claimed_at", Instant),
    Column("status_words", Text, nullable=False, default=""),
    Column("notice", Text, nullable=False, default=""),  # what a person has to settle: an identity conflict
    Column("left_at", Instant),
    Index("ix_worklist_row_reading_state_flag_urgency", "reading_state", "flag_urgency"),
)

workitem = Table(
    "workitem",
    metadata,
    _uid("uid", primary_key=True),
    _uid("study_instance_uid"),
    Column("attempt", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("own_priority", String(8), nullable=False),
    Column("asked_priority", String(8)),
    Column("comment", Text, nullable=False, default=""),
    Column("input_ready", Boolean, nullable=False, default=False),
    _uid("transaction_uid", nullable=False, default=""),
    Column("performer", String(128), nullable=False, default=""),
    Column("ended", String(64)),
    Column("performed", JSON, nullable=False),  # what the performer told, in the DICOM JSON model
    Column("created_at", Instant, nullable=False),
    Column("changed_at", Instant, nullable=False),
    UniqueConstraint("study_instance_uid", "attempt"),
    Index("ix_workitem_state", "state"),
)

workitem_subscription = Table(
    "workitem_subscription",
    metadata,
    Column("ae_title", String(16), primary_key=True),
    _uid("scope", primary_key=True),  # a workitem, or a well-known UID
    Column("subscribed", Boolean, nullable=False),
    Column("deletion_lock", Boolean, nullable=False),
    Column("keys", JSON, nullable=False),
    Column("suspended_at", Instant),
)

workitem_event = Table(
    "workitem_event",
    metadata,
    _id(),
    Column("ae_title", String(16), nullable=False, index=True),
    _uid("workitem_uid"),
    Column("event_type", Integer, nullable=False),
    Column("body", JSON, nullable=False),
    Column("at", Instant, nullable=False),
)

worklist_move = Table(
    "worklist_move",
    metadata,
    _id(),
    _uid("study_instance_uid", index=True),
    Column("at", Instant, nullable=False),
    Column("mode", String(16), nullable=False),
    Column("old_position", Integer),
    Column("new_position", Integer, nullable=False),
    Column("reason", Text, nullable=False),
)

feedback = Table(
    "feedback",
    metadata,
    _id(),
    _uid("study_instance_uid", index=True),
    Column("at", Instant, nullable=False),
    Column("by", String(128), nullable=False),
    Column("verdict", String(16), nullable=False),
    Column("text", Text, nullable=False, default=""),
    Column("revision", Integer, nullable=False, default=0, server_default="0"),
    Column("subtype", String(16), nullable=False, default="", server_default=""),
    Column("change", JSON),  # the row of the list before and after, for undo
    Column("undone_at", Instant),
)

image_shown = Table(
    "image_shown",
    metadata,
    _uid("study_instance_uid", primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("person", String(128), primary_key=True),
    Column("at", Instant, nullable=False),
)

mode_change = Table(
    "mode_change",
    metadata,
    _id(),
    Column("at", Instant, nullable=False),
    Column("by", String(128), nullable=False),
    Column("action", String(16), nullable=False),
    Column("reason", Text, nullable=False, default=""),
    Column("bundle_digest", String(64), nullable=False, default=""),
)

evaluation = Table(
    "evaluation",
    metadata,
    _id(),
    Column("at", Instant, nullable=False),
    Column("by", String(128), nullable=False),
    Column("bundle_digest", String(64), nullable=False),
    Column("output", String(32), nullable=False),
    Column("level", String(2), nullable=False),
    Column("body", JSON, nullable=False),
)

peer = Table(
    "peer",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("last_success_at", Instant),
    Column("last_failure_at", Instant),
    Column("last_failure", Text, nullable=False, default=""),
)

user = Table(
    "user",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("roles", JSON, nullable=False),
    Column("password_hash", Text, nullable=False, default=""),  # empty: nobody can log in here with a password
    Column("must_change", Boolean, nullable=False, default=False),
    Column("password_until", Instant),  # of a one-time password
    Column("issuer", String(255), nullable=False, default=""),  # of OpenID; empty: an account of this node
    Column("subject", String(255), nullable=False, default=""),
    Column("created_at", Instant, nullable=False),
    Column("disabled_at", Instant),
)

session = Table(
    "session",
    metadata,
    Column("token_hash", String(64), primary_key=True),
    Column("user_name", ForeignKey("user.name"), nullable=False, index=True),
    Column("kind", String(16), nullable=False),  # an open session, or a link that opens one once
    Column("opened_at", Instant, nullable=False),
    Column("seen_at", Instant, nullable=False),
    Column("until", Instant, nullable=False),
    Column("address", String(64), nullable=False, default=""),
    Column("via", String(16), nullable=False, default=""),
)

api_token = Table(
    "api_token",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("token_hash", String(64), nullable=False, unique=True),
    Column("roles", JSON, nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("created_by", String(64), nullable=False),
    Column("until", Instant, nullable=False),
    Column("used_at", Instant),
    Column("revoked_at", Instant),
)

audit = Table(
    "audit",
    metadata,
    _id(),
    Column("at", Instant, nullable=False, index=True),
    Column("actor", String(128), nullable=False),
    Column("action", String(64), nullable=False),
    Column("subject", String(128), nullable=False, index=True),
    Column("old", Text, nullable=False, default=""),
    Column("new", Text, nullable=False, default=""),
    Column("previous_hash", String(64), nullable=False),
    Column("hash", String(64), nullable=False, unique=True),
)
"""Append-only by triggers (migration 0017). A migration that makes this table anew on SQLite must make them anew too."""

audit_cut = Table(
    "audit_cut",
    metadata,
    _id(),
    Column("at", Instant, nullable=False),
    Column("by", String(128), nullable=False),
    Column("last_id", BigInteger, nullable=False),  # what was taken: entries up to this one
    Column("hash", String(64), nullable=False),  # of that entry: the chain goes on from here
    Column("entries", BigInteger, nullable=False),  # how many are gone, those of earlier cuts too
)

audit_position = Table(
    "audit_position",
    metadata,
    Column("name", String(32), primary_key=True),  # who follows the trail
    Column("last_id", BigInteger, nullable=False),
    Column("at", Instant),  # its last success
    Column("problem", Text, nullable=False, default=""),  # of its last try; empty: none
)

turn = Table(
    "turn",  # SQLite; PostgreSQL has advisory locks
    metadata,
    Column("name", String(128), primary_key=True),
    Column("owner", String(128), nullable=False),
    Column("until", Instant, nullable=False),
)

heartbeat = Table(
    "heartbeat",
    metadata,
    Column("role", String(32), primary_key=True),
    Column("host", String(64), primary_key=True),
    Column("at", Instant, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("detail", JSON, nullable=False),
)

synthetic_study = Table(
    "synthetic_study",
    metadata,
    _uid("study_instance_uid", primary_key=True),
    Column("calling_ae_title", String(16), nullable=False),  # images of anybody else make it an ordinary study
    Column("address", String(64), nullable=False),
    Column("written_at", Instant, nullable=False, index=True),
    Column("spoiled_at", Instant),
    Column("probability", Float),
    Column("raise_probability", Float),
    Column("decided_at", Instant),
    Column("checked_at", Instant),
    Column("passed", Boolean),
    Column("words", Text, nullable=False, default=""),
    Column("erased_at", Instant),
)

drift_sample = Table(
    "drift_sample",
    metadata,
    _id(),
    _uid("study_instance_uid"),
    Column("revision", Integer, nullable=False),
    Column("at", Instant, nullable=False),
    Column("scanner", String(160), nullable=False),
    Column("probability", Float, nullable=False),
    Column("flagged", Boolean, nullable=False),
    Column("slice_thickness_mm", Float, nullable=False),
    Column("noise_hu", Float),  # no brain was found to measure it in
    UniqueConstraint("study_instance_uid", "revision"),
    Index("ix_drift_sample_scanner_id", "scanner", "id"),
)

drift_baseline = Table(
    "drift_baseline",
    metadata,
    _id(),
    Column("scanner", String(160), nullable=False, index=True),
    Column("at", Instant, nullable=False),
    Column("by", String(128), nullable=False),
)

trial = Table(
    "trial",
    metadata,
    _id(),
    _uid("study_instance_uid", index=True),
    Column("revision", Integer, nullable=False),
    Column("asked_by", String(128), nullable=False),
    Column("asked_at", Instant, nullable=False),
    Column("bundle", Text, nullable=False),
    Column("policy_version", Integer, ForeignKey("policy.version"), nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", Text, nullable=False, default=""),
    Column("tries", Integer, nullable=False, default=0),
    Column("lease_owner", String(128), nullable=False, default=""),
    Column("lease_until", Instant),
    Column("finished_at", Instant),
    Column("answer", JSON(none_as_null=True)),
)

shadow_result = Table(
    "shadow_result",
    metadata,
    _id(),
    _uid("study_instance_uid"),
    Column("revision", Integer, nullable=False),
    Column("at", Instant, nullable=False),
    Column("probability", Float, nullable=False),
    Column("flagged", Boolean, nullable=False),
    Column("hematoma_volume_ml", Float, nullable=False),
    Column("shadow_name", String(64), nullable=False),
    Column("shadow_version", String(32), nullable=False),
    Column("shadow_digest", String(64), nullable=False),
    Column("shadow_probability", Float),
    Column("shadow_flagged", Boolean),
    Column("shadow_volume_ml", Float),
    Column("shadow_raise_probability", Float),
    Column("why_not", Text, nullable=False, default=""),
    UniqueConstraint("study_instance_uid", "revision", "shadow_digest", name="uq_shadow_result_of_model"),
    Index("ix_shadow_result_shadow_digest_at", "shadow_digest", "at"),
)

for _table in metadata.tables.values():
    # filled by the database, so that no statement has to name it
    _table.append_column(Column("tenant", String(32), nullable=False, server_default=FetchedValue()))
