"""Watching the node itself: what stands where, the heartbeat, drift of scanners, and who is told."""
