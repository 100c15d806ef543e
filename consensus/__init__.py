"""The protocol, pure: encoding, blocks, slots, Snowball, votes, proofs. Knows nothing of I/O."""
