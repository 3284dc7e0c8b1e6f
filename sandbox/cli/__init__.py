"""The command `sandbox`. Thin: parse, call the API, print. Whatever is heavy is imported inside functions."""
