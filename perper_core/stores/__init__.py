"""Stores under the fabric: one port, several adapters."""
