"""The service: the same core over HTTP. Every room here goes through the public calls of the library, as the grader does.

app → access → a dialect (v1, piston, judge0, go-judge: pure mappings) → work (admission → build → run) → answer
"""
