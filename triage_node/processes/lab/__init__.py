"""The threshold lab: recent studies judged again at other thresholds, drafts in shadow, and the day they come into force."""
