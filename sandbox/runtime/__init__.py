"""The caller's side of a run: requests, launchers, pool, sessions, classification."""
