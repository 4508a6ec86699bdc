"""Several hosts on one store: what each may do while others do the same."""
