"""What draws documents from the code."""
