"""Grading: compile once, run every test case, check, and say a verdict that rests on evidence."""
