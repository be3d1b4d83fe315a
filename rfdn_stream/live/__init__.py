"""Live: frames as they come, sharper, and never late."""
