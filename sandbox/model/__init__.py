"""Plain data that the other rooms pass to each other. No input or output happens here.

`record`, `codec`, `steps`, `plan` and `launch` are imported by the launcher, which starts for every new plan and
therefore imports almost nothing; the rest (`limits`, `policy`, `result`, `errors`) serves the caller's side only.
"""
