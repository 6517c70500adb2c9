"""pytest fixtures of prodkit."""
