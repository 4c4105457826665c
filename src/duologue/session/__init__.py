"""One conversation: the async shell around the pure core."""
