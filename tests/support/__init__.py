"""What the tests share: requirements of the host, the probe program, the search for what a run has left behind."""
