"""Host resources of a run, on the caller's side: control groups."""
