"""The policy loader: profile files → `Policy` → `Plan`."""
