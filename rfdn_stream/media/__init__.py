"""Video and image files: reading, writing, and what goes along with the pictures."""
