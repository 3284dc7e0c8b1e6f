"""System call filters: groups as data, compilation with libseccomp, simulation, listings, OCI exchange."""
