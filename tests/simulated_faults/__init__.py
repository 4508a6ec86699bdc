"""One seed, one schedule of faults: the node's own roles on a simulated clock, scheduler, network and disk.

In the spirit of FoundationDB's simulation. The `main` of every role runs as it is, on a real SQLite file; `python -m
tests.simulated_faults --seeds N --from K` plays schedules, and prints the trace of the first that breaks an invariant.

Replaced, and so not tested here: sockets and processes (`world`, `senders`, `peers`), the platter below a file (`disk`), pixels,
networks and the DICOM objects that are built (`standins`). SQLite's own durability is SQLite's: what was committed stays.
"""
