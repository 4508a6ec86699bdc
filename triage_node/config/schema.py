"""Every setting of an installation: type, unit in the name, default, description. The reference in deploy/ is made from this."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, field_validator, model_validator

from triage_node.config.audit import AuditSettings
from triage_node.config.contacts import ContactSettings, EscalationSettings
from triage_node.config.gateway import AnnouncementSettings, GatewaySettings
from triage_node.config.hl7_inbound import Hl7InboundSettings
from triage_node.config.operations import OperationsSettings
from triage_node.config.reconciliation import ReconciliationSettings
from triage_node.config.section import AETitle, Network, Port, Section, TLSSettings
from triage_node.config.web import WebSettings
from triage_node.config.web_access import base_url, check_credentials
from triage_node.config.worklist_peers import FhirPeerSettings, Hl7PeerSettings, UpsPeerSettings, UpsRsPeerSettings
from triage_node.domain.delivery import ObjectKind
from triage_node.domain.errors import ConfigError
from triage_node.domain.identifiers import TENANT
from triage_node.domain.priority import Mode, OrderClass


def _time_zone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"{text!r} is no time zone name such as Europe/Berlin") from error
    return text


class NodeSettings(Section):
    name: str = Field("TRIAGE1", max_length=16, description="Station name of this node in the objects that it writes.")
    institution: str = Field("", max_length=64, description="Institution Name in the objects that it writes.")
    time_zone: Annotated[str, AfterValidator(_time_zone)] = Field(
        "UTC", description="Zone of header times that carry no Timezone Offset From UTC."
    )
    minimum_age_years: int = Field(
        18, ge=0, le=120, description="Younger patients are declined; unknown age is analysed."
    )
    show_in_observe: bool = Field(False, description="Let readers see in observe mode what would move.")
    language: Literal["en", "en-US", "en-GB"] = Field("en-US", description="Language of the SR (RFC 5646).")


class StoreSettings(Section):
    tenant: str = Field(
        "site",
        pattern=f"^{TENANT}$",
        description="Whose node this is, where hospitals share a PostgreSQL database; every row bears it. An SQLite file keeps the "
        "one that it was made with.",
    )
    database_url: str = Field("", description="SQLAlchemy URL; empty: SQLite in the data folder.")
    database_url_file: Path | None = Field(None, description="File that holds the URL, for URLs with a password.")
    data_folder: Path = Field(Path("/var/lib/triage-node"), description="Received instances, built objects, database.")
    blob_url: str = Field(
        "",
        description="Where received instances and built objects lie for all hosts: fsspec URL of an object store "
        "(s3://bucket/prefix?endpoint=https://host:port&region=..., gs://, az://; needs the extra object-store) or of a folder on a "
        "shared file system (file:///mnt/shared). data_folder is then this host's spool and cache. Empty: data_folder.",
    )
    blob_credentials_file: Path | None = Field(
        None,
        description="File with the object store's keys, one `name = value` a line (access_key_id, secret_access_key); none: those of "
        "the environment or the machine's role.",
    )
    blob_cache_gb: float = Field(
        20.0, gt=0, description="blob_url: local copies beyond this are removed, oldest first."
    )
    source_days: float = Field(7.0, gt=0, description="Days that received pixels are kept after the objects are built.")
    warn_free_gb: float = Field(20.0, ge=0, description="Free disk below which the node warns.")
    stop_free_gb: float = Field(5.0, ge=0, description="Free disk below which C-STORE is answered 0xA700.")

    @field_validator("blob_url")
    @classmethod
    def _holds_no_secret(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.password or any(word in parts.query.lower() for word in ("secret", "token", "password", "access_key")):
            raise ValueError("keys of the object store belong into blob_credentials_file")
        return url


class SenderSettings(Section):
    """Who may send. An AE title alone is no authentication, so it is bound to addresses."""

    ae_title: AETitle | Literal["*"] = Field(description="Calling AE title, or * for any.")
    addresses: tuple[Network, ...] = Field(
        ("127.0.0.0/8", "::1/128"), description="Addresses or networks it may call from."
    )
    quiet_s: float = Field(
        3.0, gt=0, le=600, description="Seconds without an instance after which its series may close."
    )
    may_correct_identity: bool = Field(
        False, description="Same pixels under another identity are a correction, and its rejection notes (IOCM) count."
    )


class ListenerSettings(Section):
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: Port = Field(11112, description="DICOM port.")
    ae_title: AETitle = Field("TRIAGE", description="Called AE title.")
    require_called_ae_title: bool = Field(False, description="Reject associations that call another AE title.")
    tls: TLSSettings | None = Field(None, description="TLS; none: plain DICOM.")
    senders: tuple[SenderSettings, ...] = Field(
        (SenderSettings(ae_title="*"),), description="Who may send; the default is anybody on this machine."
    )
    receive_path: Literal["fast", "stock"] = Field(
        "fast", description="fast: direct durable write; stock: pynetdicom's own."
    )
    maximum_pdu_bytes: int = Field(
        131072, ge=16384, le=1048576, description="Largest P-DATA PDU that is offered and accepted."
    )
    maximum_associations: int = Field(64, ge=1, le=1000, description="Associations at a time.")
    maximum_associations_per_address: int = Field(
        8, ge=1, le=1000, description="Associations at a time from one address."
    )
    acse_timeout_s: float = Field(5.0, gt=0, description="For association negotiation.")
    dimse_timeout_s: float = Field(30.0, gt=0, description="For the rest of a DIMSE message.")
    network_timeout_s: float = Field(60.0, gt=0, description="For an idle association.")
    pdu_deadline_s: float = Field(5.0, gt=0, description="From the first to the last byte of one PDU.")
    maximum_instance_mb: int = Field(512, ge=1, description="Largest instance.")
    maximum_instances_per_study: int = Field(5000, ge=1, description="Instances of one study.")


class CompletenessSettings(Section):
    deadline_s: float = Field(60.0, gt=0, description="After the last instance a series closes whatever is missing.")
    minimum_coverage_mm: float = Field(120.0, gt=0, description="Least coverage along the normal for closing early.")
    ask_archive: str = Field(
        "",
        description="Name of one of `archives` that is asked, while a study arrives, how many instances of each series it holds "
        "(C-FIND, or QIDO-RS below its stow_url); empty: none. One that holds more than this node is sent makes studies wait.",
    )
    ask_timeout_s: float = Field(5.0, gt=0, le=60, description="ask_archive: for one question with all its answers.")


class IntakeRule(Section):
    """The first rule whose patterns all match decides. Patterns are shell patterns (*, ?), case-insensitive."""

    name: str = Field(min_length=1, max_length=64, description="Shown where the rule decided.")
    calling_ae_title: str = Field("*", max_length=64, description="Pattern.")
    station_name: str = Field("*", max_length=64, description="Pattern.")
    study_description: str = Field("*", max_length=128, description="Pattern.")
    patient_id: str = Field("*", max_length=128, description="Pattern.")
    out_of_scope: bool = Field(False, description="Such studies are stored and shown, never analysed.")
    order_class: OrderClass = Field(OrderClass.ROUTINE, description="Class when no order tells it.")
    live_within_h: float = Field(6.0, gt=0, description="Older acquisitions are not live.")
    analyse_when_not_live: bool = Field(True, description="Analyse back-loads too (never notified).")


class ModelSettings(Section):
    bundle: str = Field(
        "bloodnet",
        description="Name of a bundle that ships with the node, or a path. A reload (SIGHUP) takes this section in force without a gap.",
    )
    shadow_bundle: str = Field(
        "",
        description="Name or path of a second bundle for the same finding: it reads each live study after the first one, acts on "
        "nothing, and is compared on the page /shadow; empty: none.",
    )
    replay_bundles: tuple[str, ...] = Field(
        (), max_length=16, description="Further bundles, names or paths, that the page Replay offers."
    )
    threads: int = Field(1, ge=1, le=64, description="Threads for inference.")
    decode_memory_mb: int = Field(1024, ge=128, description="Address space of the decoding child.")
    decode_timeout_s: float = Field(60.0, gt=0, description="Wall clock for decoding one series.")


class PrognosisSettings(Section):
    """Prognosis stands on the study page, below the result; it never moves a study."""

    bundles: tuple[str, ...] = Field(
        ("expansion", "quantification", "multitask_prognosis"),
        max_length=16,
        description="Models beside the clinical scores: names of bundles that ship with the node, or paths; one that is missing is off.",
    )
    in_objects: bool = Field(
        False,
        description="Prognosis in objects that leave the node too, once this site's own evaluation (E2) allows it.",
    )


class ArchiveSettings(Section):
    """One destination of our objects."""

    name: str = Field(min_length=1, max_length=64, description="Name in the outbox and on pages.")
    ae_title: AETitle | Literal[""] = Field("", description="Its AE title.")
    host: str = Field("", description="Its address.")
    port: Port = Field(104, description="Its port.")
    calling_ae_title: AETitle = Field("TRIAGE", description="How we call ourselves there.")
    tls: bool = Field(False, description="Associate over TLS.")
    tls_ca: Path | None = Field(None, description="CA of its certificate.")
    stow_url: str = Field(
        "", description="Base URL of DICOMweb, to which /studies is added: STOW-RS; empty: C-STORE to host and port."
    )
    token_file: Path | None = Field(None, description="STOW-RS: file that holds the bearer token.")
    user: str = Field("", description="STOW-RS: user of basic authentication.")
    password_file: Path | None = Field(None, description="STOW-RS: file that holds the password of `user`.")
    clinical: bool = Field(True, description="false: a research archive, which may hold E0 results.")
    storage_commitment: bool = Field(False, description="Ask for storage commitment; delivered means committed then.")
    kinds: tuple[ObjectKind, ...] = Field(
        (ObjectKind.FINDINGS_SR, ObjectKind.SEG, ObjectKind.HEATMAP_SC, ObjectKind.SUMMARY_SC),
        description="Kinds of objects it gets.",
    )
    received: bool = Field(
        False,
        description="A hub: what this node receives goes there too, bytes unchanged, the most urgent study first; one archive at most.",
    )
    certificate: Path | None = Field(None, description="C-STORE with tls: PEM file of our own certificate, if it asks.")
    private_key: Path | None = Field(None, description="PEM file with the key of `certificate`.")
    batch: int = Field(50, ge=1, le=1000, description="Objects in one association, or one STOW-RS request, at most.")
    connect_timeout_s: float = Field(5.0, gt=0, description="TCP connection.")
    response_timeout_s: float = Field(30.0, gt=0, description="One C-STORE response, or the one to a STOW-RS request.")

    @field_validator("stow_url")
    @classmethod
    def _is_a_base_url(cls, url: str) -> str:
        return base_url(url) if url else ""

    @model_validator(mode="after")
    def _one_way_is_told_whole(self) -> Self:
        if not self.stow_url and not (self.host and self.ae_title):
            raise ValueError("give host and ae_title (C-STORE), or stow_url (STOW-RS)")
        if self.stow_url and (self.host or self.ae_title or self.tls):
            raise ValueError("give host, ae_title and tls (C-STORE), or stow_url (STOW-RS), not both")
        if not self.stow_url and (self.token_file is not None or self.user or self.password_file is not None):
            raise ValueError("token_file, user and password_file belong to stow_url")
        if (self.certificate is None) != (self.private_key is None) or (self.certificate and not self.tls):
            raise ValueError("certificate and private_key belong together, and to tls")
        if self.stow_url and self.storage_commitment:
            raise ValueError("storage_commitment is asked for over an association; STOW-RS has none")
        check_credentials(self.stow_url, self.token_file, self.user, self.password_file)
        return self


class WorklistSettings(Section):
    mode: Mode = Field(Mode.OBSERVE, description="observe or active; active needs evidence (DESIGN.md section 4).")
    guard_min: float = Field(
        10.0, ge=0, description="A guarded class comes before moderate flags this long before its bound."
    )
    stat_bound_min: float = Field(30.0, gt=0, description="Reading bound of STAT.")
    urgent_bound_min: float = Field(60.0, gt=0, description="Reading bound of URGENT.")
    routine_bound_min: float = Field(1440.0, gt=0, description="Reading bound of ROUTINE.")
    claim_for_min: float = Field(60.0, gt=0, description="A claim lapses after this.")
    expires_after_h: float = Field(24.0, gt=0, description="Unread unflagged rows leave as 'status unknown'.")


class Settings(Section):
    """The whole file."""

    node: NodeSettings = NodeSettings()
    store: StoreSettings = StoreSettings()
    listener: ListenerSettings = ListenerSettings()
    completeness: CompletenessSettings = CompletenessSettings()
    intake: tuple[IntakeRule, ...] = Field((), description="Intake rules, first match wins.")
    model: ModelSettings = ModelSettings()
    prognosis: PrognosisSettings = PrognosisSettings()
    archives: tuple[ArchiveSettings, ...] = Field((), description="Where our objects go.")
    web: WebSettings = WebSettings()
    worklist: WorklistSettings = WorklistSettings()
    gateway: GatewaySettings = GatewaySettings()
    announcements: AnnouncementSettings | None = Field(
        None, description="MPPS of modalities and availability notifications of archives; none: not listened for."
    )
    ups_peers: tuple[UpsPeerSettings, ...] = Field(
        (), description="UPS managers over DIMSE whose reading list follows."
    )
    ups_rs_peers: tuple[UpsRsPeerSettings, ...] = Field((), description="UPS managers over DICOMweb, likewise.")
    hl7_peers: tuple[Hl7PeerSettings, ...] = Field((), description="RIS or worklist engines that take HL7 v2.")
    fhir_peers: tuple[FhirPeerSettings, ...] = Field((), description="FHIR R4 servers whose orders or tasks follow.")
    hl7_inbound: Hl7InboundSettings | None = Field(
        None, description="Orders, patients and reports of others over MLLP; none: not listened for."
    )
    contacts: tuple[ContactSettings, ...] = Field((), description="People who are notified of flagged studies.")
    escalation: EscalationSettings = EscalationSettings()
    operations: OperationsSettings = OperationsSettings()
    audit: AuditSettings = AuditSettings()
    reconciliation: ReconciliationSettings | None = Field(
        None, description="An archive that is asked each night which head CTs never reached this node; none: not asked."
    )

    @model_validator(mode="after")
    def _names_are_unique(self) -> Settings:
        if len({a.name for a in self.archives}) != len(self.archives):
            raise ValueError("archives: two have the same name")
        if sum(a.received for a in self.archives) > 1:
            raise ValueError("archives: received is set in two; there is one hub")
        names = [p.name for p in (*self.worklist_peers, *self.contacts)]
        if len(set(names)) != len(names):
            raise ValueError("ups_peers, ups_rs_peers, hl7_peers, fhir_peers, contacts: two have the same name")
        return self

    @model_validator(mode="after")
    def _the_archives_to_ask_are_there(self) -> Settings:
        asked = {
            "reconciliation.archive": self.reconciliation.archive if self.reconciliation is not None else "",
            "completeness.ask_archive": self.completeness.ask_archive,
        }
        for setting, name in asked.items():
            if name and name not in {a.name for a in self.archives}:
                raise ValueError(f"{setting}: no archive is named {name!r}")
        return self

    @property
    def hub(self) -> ArchiveSettings | None:
        return next((a for a in self.archives if a.received), None)

    @property
    def worklist_peers(self) -> tuple[UpsPeerSettings | UpsRsPeerSettings | Hl7PeerSettings | FhirPeerSettings, ...]:
        return (*self.ups_peers, *self.ups_rs_peers, *self.hl7_peers, *self.fhir_peers)

    @property
    def database_url(self) -> str:
        if self.store.database_url_file is not None:
            try:
                return self.store.database_url_file.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigError(f"store.database_url_file: cannot be read: {error}") from error
        return self.store.database_url or f"sqlite:///{self.store.data_folder / 'triage.db'}"
