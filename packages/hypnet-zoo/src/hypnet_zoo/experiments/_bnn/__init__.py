"""Parts of the experiment `bnn`."""
