"""Who follows the audit trail, as store.audit_position knows them."""

CHECK, HEAD_FILE, SYSLOG = "check", "head file", "syslog"
