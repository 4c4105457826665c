"""Models behind one seam; one file an adapter, its heavy import inside the factory."""
