"""Host resources that the caller's side gives to a run: control groups."""
