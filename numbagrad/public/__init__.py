"""Where users find each op."""
