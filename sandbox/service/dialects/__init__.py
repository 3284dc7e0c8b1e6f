"""What other tools speak: each module is a pure mapping onto `sandbox.service.work`, and thin routes over it."""
