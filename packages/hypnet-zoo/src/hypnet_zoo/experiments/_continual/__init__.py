"""Parts of the experiment `hypercl`."""
