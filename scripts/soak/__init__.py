"""The ways in which scripts/soak_lifecycle.py breaks the life of a server."""
