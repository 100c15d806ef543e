"""CometBFT with its kvstore application: the peer of the network's figures."""
