"""Parts that several hypernetworks share: base class, inner networks, images."""
