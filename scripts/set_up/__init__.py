"""Set-up of the environment: standard library only, runs before anything is installed."""
