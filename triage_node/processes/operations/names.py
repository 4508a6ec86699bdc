"""Names that the heartbeat and the monitor go by in the store. No configured peer may bear them: they begin with a star."""

SINK = "*heartbeat"
MONITOR = "*outside monitor"
