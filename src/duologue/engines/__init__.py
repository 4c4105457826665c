"""Models behind one seam; one package or file an adapter, its heavy import inside the factory."""
