"""Blocks run on states: phases, tiers, views, genesis (execution §4). Knows no network, no disk."""
