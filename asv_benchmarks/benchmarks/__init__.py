"""Performance tracking with airspeed velocity: ``cd asv_benchmarks && asv run``."""
