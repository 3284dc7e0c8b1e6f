"""What this host offers: facts for the planner, checks for `sandbox doctor`."""
