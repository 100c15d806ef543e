"""Clusters of real cores and executors on a simulated network, disk and clock, from one seed."""
