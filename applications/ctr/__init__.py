"""Click-through-rate prediction for an e-commerce site."""
