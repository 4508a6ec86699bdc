"""Reading workitems (PS3.4 annex CC): what they say, how they change, how they are found. Pure: no store, no network."""
