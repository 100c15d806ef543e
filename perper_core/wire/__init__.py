"""The fabric over gRPC: a server in front of any Fabric, and a client that is a Fabric."""
