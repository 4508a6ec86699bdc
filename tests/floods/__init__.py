"""What a node costs when it holds much, and when much comes at once. Sizes: TRIAGE_PROVE_* (tests/support/prove.py)."""
