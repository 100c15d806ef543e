"""The agent SDK: classes whose methods answer delegates, run on any Fabric."""
