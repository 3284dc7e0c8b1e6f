"""Programs of the grader that run inside sandboxes: nothing here is imported by the caller's process."""
