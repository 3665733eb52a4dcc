"""pyrorec."""
