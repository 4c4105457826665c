"""The pure heart: decisions as values and tables; no I/O, clock, tasks or logging."""
