"""One module per role (DESIGN.md section 1). Rooms meet only here. The supervisor starts each as `python -m`."""
