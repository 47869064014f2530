"""Images that stay on disk, and are read when a batch asks for them."""
