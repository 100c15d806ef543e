"""Sample agents of the native tier, written as an author would write them."""
