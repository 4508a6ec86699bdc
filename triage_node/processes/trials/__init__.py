"""Studies judged again: on demand, and by a second model. Nothing here acts on anything."""
