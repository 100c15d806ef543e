"""Simulations as a product: `apocryph sim`, many seeds on many cores, plots, reports, the soak."""
