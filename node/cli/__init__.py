"""Commands of a node, its users and its keys."""
