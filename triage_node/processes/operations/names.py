"""Names under which the heartbeat and the monitor outside stand in the store."""

CALLING_AE_TITLE = "TRIAGE-HEARTBEAT"
SINK = "*heartbeat"
MONITOR = "*outside monitor"
IMAGE_STORE = "*image store"
