"""One TOML file, typed. Thresholds are not here: they are versioned rows in the store (DESIGN.md section 7)."""
