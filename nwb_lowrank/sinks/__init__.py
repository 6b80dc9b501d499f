"""Results -> somewhere: NWB files with a fit in them, and simulated sessions as NWB."""
