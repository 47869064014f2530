"""Parts of posterior replay."""
