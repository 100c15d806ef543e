"""Chain data on disk or in memory: the ChainStore port, its adapters, the layout of keys."""
