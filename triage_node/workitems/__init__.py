"""UPS workitems (PS3.4 CC): their data set, state machine and priority. Knows no network and no store."""
