"""Snowball alone at sizes that real nodes do not reach: numpy, lockstep (extra `research`)."""
