"""`sandbox selftest`: attacks on this host, under a profile of the user's own."""
