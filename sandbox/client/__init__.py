"""The local API over HTTP: `Sandbox("http://…", token=…)` and `AsyncSandbox`, with the same results and errors.

Needs httpx, and websockets for runs with a terminal, callbacks or a stream as standard input: the extra `client`.
"""
