"""Parts of Fisher information and of the penalties that are made of importances."""
